/* ring_setup.c - opening a ring: the ladder of set-up flags, receive buffers, restrictions; and why it was refused. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/ring_internal.h"

/* ---- names ---- */

static const struct {
    unsigned feature;
    const char *name;
} feature_names[] = {
    {RING_MULTISHOT_ACCEPT, "multishot-accept"}, {RING_COOP_TASKRUN, "coop-taskrun"},
    {RING_SINGLE_ISSUER, "single-issuer"},       {RING_MULTISHOT_RECEIVE, "multishot-receive"},
    {RING_DEFER_TASKRUN, "defer-taskrun"},       {RING_RESTRICTIONS, "restrictions"},
};

bool ring_features_of_kernel(const char *version, unsigned *features) {
    const unsigned of_5_19 = RING_MULTISHOT_ACCEPT | RING_COOP_TASKRUN | RING_RESTRICTIONS;
    const unsigned of_6_0 = of_5_19 | RING_SINGLE_ISSUER | RING_MULTISHOT_RECEIVE;
    if (strcmp(version, "5.19") == 0) {
        *features = of_5_19;
    } else if (strcmp(version, "6.0") == 0) {
        *features = of_6_0;
    } else if (strcmp(version, "6.1") == 0) {
        *features = of_6_0 | RING_DEFER_TASKRUN;
    } else {
        return false;
    }
    return true;
}

unsigned ring_feature_by_name(const char *name, size_t size) {
    for (size_t i = 0; i < array_count(feature_names); i++) {
        const char *known = feature_names[i].name;
        if (strlen(known) == size && memcmp(known, name, size) == 0) return feature_names[i].feature;
    }
    return 0;
}

const char *ring_features_text(unsigned features, char *text) {
    size_t used = 0;
    text[0] = 0;
    for (size_t i = 0; i < array_count(feature_names); i++) {
        if (!(features & feature_names[i].feature)) continue;
        int n = snprintf(text + used, RING_FEATURES_TEXT_MAX - used, "%s%s", used ? " " : "", feature_names[i].name);
        used += (size_t)n;
        CHECK(used < RING_FEATURES_TEXT_MAX);
    }
    return text;
}

/* ---- refusals ---- */

printf_like(2, 3) static void say_why(char *why, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(why, RING_WHY_MAX, format, args);
    va_end(args);
}

/* The start of a small file of /proc as a string; empty when it cannot be read. */
static const char *proc_file_read(const char *path, char *text, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, size - 1) : -1;
    if (fd >= 0) close(fd);
    text[n > 0 ? n : 0] = 0;
    return text;
}

static bool is_under_seccomp_filter(void) {
    char text[4096];
    return strstr(proc_file_read("/proc/self/status", text, sizeof(text)), "\nSeccomp:\t2") != NULL;
}

#define SECCOMP_REMEDY                                                                                       \
    "Allow io_uring_setup, io_uring_enter and io_uring_register there: a profile given with --security-opt " \
    "seccomp=FILE for docker and podman, seccompProfile for Kubernetes, SystemCallFilter for a systemd service."

static void say_why_eperm(char *why) {
    char text[16];
    char sysctl = proc_file_read("/proc/sys/kernel/io_uring_disabled", text, sizeof(text))[0];
    if (sysctl == '2') {
        say_why(why, "io_uring is switched off on this host: sysctl kernel.io_uring_disabled is 2. "
                     "Set it to 0, or to 1 and let kernel.io_uring_group name a group of this process.");
    } else if (sysctl == '1' && !is_under_seccomp_filter()) {
        say_why(why, "io_uring is reserved on this host: sysctl kernel.io_uring_disabled is 1. Make this process a "
                     "member of the group that sysctl kernel.io_uring_group names, or set the former to 0.");
    } else if (is_under_seccomp_filter()) {
        say_why(why, "io_uring is forbidden to this process (EPERM) by the seccomp filter of its container or "
                     "service. " SECCOMP_REMEDY);
    } else {
        say_why(why, "io_uring is forbidden to this process (EPERM), though neither by sysctl kernel.io_uring_disabled "
                     "nor by a seccomp filter: look for a security module (SELinux, AppArmor) in the audit log.");
    }
}

static void say_why_enosys(char *why) {
    if (is_under_seccomp_filter()) {
        say_why(why,
                "io_uring is hidden from this process (ENOSYS), most likely by the seccomp filter of its container "
                "or service. " SECCOMP_REMEDY);
    } else {
        say_why(why, "this kernel has no io_uring (ENOSYS): it was built without CONFIG_IO_URING, is older than Linux "
                     "5.19, or is a sandbox that imitates Linux. Run on Linux 5.19 or later.");
    }
}

