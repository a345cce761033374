/* This file reads the header fields by which a request depends on what is there; it never decides
 * whether they hold, and never takes half of one.
 */
#include "api/http/conditions.h"

#include "runtime/base/fd.h"
#include "runtime/base/units.h"

#include <errno.h>
#include <string.h>

static int bad(struct err *err, const char *field, const char *what)
{
    return err_set(err, ERR_INVALID_REQUEST, 0, "read a header field", field, "%s", what);
}

/* ---- entity tags ----------------------------------------------------------------------------- */

/* One tag at the front, and what parts it from the next. 0 at the end; -EINVAL. */
enum { TAG_FOUND = 1 };
static int next_tag(struct slice *from, struct slice *ret_tag, bool *ret_weak)
{
    size_t n = 0;
    while (n < from->length && strchr(" \t,", from->at[n]))
        n++;
    struct slice rest = {from->at + n, from->length - n};
    if (rest.length == 0)
        return 0;
    bool weak = rest.length > 2 && rest.at[0] == 'W' && rest.at[1] == '/';
    size_t skip = weak ? 2 : 0;
    if (rest.length < skip + 2 || rest.at[skip] != '"')
        return -EINVAL;
    const char *end = memchr(rest.at + skip + 1, '"', rest.length - skip - 1);
    if (!end)
        return -EINVAL;
    for (const char *at = rest.at + skip + 1; at < end; at++)
        if (*at <= ' ' || *at == 0x7f)
            return -EINVAL;
    size_t length = (size_t)(end - rest.at) + 1;
    size_t blank = length;
    while (blank < rest.length && strchr(" \t", rest.at[blank]))
        blank++;
    if (blank < rest.length && rest.at[blank] != ',')
        return -EINVAL;
    *ret_tag = (struct slice){rest.at + skip, length - skip};
    *ret_weak = weak;
    *from = (struct slice){rest.at + blank, rest.length - blank};
    return TAG_FOUND;
}

static int count_tags(struct slice text)
{
    struct slice tag;
    bool weak;
    int count = 0, r;
    while ((r = next_tag(&text, &tag, &weak)) == TAG_FOUND)
        count++;
    return r < 0 ? r : count;
}

bool etag_list_has(const struct etag_list *list, const char *etag, bool weak)
{
    struct slice text = {list->text, list->length}, tag;
    bool is_weak;
    if (!list->present || list->any)
        return list->present;
    while (next_tag(&text, &tag, &is_weak) == TAG_FOUND)
        if ((weak || !is_weak) && tag.length == strlen(etag) &&
            memcmp(tag.at, etag, tag.length) == 0)
            return true;
    return false;
}

int etag_list_one(const struct etag_list *list, char *ret, size_t size)
{
    struct slice text = {list->text, list->length}, tag;
    bool weak;
    if (!list->present || list->any || count_tags(text) != 1 ||
        next_tag(&text, &tag, &weak) != TAG_FOUND || weak || tag.length - 2 >= size)
        return -EINVAL;
    memcpy(ret, tag.at + 1, tag.length - 2);
    ret[tag.length - 2] = 0;
    return 0;
}

static int read_list(const struct head *head, const char *name, struct arena *arena,
                     struct etag_list *ret, struct err *err)
{
    struct slice value;
    int r = head_value(head, name, &value);
    if (r == HEAD_ABSENT)
        return 0;
    if (r == HEAD_REPEATED || value.length > ETAGS_MAX)
        return bad(err, name, "This field is here twice, or is too long.");
    ret->present = true;
    ret->any = slice_is(value, "*");
    if (!ret->any && count_tags(value) <= 0)
        return bad(err, name, "Give back the ETag as it was told, with its quotes; or *.");
    ret->text = arena_copy(arena, value.at, value.length);
    ret->length = value.length;
    return ret->text ? 0 : err_set(err, ERR_INTERNAL, ENOMEM, "read a header field", name, NULL);
}

