/* This file reads the texts of /etc/passwd and of subuid(5); it opens nothing. Pure.
 *
 * Own parsers, because a static program must not call into NSS. A user whom only a directory
 * service knows has no name here: then only lines with the numeric id count.
 */
#include "runtime/base/units.h"
#include "runtime/host/userns_internal.h"

#include <stdio.h>
#include <string.h>

/* Copies field `wanted` (from 0) of a ':'-parted line; false when it is missing or too long. */
static bool field_of(const char *line, size_t length, unsigned wanted, char *ret, size_t size)
{
    for (unsigned at = 0;; at++) {
        const char *colon = memchr(line, ':', length);
        size_t n = colon ? (size_t)(colon - line) : length;
        if (at == wanted) {
            if (n >= size)
                return false;
            memcpy(ret, line, n);
            ret[n] = 0;
            return true;
        }
        if (!colon)
            return false;
        line += n + 1;
        length -= n + 1;
    }
}

static bool number_of(const char *line, size_t length, unsigned wanted, uint32_t *ret)
{
    char text[16];
    uint64_t value;
    if (!field_of(line, length, wanted, text, sizeof text) || units_parse_u64(text, &value) < 0 ||
        value > UINT32_MAX)
        return false;
    *ret = (uint32_t)value;
    return true;
}

bool userns_name_of(const char *passwd, uint32_t uid, char *ret, size_t size)
{
    for (const char *line = passwd; *line;) {
        size_t length = strcspn(line, "\n");
        uint32_t its;
        char name[256];
        if (number_of(line, length, 2, &its) && its == uid &&
            field_of(line, length, 0, name, sizeof name) && name[0] && strlen(name) < size) {
            snprintf(ret, size, "%s", name);
            return true;
        }
        line += length + (line[length] == '\n');
    }
    return false;
}

static bool belongs_to(const char *line, size_t length, const char *name, uint32_t uid)
{
    char who[256], digits[16];
    if (!field_of(line, length, 0, who, sizeof who) || !who[0])
        return false;
    snprintf(digits, sizeof digits, "%u", uid);
    return strcmp(who, digits) == 0 || (name[0] && strcmp(who, name) == 0);
}

/* The ids of a line, when it belongs to this user and its numbers are such. */
static bool range_of(const char *line, size_t length, const char *name, uint32_t uid,
                     struct userns_extent *ret)
{
    return belongs_to(line, length, name, uid) && number_of(line, length, 1, &ret->outside) &&
           number_of(line, length, 2, &ret->count) && ret->count > 0 &&
           ret->outside <= UINT32_MAX - ret->count;
}

/* The same range by name and by number is one range. */
static bool is_known(const struct userns_extent *known, unsigned known_count,
                     const struct userns_extent *range)
{
    for (unsigned i = 0; i < known_count; i++)
        if (range->outside < known[i].outside + known[i].count &&
            known[i].outside < range->outside + range->count)
            return true;
    return false;
}

unsigned userns_subid_parse(const char *text, const char *name, uint32_t uid,
                            struct userns_extent *ret, unsigned max)
{
    unsigned found = 0;
    uint32_t inside = 1;
    for (const char *line = text; *line && found < max && inside < USERNS_OUTER_COUNT;) {
        size_t length = strcspn(line, "\n");
        struct userns_extent range = {.inside = inside};
        if (range_of(line, length, name, uid, &range) && !is_known(ret, found, &range)) {
            uint32_t room = USERNS_OUTER_COUNT - inside;
            range.count = range.count < room ? range.count : room;
            ret[found++] = range;
            inside += range.count;
        }
        line += length + (line[length] == '\n');
    }
    return found;
}

uint32_t userns_extents_sum(const struct userns_extent *extents, unsigned count)
{
    uint32_t sum = 0;
    for (unsigned i = 0; i < count; i++)
        sum += extents[i].count;
    return sum;
}
