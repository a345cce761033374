/* This file is front's end of the launcher socket: it sends requests and hands replies to who
 * asked; it never blocks. Unprivileged, one thread.
 *
 *     launcher_client_new(&client, fd, &err);              // fd is taken
 *     launcher_client_call(client, &request, fds, n, done, data, &err);
 *     poll(launcher_client_fd(client), POLLIN [| POLLOUT]) -> launcher_client_work(client)
 *     launcher_client_replace(client, new_fd);             // after LAUNCHER_CLIENT_LOST
 *
 * Requests that do not fit into the socket wait in a queue. When the connection ends, every call
 * that was sent is done with -ECONNRESET: its outcome is not known, ask LOOK or repeat it. Calls
 * that were not sent yet wait for the next connection.
 */
#pragma once

#include "runtime/launcher.h"

struct launcher_client;

/* `reply` NULL: the connection ended (`err` says so). Valid during the call only. */
typedef void launcher_done(void *data, const struct launcher_reply *reply, const struct err *err);

int launcher_client_new(struct launcher_client **ret, int fd, struct err *err);
void launcher_client_free(struct launcher_client *client); /* calls nobody; NULL allowed */

/* Fills magic, version and ticket. Descriptors are duplicated. `done` NULL: nobody waits. */
int launcher_client_call(struct launcher_client *client, const struct launcher_request *request,
                         const int *fds, unsigned fd_count, launcher_done *done, void *data,
                         struct err *err);
/* Nobody waits any more for calls with this `data`. */
void launcher_client_forget(struct launcher_client *client, const void *data);

/* Give up the workers of calls with this `data`: they are answered with an error, sooner. Those
 * that were not sent yet are done with -ECANCELED from inside this call. */
void launcher_client_cancel(struct launcher_client *client, const void *data);

/* Called for DIED: init of (row, incarnation) has ended. */
void launcher_client_on_died(struct launcher_client *client,
                             void (*died)(void *data, int64_t row, int64_t incarnation),
                             void *data);

int launcher_client_fd(const struct launcher_client *client); /* -1 while lost */
bool launcher_client_wants_write(const struct launcher_client *client);
enum launcher_client_outcome { LAUNCHER_CLIENT_LOST = 1 };
int launcher_client_work(struct launcher_client *client, struct err *err);
void launcher_client_replace(struct launcher_client *client, int fd);