static int refuse(int error, const char *doing, char *why) {
    switch (error) {
        case -EPERM: say_why_eperm(why); break;
        case -ENOSYS: say_why_enosys(why); break;
        case -EACCES:
            say_why(why,
                    "io_uring is forbidden to this process by a security module (EACCES): look for io_uring in the "
                    "audit log of SELinux or AppArmor and allow it.");
            break;
        case -ENOMEM:
            say_why(why,
                    "no memory for io_uring while %s (ENOMEM): the limit of the container or service is too low "
                    "(MemoryMax), or its RLIMIT_MEMLOCK (LimitMEMLOCK, ulimit -l): raise them, or configure fewer "
                    "and smaller receive buffers.",
                    doing);
            break;
        case -EMFILE:
        case -ENFILE:
            say_why(why, "no file descriptor left for io_uring (%s): raise %s.", error == -EMFILE ? "EMFILE" : "ENFILE",
                    error == -EMFILE ? "RLIMIT_NOFILE (LimitNOFILE, ulimit -n)" : "sysctl fs.file-max");
            break;
        case -EINVAL:
            say_why(why, "this kernel's io_uring is too old (EINVAL while %s): it needs Linux 5.19 or later.", doing);
            break;
        default: say_why(why, "io_uring failed while %s: %s.", doing, strerror(-error)); break;
    }
    return error;
}

/* ---- the ladder ---- */

/* From what suits best to what every kernel since 5.19 has. DEFER_TASKRUN is COOP_TASKRUN's better successor and
 * excludes it here; it demands SINGLE_ISSUER. */
static const unsigned setup_ladder[] = {
    RING_SINGLE_ISSUER | RING_DEFER_TASKRUN,
    RING_SINGLE_ISSUER | RING_COOP_TASKRUN,
    RING_COOP_TASKRUN,
    RING_SINGLE_ISSUER,
    0,
};

static unsigned setup_flags(unsigned features) {
    unsigned flags = IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL;
    if (features & RING_SINGLE_ISSUER) flags |= IORING_SETUP_SINGLE_ISSUER;
    // With either, a flag in shared memory tells when there is put-off work: reaping makes no idle system calls.
    if (features & RING_DEFER_TASKRUN) flags |= IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    if (features & RING_COOP_TASKRUN) flags |= IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    return flags;
}

static int setup_by_ladder(struct ring *ring, const struct ring_options *options) {
    int error = -EINVAL;
    for (size_t i = 0; i < array_count(setup_ladder) && error == -EINVAL; i++) {
        if (setup_ladder[i] & ~options->features_allowed) continue;
        struct io_uring_params params = {
            .flags = setup_flags(setup_ladder[i]),
            .cq_entries = max_of(options->completions_max, options->submissions_max),
        };
        error = io_uring_queue_init_params(options->submissions_max, &ring->uring, &params);
        if (error == 0) ring->features = setup_ladder[i];
    }
    return error;
}

/* Entry i of the queue is always slot i: some liburing versions write this for each submission, others once; the
 * submissions of ring_enter.c rely on neither. Newer ones do without the array where the kernel can. */
static void queue_order_init(struct io_uring_sq *sq) {
    for (unsigned i = 0; sq->array != NULL && i < sq->ring_entries; i++) sq->array[i] = i;
}

/* ---- receive buffers ---- */

static size_t page_size(void) { return (size_t)sysconf(_SC_PAGESIZE); }

static size_t buffer_ring_size(const struct ring_options *options) {
    return round_up(options->receive_buffers * sizeof(struct io_uring_buf), page_size());
}

static size_t buffer_bytes_size(const struct ring_options *options) {
    return round_up((size_t)options->receive_buffers * options->receive_buffer_size, page_size());
}

static size_t buffer_memory_size(const struct ring_options *options) {
    if (options->receive_buffers == 0) return 0;
    return buffer_ring_size(options) + buffer_bytes_size(options) +
           round_up(options->receive_buffers * (sizeof(struct ring_arrival) + sizeof(uint16_t) + 1), page_size());
}

static void buffers_layout(struct ring *ring, const struct ring_options *options) {
    uint8_t *at = ring->memory;
    ring->buffer_ring = (struct io_uring_buf_ring *)(void *)at;
    ring->buffer_bytes = at + buffer_ring_size(options);
    at = ring->buffer_bytes + buffer_bytes_size(options);
    ring->arrivals = (struct ring_arrival *)(void *)at;
    ring->buffer_stack = (uint16_t *)(void *)(ring->arrivals + options->receive_buffers);
    ring->buffer_is_out = (uint8_t *)(ring->buffer_stack + options->receive_buffers);
    ring->buffers = options->receive_buffers;
    ring->buffers_free = ring->buffers;
    ring->buffers_offered_max = ring->buffers;
    ring->buffer_size = options->receive_buffer_size;
}

static void buffers_fill(struct ring *ring) {
    int mask = io_uring_buf_ring_mask(ring->buffers);
    io_uring_buf_ring_init(ring->buffer_ring);
    for (unsigned i = 0; i < ring->buffers; i++) {
        io_uring_buf_ring_add(ring->buffer_ring, ring->buffer_bytes + i * ring->buffer_size,
                              (unsigned)ring->buffer_size, (unsigned short)i, mask, (int)i);
    }
    io_uring_buf_ring_advance(ring->buffer_ring, (int)ring->buffers);
}

