/* asan.h - tells AddressSanitizer which parts of a pool nobody may touch. Nothing in other builds. */
#pragma once

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN 1
#endif

#ifdef HAS_ASAN
#include <sanitizer/asan_interface.h>
#define asan_poison(at, size) ASAN_POISON_MEMORY_REGION(at, size)
#define asan_unpoison(at, size) ASAN_UNPOISON_MEMORY_REGION(at, size)
#else
#define asan_poison(at, size) ((void)(at), (void)(size))
#define asan_unpoison(at, size) ((void)(at), (void)(size))
#endif
