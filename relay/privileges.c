#include "relay/privileges.h"

#include <errno.h>

#include "core/log.h"
#include "core/sys.h"
#include "relay/node_start.h"

static bool check_readable(const char *path, const char *user, const char *consequence) {
    char first;
    ssize_t size = sys_file_read(path, &first, sizeof(first));
    if (size >= 0 || size == -EFBIG) return true;
    log_line(
        LOG_WARNING,
        "user %s cannot read %s: %s; %s. Let it: chgrp and chmod g+r the file (g+x its folders) for a group of that "
        "user, or setfacl -m u:%s:r (x for folders)",
        user, path, strerror((int)-size), consequence, user);
    return false;
}

/* One warning is enough for both: most often it is the folder. */
static void check_certs(const struct certs *certs, const char *user) {
    const char *consequence = "a new certificate will take a restart";
    if (check_readable(certs->chain_path, user, consequence)) {
        (void)check_readable(certs->key_path, user, consequence);
    }
}

bool privileges_give_up(const struct config *config, const struct certs *certs, bool has_admin_socket, char *why) {
    static struct sandbox sandbox;  // why: large for a stack, one per process
    char text[SANDBOX_TEXT_MAX];
    const struct sandbox_options options = {
        .user = config->user,
        .filter = config->seccomp_mode,
        .allows_core_dumps = config->is_dev,
        .opens_sockets = *config->bootstrap_names || *config->bootstrap_hidden_names ||
                         reach_servers_have_names(&config->relay_servers),
        .reads_interfaces = config->relay_port >= 0 && !config->relay_has_no_discovery && config->where.is_wildcard,
        .connects_itself = node_start_is_wanted(config),
        .removes_files = has_admin_socket};
    if (!sandbox_enter(&options, &sandbox, why)) return false;
    log_line(LOG_INFO, "privileges: %s", sandbox_text(&sandbox, text));
    for (uint32_t i = 0; i < sandbox.warnings_count; i++) log_line(LOG_WARNING, "%s", sandbox.warnings[i]);
    if (certs != NULL) check_certs(certs, sandbox.user);
    if (*config->rate_config) {
        (void)check_readable(config->rate_config, sandbox.user, "SIGHUP will not change the limit");
    }
    if (node_start_is_wanted(config) && *config->relay_allow_file) {
        (void)check_readable(config->relay_allow_file, sandbox.user,
                             "SIGHUP will not change who may ask for endpoints");
    }
    if (*config->relay_token_file) {
        (void)check_readable(config->relay_token_file, sandbox.user, "SIGHUP will not change its tokens");
    }
    return true;
}