/* ---- hashes ---------------------------------------------------------------------------------- */

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* 44 characters are 32 bytes: the last is "=", and the four bits that stand for none are zero. */
static bool read_base64_sha256(struct slice text, char ret_hex[SHA256_HEX_SIZE])
{
    static const char hex[] = "0123456789abcdef";
    unsigned bits = 0, have = 0, made = 0;
    if (text.length != 44 || text.at[43] != '=')
        return false;
    for (unsigned i = 0; i < 43; i++) {
        int digit = base64_digit(text.at[i]);
        if (digit < 0)
            return false;
        bits = (bits << 6 | (unsigned)digit) & 0xffff;
        for (have += 6; have >= 4 && made < 64; have -= 4)
            ret_hex[made++] = hex[bits >> (have - 4) & 15];
    }
    ret_hex[made] = 0;
    return made == 64 && (bits & 3) == 0;
}

/* "sha-256=:BASE64:", perhaps beside other algorithms. */
static int read_hash(const struct head *head, const char *name, char ret_hex[SHA256_HEX_SIZE],
                     struct err *err)
{
    static const char algorithm[] = "sha-256=:";
    const size_t begin = sizeof algorithm - 1;
    struct slice value;
    char hex[SHA256_HEX_SIZE];
    int r = head_value(head, name, &value);
    if (r == HEAD_ABSENT)
        return 0;
    while (r == 0 && value.length > 0) {
        const char *comma = memchr(value.at, ',', value.length);
        size_t n = comma ? (size_t)(comma - value.at) : value.length;
        struct slice one = {value.at, n};
        while (one.length > 0 && one.at[0] == ' ')
            one = (struct slice){one.at + 1, one.length - 1};
        if (one.length > begin + 1 && slice_is((struct slice){one.at, begin}, algorithm) &&
            one.at[one.length - 1] == ':' &&
            read_base64_sha256((struct slice){one.at + begin, one.length - begin - 1}, hex) &&
            (!ret_hex[0] || strcmp(ret_hex, hex) == 0)) {
            memcpy(ret_hex, hex, sizeof hex);
            return 0;
        }
        n += comma != NULL;
        value = (struct slice){value.at + n, value.length - n};
    }
    return bad(err, name, "berth checks sha-256=:BASE64:, once, with one value.");
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int refuse_others(const struct route *route, unsigned takes, const struct head *head,
                         struct err *err)
{
    struct slice value;
    const struct {
        const char *name;
        bool taken;
    } fields[] = {
        {"if-match", takes & CONDITION_MATCH},
        {"if-none-match", (takes & CONDITION_NONE_MATCH) || route->method == METHOD_GET ||
                              route->method == METHOD_HEAD},
        {"content-digest", takes & CONDITION_HASH},
        {"repr-digest", takes & CONDITION_HASH},
        {"if-unmodified-since", false},
    };
    for (unsigned i = 0; i < ARRAY_LENGTH(fields); i++)
        if (!fields[i].taken && head_value(head, fields[i].name, &value) != HEAD_ABSENT)
            return bad(err, fields[i].name,
                       "This route does not look at it. Send the request without it.");
    return 0;
}

int conditions_read(const struct route *route, const struct head *head, struct arena *arena,
                    struct conditions *ret, struct err *err)
{
    unsigned takes = conditions_of(route);
    int r = refuse_others(route, takes, head, err);
    if (r == 0 && (takes & CONDITION_MATCH))
        r = read_list(head, "if-match", arena, &ret->match, err);
    if (r == 0 && (takes & CONDITION_NONE_MATCH))
        r = read_list(head, "if-none-match", arena, &ret->none_match, err);
    if (r == 0 && (takes & CONDITION_RANGE))
        r = read_list(head, "if-range", arena, &ret->range, err);
    if (r == 0 && (takes & CONDITION_HASH))
        r = read_hash(head, "content-digest", ret->sha256, err);
    if (r == 0 && (takes & CONDITION_HASH))
        r = read_hash(head, "repr-digest", ret->sha256, err);
    return r;
}
