/* This file puts the caller's terminal into raw mode for a command that has a PTY inside, and gives
 * it back on every way out; it never relays bytes.
 *
 * Only the foreground job may change a terminal: in the background terminal_enter() does nothing
 * and is tried again later.
 *
 * What was typed before that was typed in lines: the kernel keeps an end-of-file key as a NUL,
 * which a read in raw mode gives as it is (Linux 6.18, n_tty). `ahead` says for how many bytes that
 * holds.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <termios.h>

struct terminal {
    int fd;    /* the terminal of stdin; -1: none, and every call does nothing */
    bool raw;  /* ours to restore */
    int ahead; /* bytes that were typed before the terminal was raw, still to be read */
    struct termios before;
};

void terminal_init(struct terminal *terminal, int fd);
bool terminal_foreground(int fd);
void terminal_enter(struct terminal *terminal);
void terminal_leave(struct terminal *terminal);

/* Rows and columns of `fd`, 24 by 80 where it does not know. */
void terminal_size(int fd, uint16_t *ret_rows, uint16_t *ret_columns);

/* The same terminal with a file description of our own, non-blocking (the inherited one is shared
 * with the shell, whose mode must not change). -1: not allowed to; use the inherited one. */
int terminal_reopen(int fd, int access_mode);