static int buffers_open(struct ring *ring, const struct ring_options *options, char *why) {
    if (options->receive_buffers == 0) return 0;
    size_t size = buffer_memory_size(options);
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return refuse(-errno, "allocating receive buffers", why);
    ring->memory = memory;
    ring->memory_size = size;
    buffers_layout(ring, options);
    struct io_uring_buf_reg reg = {
        .ring_addr = (uint64_t)(uintptr_t)ring->buffer_ring,
        .ring_entries = ring->buffers,
        .bgid = RING_BUFFER_GROUP,
    };
    int error = io_uring_register_buf_ring(&ring->uring, &reg, 0);
    if (error != 0) return refuse(error, "registering receive buffers", why);
    buffers_fill(ring);
    asan_poison(ring->buffer_bytes, ring->buffers * ring->buffer_size);
    return 0;
}

/* ---- restrictions ---- */

/* why: the shared library of liburing 2.3 forgets to export the two functions that are made for this. */
static int register_with(struct ring *ring, unsigned opcode, const void *arg, unsigned count) {
    return io_uring_register((unsigned)ring->uring.ring_fd, opcode, arg, count);
}

static const uint8_t allowed_ops[] = {
    IORING_OP_ACCEPT, IORING_OP_RECV,     IORING_OP_SEND,    IORING_OP_ASYNC_CANCEL,
    IORING_OP_CLOSE,  IORING_OP_MSG_RING, IORING_OP_RECVMSG, IORING_OP_SENDMSG,
};

/* From enabling on nothing else can be asked of the ring, whoever may have got hold of it: no file can be opened, and
 * nothing registered, since no register call is on the list. A kernel that refuses this is a little less safe. */
static void restrict_to_our_ops(struct ring *ring) {
    struct io_uring_restriction list[array_count(allowed_ops) + 1] = {{0}};
    for (size_t i = 0; i < array_count(allowed_ops); i++) {
        list[i].opcode = IORING_RESTRICTION_SQE_OP;
        list[i].sqe_op = allowed_ops[i];
    }
    list[array_count(allowed_ops)].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
    list[array_count(allowed_ops)].sqe_flags = IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS;
    if (register_with(ring, IORING_REGISTER_RESTRICTIONS, list, (unsigned)array_count(list)) == 0)
        ring->features |= RING_RESTRICTIONS;
}

/* ---- open and close ---- */

static void options_check(const struct ring_options *options) {
    CHECK(is_power_of_two(options->submissions_max));
    CHECK(is_power_of_two(options->completions_max));
    CHECK(options->receive_buffers <= 32768);
    CHECK(options->receive_buffers == 0 || is_power_of_two(options->receive_buffers));
    CHECK(options->receive_buffers == 0 || options->receive_buffer_size > 0);
}

static int open_into(struct ring *ring, const struct ring_options *options, char *why) {
    int error = setup_by_ladder(ring, options);
    if (error != 0) return refuse(error, "setting up the queues", why);
    queue_order_init(&ring->uring.sq);
    // 5.17 brought the youngest of these; what a 5.19 has beyond them shows in the set-up flags and the buffer ring.
    const unsigned needed = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG | IORING_FEAT_CQE_SKIP | IORING_FEAT_FAST_POLL;
    error = (ring->uring.features & needed) == needed ? 0 : refuse(-EINVAL, "looking at its features", why);
    if (error == 0) error = buffers_open(ring, options, why);
    if (error == 0) {
        ring->features |= ring_probe_multishot(options->features_allowed);
        if (options->features_allowed & RING_RESTRICTIONS) restrict_to_our_ops(ring);
        return 0;
    }
    io_uring_queue_exit(&ring->uring);
    return error;
}

static void ring_free(struct ring *ring) {
    if (ring->memory != NULL) {
        asan_unpoison(ring->memory, ring->memory_size);
        munmap(ring->memory, ring->memory_size);
    }
    free(ring);
}

int ring_open(struct ring **ret, const struct ring_options *options, char *why) {
    options_check(options);
    struct ring *ring = aligned_alloc(CACHE_LINE_SIZE, round_up(sizeof(*ring), CACHE_LINE_SIZE));
    if (ring == NULL) return refuse(-ENOMEM, "allocating", why);
    memset(ring, 0, sizeof(*ring));
    int error = open_into(ring, options, why);
    if (error != 0) {
        ring_free(ring);
        return error;
    }
    *ret = ring;
    return 0;
}

void ring_close(struct ring *ring) {
    if (ring == NULL) return;
    io_uring_queue_exit(&ring->uring);
    ring_free(ring);
}

int ring_enable(struct ring *ring) { return register_with(ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0); }

size_t ring_footprint(const struct ring_options *options) {
    size_t completions = max_of(options->completions_max, options->submissions_max);
    size_t queues = options->submissions_max * (sizeof(struct io_uring_sqe) + sizeof(unsigned)) +
                    completions * sizeof(struct io_uring_cqe);
    return sizeof(struct ring) + round_up(queues, page_size()) + buffer_memory_size(options);
}

unsigned ring_features(const struct ring *ring) { return ring->features; }
