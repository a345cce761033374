/* This file finds where cgroups are mounted and where this process is among them, from the texts
 * of /proc; it never makes or writes anything. PRIVILEGED: the launcher's, but needs nothing.
 *
 * Paths are never assumed: "cpu" and "cpuacct" are one mount on most hosts and two on others, and
 * v2 is at /sys/fs/cgroup or at /sys/fs/cgroup/unified.
 */
#include "runtime/base/io.h"
#include "runtime/host/cgroup_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const struct cgroup_controller cgroup_controllers[CGROUP_V1_COUNT] = {
    [CGROUP_V1_MEMORY] = {"memory", SPEC_LIMIT_MEMORY},
    [CGROUP_V1_PIDS] = {"pids", SPEC_LIMIT_PIDS},
    [CGROUP_V1_CPU] = {"cpu", SPEC_LIMIT_CPU},
};

/* Is `word` one of the words of `text`, which are parted by any character of `parting`? */
static bool has_word(const char *text, const char *word, const char *parting)
{
    size_t length = strlen(word);
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, parting);
        if (n == length && memcmp(p, word, n) == 0)
            return true;
        p += n;
        p += strspn(p, parting);
    }
    return false;
}

/* mountinfo writes space, tab, newline and backslash as \ooo. False when it does not fit. */
static bool copy_unescaped(char *to, size_t size, const char *from)
{
    size_t n = 0;
    for (; *from; from++) {
        if (n + 1 >= size)
            return false;
        unsigned value;
        if (*from == '\\' && sscanf(from + 1, "%3o", &value) == 1 && value < 256) {
            to[n++] = (char)value;
            from += 3;
        } else {
            to[n++] = *from;
        }
    }
    to[n] = 0;
    return true;
}

/* The next field of a line, parted by single spaces; NULL at its end. */
static char *next_field(char **line)
{
    char *field = *line;
    if (!field)
        return NULL;
    char *end = strchr(field, ' ');
    if (end)
        *end++ = 0;
    *line = end;
    return field;
}

/* A mount that is writable replaces one that is not, and nothing else replaces anything. */
static bool is_better(const char *known, bool known_read_only, bool read_only)
{
    return !known[0] || (known_read_only && !read_only);
}

static void take_v1(struct cgroup_mounts *m, const char *point, const char *options, bool read_only)
{
    for (int i = 0; i < CGROUP_V1_COUNT; i++) {
        if (!has_word(options, cgroup_controllers[i].name, ",") ||
            !is_better(m->v1[i], m->v1_read_only[i], read_only))
            continue;
        if (copy_unescaped(m->v1[i], sizeof m->v1[i], point))
            m->v1_read_only[i] = read_only;
        else
            m->v1[i][0] = 0;
    }
}

/* "36 35 98:0 /root /point rw,noatime optional... - type source super,options" */
static void take_line(struct cgroup_mounts *m, char *line)
{
    char *tail = strstr(line, " - cgroup");
    if (!tail)
        return;
    *tail = 0;
    tail += strlen(" - ");
    char *type = next_field(&tail);
    next_field(&tail);
    const char *super = next_field(&tail);
    for (int skip = 0; skip < 3; skip++)
        next_field(&line);
    const char *root = next_field(&line);
    const char *point = next_field(&line);
    const char *options = next_field(&line);
    if (!super || !root || !point || !options)
        return;
    bool read_only = has_word(options, "ro", ",") || has_word(super, "ro", ",");
    if (strcmp(type, "cgroup") == 0) {
        take_v1(m, point, super, read_only);
    } else if (strcmp(type, "cgroup2") == 0 && is_better(m->v2, m->v2_read_only, read_only)) {
        m->v2_read_only = read_only;
        if (!copy_unescaped(m->v2, sizeof m->v2, point) ||
            !copy_unescaped(m->v2_root, sizeof m->v2_root, root))
            m->v2[0] = 0;
    }
}

int cgroup_mounts_scan(int fd, struct cgroup_mounts *ret)
{
    struct cgroup_mounts mounts = {0};
    char text[16384];
    size_t have = 0;
    bool skipping = false; /* the rest of a line that is longer than the buffer */
    for (;;) {
        ssize_t n = read(fd, text + have, sizeof text - 1 - have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        have += (size_t)n;
        text[have] = 0;
        char *line = text;
        for (char *end; (end = strchr(line, '\n')); line = end + 1) {
            *end = 0;
            if (!skipping)
                take_line(&mounts, line);
            skipping = false;
        }
        have = (size_t)(text + have - line);
        memmove(text, line, have);
        if (have == sizeof text - 1) {
            skipping = true;
            have = 0;
        }
    }
    *ret = mounts;
    return 0;
}

int cgroup_own_path(const char *text, const struct cgroup_mounts *mounts, char *ret, size_t size)
{
    const char *own = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
    if (!own || !mounts->v2[0])
        return -ENOENT;
    own = strchr(own, '/');
    if (!own)
        return -ENOENT;
    size_t length = strcspn(own, "\n");
    size_t root = strcmp(mounts->v2_root, "/") == 0 ? 0 : strlen(mounts->v2_root);
    /* "/../x" is a cgroup beside the root of this cgroup namespace: no path of ours leads there. */
    if (length < root || strncmp(own, mounts->v2_root, root) != 0 ||
        (own[root] != '/' && own[root] != '\n' && own[root] != 0) || strncmp(own, "/..", 3) == 0)
        return -ENOENT;
    own += root;
    length -= root;
    if (length == 1)
        length = 0; /* "/" */
    int n = snprintf(ret, size, "%s%.*s", mounts->v2, (int)length, own);
    return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

uint32_t cgroup_limits_named(const char *text)
{
    uint32_t limits = 0;
    for (int i = 0; i < CGROUP_V1_COUNT; i++)
        if (has_word(text, cgroup_controllers[i].name, " \n"))
            limits |= cgroup_controllers[i].limit;
    return limits;
}

void cgroup_limits_print(uint32_t limits, char *ret_text, size_t size)
{
    size_t n = 0;
    ret_text[0] = 0;
    for (int i = 0; i < CGROUP_V1_COUNT && n < size; i++)
        if (limits & cgroup_controllers[i].limit)
            n += (size_t)snprintf(ret_text + n, size - n, "%s%s", n ? ", " : "",
                                  cgroup_controllers[i].name);
}

bool cgroup_name_valid(const char *name)
{
    size_t length = strlen(name);
    return length > 0 && length < sizeof((struct cgroup_session *)0)->name && name[0] != '.' &&
           !strchr(name, '/') && strncmp(name, "cgroup.", 7) != 0;
}
