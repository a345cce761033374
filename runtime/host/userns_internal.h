/* This file is shared by the files that implement userns.h, and by their tests; nobody else
 * includes it, but for userns_why(), which doctor uses. PRIVILEGED: the launcher's. */
#pragma once

#include "runtime/base/err.h"
#include "runtime/host/userns.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    USERNS_EXTENTS_MAX = 5,
    USERNS_OUTER_COUNT = 65536, /* ids in a user's outer namespace, with the user's own */
};

/* A map as the kernel wants it written, one line per extent. -EINVAL when empty or too long. */
int userns_map_print(const struct userns_extent *extents, unsigned count, char *ret, size_t size);

/* The login name of `uid` in a text of /etc/passwd; false when there is none. */
bool userns_name_of(const char *passwd, uint32_t uid, char *ret, size_t size);

/* The extents of a text of subuid(5) that belong to `name` ("" for unknown) or to `uid`, at most
 * `max`, those behind it cut off; malformed lines are passed over. Their `inside` numbers follow
 * one another from 1 and end at USERNS_OUTER_COUNT - 1. Returns how many extents. */
unsigned userns_subid_parse(const char *text, const char *name, uint32_t uid,
                            struct userns_extent *ret, unsigned max);
uint32_t userns_extents_sum(const struct userns_extent *extents, unsigned count);
