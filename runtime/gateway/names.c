/* This file is the map between names and addresses of one session's pool; it never decides about a
 * name and never gives a number twice.
 */
#include "runtime/gateway/names.h"

#include "runtime/base/fd.h"
#include "runtime/gateway/gateway.h"
#include "runtime/plan/host_name.h"

#include <string.h>
#include <sys/stat.h>

enum { SLOTS_FIRST = 64 };

/* A session that finds names which meet in one slot slows its own questions down, within the bound
 * of its names. */
static uint32_t hash(const char *host)
{
    uint32_t h = 2166136261u;
    for (; *host; host++)
        h = (h ^ (uint8_t)*host) * 16777619u;
    return h;
}

/* The slot that has it, or the free one where it would be. */
static unsigned find(const struct names *names, const char *host)
{
    unsigned at = hash(host) & (names->slot_count - 1);
    for (; names->slots[at]; at = (at + 1) & (names->slot_count - 1)) {
        const char *there = names->hosts[names->slots[at] - 1];
        if (there && strcmp(there, host) == 0)
            break;
    }
    return at;
}

/* Room for one more: the table is never more than half full. */
static int grow(struct names *names)
{
    if (names->slot_count >= 2 * (names->count + 1))
        return 0;
    unsigned slot_count = names->slot_count ? 2 * names->slot_count : SLOTS_FIRST;
    uint16_t *slots = calloc(slot_count, sizeof *slots);
    char **hosts = realloc(names->hosts, slot_count / 2 * sizeof *hosts);
    if (hosts)
        names->hosts = hosts;
    if (!slots || !hosts) {
        free(slots);
        return -ENOMEM;
    }
    free(names->slots);
    names->slots = slots;
    names->slot_count = slot_count;
    for (unsigned n = 0; n < names->count; n++)
        if (names->hosts[n]) {
            unsigned at = find(names, names->hosts[n]);
            /* Only the first of two is found. */
            if (!names->slots[at])
                names->slots[at] = (uint16_t)(n + 1);
        }
    return 0;
}

static int add(struct names *names, const char *host)
{
    int r = grow(names);
    if (r < 0)
        return r;
    char *copy = host ? strdup(host) : NULL;
    if (host && !copy)
        return -ENOMEM;
    names->hosts[names->count++] = copy;
    if (copy) {
        unsigned at = find(names, copy);
        if (!names->slots[at])
            names->slots[at] = (uint16_t)names->count;
    }
    return (int)names->count - 1;
}

/* Canonical and terminated, or nothing. */
static const char *host_of(const struct network_name *record)
{
    char canonical[SPEC_HOST_MAX], why[HOST_WHY_MAX];
    if (!memchr(record->host, 0, sizeof record->host) ||
        host_canonical(record->host, false, canonical, why) < 0 ||
        strcmp(canonical, record->host) != 0)
        return NULL;
    return record->host;
}

static int load(struct names *names, struct err *err)
{
    struct network_name record;
    struct stat st;
    int r = 0;
    if (fstat(names->fd, &st) < 0 || st.st_size < 0 || !S_ISREG(st.st_mode))
        return err_set(err, ERR_INTERNAL, EINVAL, "read the map of names", NULL, NULL);
    uint64_t most = ((uint64_t)st.st_size + sizeof record - 1) / sizeof record;
    if (most > NETWORK_NAMES_MAX)
        return err_set(err, ERR_INTERNAL, EFBIG, "read the map of names", NULL, NULL);
    for (unsigned n = 0; r >= 0 && n < most; n++) {
        memset(&record, 0, sizeof record);
        ssize_t got = pread(names->fd, &record, sizeof record, (off_t)(n * sizeof record));
        r = got < 0 ? -errno : add(names, got == sizeof record ? host_of(&record) : NULL);
    }
    return r < 0 ? err_set(err, ERR_INTERNAL, -r, "read the map of names", NULL, NULL) : 0;
}

int names_open(struct names *names, int fd, struct err *err)
{
    *names = (struct names){.fd = fd};
    int r = grow(names);
    if (r < 0)
        err_set(err, ERR_INTERNAL, -r, "read the map of names", NULL, NULL);
    if (r == 0)
        r = load(names, err);
    if (r < 0)
        names_fini(names);
    return r;
}

void names_fini(struct names *names)
{
    for (unsigned n = 0; n < names->count; n++)
        free(names->hosts[n]);
    free(names->hosts);
    free(names->slots);
    fd_close(names->fd);
    *names = (struct names){.fd = -1};
}

int names_number(struct names *names, const char *host)
{
    struct network_name record = {{0}};
    size_t length = strlen(host);
    unsigned at = find(names, host);
    if (names->slots[at])
        return names->slots[at] - 1;
    if (names->count >= NETWORK_NAMES_MAX)
        return -ENOSPC;
    if (length >= SPEC_HOST_MAX)
        return -EINVAL;
    memcpy(record.host, host, length);
    ssize_t n =
        pwrite(names->fd, &record, sizeof record, (off_t)((size_t)names->count * sizeof record));
    if (n != (ssize_t)sizeof record)
        return n < 0 ? -errno : -EIO;
    return add(names, host);
}

const char *names_host(const struct names *names, unsigned number)
{
    return number < names->count ? names->hosts[number] : NULL;
}
