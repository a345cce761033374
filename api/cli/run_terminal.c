/* This file switches the caller's terminal to raw mode and back; it never relays bytes. */
#include "api/cli/run_terminal.h"

#include "runtime/base/fd.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>

void terminal_init(struct terminal *terminal, int fd)
{
    *terminal = (struct terminal){.fd = fd};
}

bool terminal_foreground(int fd)
{
    return tcgetpgrp(fd) == getpgrp();
}

void terminal_enter(struct terminal *terminal)
{
    if (terminal->fd < 0 || terminal->raw || !terminal_foreground(terminal->fd))
        return;
    if (tcgetattr(terminal->fd, &terminal->before) < 0)
        return;
    struct termios raw = terminal->before;
    cfmakeraw(&raw);
    terminal->raw = tcsetattr(terminal->fd, TCSANOW, &raw) == 0;
    if (terminal->raw && ioctl(terminal->fd, FIONREAD, &terminal->ahead) < 0)
        terminal->ahead = 0;
}

void terminal_leave(struct terminal *terminal)
{
    /* In the background the shell has already set its own mode; ours must not overwrite it. */
    if (terminal->raw && terminal_foreground(terminal->fd))
        tcsetattr(terminal->fd, TCSANOW, &terminal->before);
    terminal->raw = false;
}

void terminal_size(int fd, uint16_t *ret_rows, uint16_t *ret_columns)
{
    struct winsize size = {0};
    bool known = ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_row && size.ws_col;
    *ret_rows = known ? size.ws_row : 24;
    *ret_columns = known ? size.ws_col : 80;
}

int terminal_reopen(int fd, int access_mode)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, access_mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}
