/* This file makes the environment of a command; it never looks at this process's own (EXEC-1).
 */
#include "runtime/base/fd.h"
#include "runtime/plan/rootfs.h"
#include "runtime/runtime.h"

#include <stdlib.h>
#include <string.h>

static bool same_name(const char *a, const char *b)
{
    size_t n = strcspn(a, "=");
    return strncmp(a, b, n) == 0 && b[n] == '=';
}

/* Put "K=V" into the list, over an earlier value of the same name. */
static void put(char **list, size_t *count, char *entry)
{
    for (size_t i = 0; i < *count; i++) {
        if (same_name(entry, list[i])) {
            list[i] = entry;
            return;
        }
    }
    list[(*count)++] = entry;
}

static char *copy_entry(char **at, const char *text)
{
    size_t n = strlen(text) + 1;
    char *entry = memcpy(*at, text, n);
    *at += n;
    return entry;
}

char **exec_environment(const struct spec *spec, const char *term, const char *const *extra)
{
    static const char path[] = "PATH=" ROOTFS_PATH;
    static const char *const for_user[] = {path, "HOME=/home/user", "USER=user", "LOGNAME=user",
                                           "LANG=C.UTF-8"};
    static const char *const for_root[] = {path, "HOME=/root", "USER=root", "LOGNAME=root",
                                           "LANG=C.UTF-8"};
    const char *const *base = spec->process.uid == SPEC_UID_ROOT ? for_root : for_user;
    size_t entries = ARRAY_LENGTH(for_user) + 1 + spec->process.env_count, bytes = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(for_user); i++)
        bytes += strlen(base[i]) + 1;
    const char *terminal = term && *term ? term : "dumb";
    bytes += sizeof "TERM=" + strlen(terminal) + spec->process.env_bytes;
    for (size_t i = 0; extra && extra[i]; i++, entries++)
        bytes += strlen(extra[i]) + 1;

    char **list = malloc((entries + 1) * sizeof *list + bytes);
    if (!list)
        return NULL;
    char *at = (char *)(list + entries + 1);
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(for_user); i++)
        put(list, &count, copy_entry(&at, base[i]));
    static const char term_is[] = "TERM=";
    char *entry = memcpy(at, term_is, sizeof term_is - 1);
    at += sizeof term_is - 1;
    copy_entry(&at, terminal); /* the rest of the same entry */
    put(list, &count, entry);
    const char *policy = spec->process.env;
    for (uint32_t i = 0; i < spec->process.env_count; i++, policy += strlen(policy) + 1)
        put(list, &count, copy_entry(&at, policy));
    for (size_t i = 0; extra && extra[i]; i++)
        put(list, &count, copy_entry(&at, extra[i]));
    list[count] = NULL;
    return list;
}
