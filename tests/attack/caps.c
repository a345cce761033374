/* This file is an attack program: it looks for privilege that a command was left with, and tries to
 * regain some (rows 6 and 9). With `--whoami` it only says what it is: copies of itself with a
 * setuid bit or file capabilities are executed that way. It never changes a file.
 *
 *     caps [PROGRAM…]     each PROGRAM is executed with --whoami and must gain nothing
 */
#include "try.h"

#include <grp.h>
#include <sys/prctl.h>

static unsigned long status_field(const char *key, int base)
{
    FILE *file = fopen("/proc/self/status", "re");
    char line[256];
    unsigned long value = ~0ul;
    size_t n = strlen(key);
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, key, n) == 0 && line[n] == ':')
            value = strtoul(line + n + 1, NULL, base);
    if (file)
        fclose(file);
    return value;
}

static void zero_set(const char *key)
{
    unsigned long value = status_field(key, 16);
    if (value == 0)
        try_refused(key, "EMPTY");
    else
        try_succeeded(key, "%lx", value);
}

static int step_setuid(void *argument)
{
    uid_t uid = *(uid_t *)argument;
    if (setresuid(uid, uid, uid) < 0)
        return errno;
    return 0;
}

static int step_setgroups(void *argument)
{
    (void)argument;
    gid_t group = 4;
    return setgroups(1, &group) < 0 ? errno : 0;
}

static int step_ambient(void *argument)
{
    (void)argument;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 21ul, 0ul, 0ul) < 0)
        return errno;
    return 0;
}

static int step_securebits(void *argument)
{
    (void)argument;
    return prctl(PR_SET_SECUREBITS, 0ul) < 0 ? errno : 0;
}

/* 0 when the program has more than it was started with. */
static int step_execute(void *argument)
{
    const char *program = argument;
    char self[96];
    snprintf(self, sizeof self, "%u,%u", getuid(), getgid());
    execl(program, program, "--whoami", self, (char *)NULL);
    return errno;
}

static int whoami(const char *was)
{
    unsigned uid = 0, gid = 0;
    char *rest = NULL;
    uid = (unsigned)strtoul(was, &rest, 10);
    if (rest && *rest == ',')
        gid = (unsigned)strtoul(rest + 1, NULL, 10);
    bool same = geteuid() == uid && getegid() == gid;
    return same && status_field("CapEff", 16) == 0 && status_field("CapPrm", 16) == 0 ? EPERM : 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--whoami") == 0)
        return whoami(argv[2]);
    try_begin();
    zero_set("CapInh");
    zero_set("CapPrm");
    zero_set("CapEff");
    zero_set("CapBnd");
    zero_set("CapAmb");
    if (status_field("NoNewPrivs", 10) == 1)
        try_refused("no_new_privs_off", "SET");
    else
        try_succeeded("no_new_privs_off", "not set");
    if (status_field("Seccomp", 10) == 2)
        try_refused("seccomp_off", "FILTER");
    else
        try_succeeded("seccomp_off", "mode %lu", status_field("Seccomp", 10));

    /* Bits 0 to 5: NOROOT, NO_SETUID_FIXUP, KEEP_CAPS pairs; locked means that they stay. */
    int bits = prctl(PR_GET_SECUREBITS);
    if (bits >= 0 && (bits & 0x2a) == 0x2a)
        try_refused("securebits_unlocked", "LOCKED");
    else
        try_succeeded("securebits_unlocked", "0x%x", (unsigned)bits);
    try_in_child("securebits_clear", step_securebits, NULL);
    try_in_child("ambient_raise", step_ambient, NULL);
    try_in_child("setgroups", step_setgroups, NULL);
    const uid_t others[] = {0, 1, 1000, 65533, 65534};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        uid_t uid = others[i];
        char name[32];
        if (uid == getuid())
            continue;
        snprintf(name, sizeof name, "setuid_%u", uid);
        try_in_child(name, step_setuid, &uid);
    }
    for (int i = 1; i < argc; i++) {
        const char *slash = strrchr(argv[i], '/');
        char name[96];
        snprintf(name, sizeof name, "execute_%.60s", slash ? slash + 1 : argv[i]);
        try_in_child(name, step_execute, argv[i]);
    }
    return try_end("caps");
}
