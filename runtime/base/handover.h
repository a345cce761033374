/* This file is how the descriptors of a birth are handed to a process that a service manager
 * starts, where a parent would have passed them by fork() (docs/adr/0021).
 *
 * The manager listens on a socket (SOCK_SEQPACKET) and starts the program, with that socket, when
 * somebody connects. The supervisor connects and sends one message: which numbers, and their
 * descriptors. The program takes it as the first thing that it does, answers with one message, to
 * which the kernel adds who it is, and goes on as one that was forked. Their connection is what the
 * pair of sockets is between a parent and a child: its end is the end of one of the two.
 *
 *     supervisor: connect, handover_give(), handover_answer()
 *     program:    handover_asked(), handover_take()
 */
#pragma once

#include "runtime/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    HANDOVER_MAX = 24,        /* descriptors in one message */
    HANDOVER_WAIT_MS = 10000, /* either side, for the other */
};

/* Which program: one that is another's gets nothing. */
enum handover_kind { HANDOVER_FRONT = 1, HANDOVER_GATEWAY = 2 };

/* The supervisor: from[n] becomes descriptor n of the program for first < n < end (-1: none);
 * `first` is the connection itself. 1 and 2 become the caller's 2. Descriptors stay the caller's.
 * Never waits. 0 or -errno. */
int handover_give(int channel, enum handover_kind kind, const int from[], int first, int end);

/* Who has taken it, as the kernel says. */
struct handover_peer {
    pid_t pid;
    uid_t uid;
    gid_t gid;
};

/* The supervisor: waits up to HANDOVER_WAIT_MS. 0, -ETIMEDOUT, -EPIPE when the program ended first,
 * -EPROTO for an answer that is none, or another -errno. `ret_pidfd`: of that process and no later
 * one of its number: it was there when it was opened. */
int handover_answer(int channel, enum handover_kind kind, struct handover_peer *ret,
                    int *ret_pidfd);

/* The program: a service manager has started this process, with one socket. */
bool handover_asked(void);

/* The program: takes the place of a birth. On return the descriptors are at their numbers, 1 and 2
 * are the supervisor's log, every other from 3 on is closed, and the environment is empty. Only
 * root's message is taken. 0 or -errno with `err`; -ENOTCONN: nobody was there any more. */
int handover_take(enum handover_kind kind, int first, int end, struct err *err);
