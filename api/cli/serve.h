/* This file is what the files of `berth serve` share: the configuration that an operator wrote, the
 * place on disk, and the three children. The supervisor reads no byte of a client and holds no
 * descriptor of a session (docs/adr/0012), but of an ordinary user's its network (docs/adr/0013).
 */
#pragma once

#include "runtime/base/buf.h"
#include "runtime/base/err.h"
#include "runtime/launcher_main.h"
#include "runtime/serve.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct serve_options {
    const char *config;                /* NULL: the default file, where there is one */
    char config_path[SPEC_PATH_MAX];   /* absolute, of one or the other; "": none */
    const char *socket;                /* NULL: in the runtime directory */
    const char *listen[SERVE_TCP_MAX]; /* beside those of the file */
    unsigned listen_count;
    const char *log_format; /* "json", "text"; NULL: as the file says */
    const char *units;      /* a directory, absolute: front and the gateway are units, met there */
    bool on_demand, help, check, schema, reference;
};

/* ADDRESS:PORT, where to listen over TCP. */
struct serve_address {
    uint8_t bytes[16];
    uint16_t port; /* 0: one that the kernel chooses */
    bool six, loopback;
};
/* "127.0.0.1:8080", "[::1]:8080". 0 or -EINVAL. */
int serve_address_parse(const char *text, struct serve_address *ret);

enum { SERVE_URL_SIZE = 64, SERVE_RESOLVERS_MAX = 8, SERVE_RESOLVER_SIZE = 64 };

/* What is fixed before the first child: the configuration and its ceiling's text. */
struct serve_plan {
    struct serve_config config;
    struct buf ceiling;
    char socket[SPEC_PATH_MAX];
    uint32_t gateway_uid;                          /* and its group; rootless: not used */
    struct serve_address addresses[SERVE_TCP_MAX]; /* config.tcp_count of them */
    bool beyond_loopback;
    char ceiling_path[SPEC_PATH_MAX];
    char resolvers[SERVE_RESOLVERS_MAX][SERVE_RESOLVER_SIZE]; /* as they are written */
    unsigned resolver_count;                                  /* 0: the host's */
    bool file_read;                                           /* there is a file */
    bool log_said; /* how the log is written was said: also what stops a start goes into it */
};

/* `given`, from here; its caller's directory is / later. */
int serve_absolute(const char *option, const char *given, char ret[SPEC_PATH_MAX], struct err *err);
/* The file that is read, at the start and again. */
int serve_config_path(const struct serve_options *options, char ret[SPEC_PATH_MAX],
                      struct err *err);

/* Unknown keys, other types and values out of range are refused at file:line:column. Fills what the
 * file does not say. 0 or -errno. */
int serve_config_load(const char *name, bool required, struct serve_plan *plan, struct err *err);
/* The file and what options say, which go before it. `plan` is zero. */
int serve_config_all(const struct serve_options *options, struct serve_plan *plan, struct err *err);
/* Every key and what is in force, for a person; the JSON Schema; docs/config-reference.md. */
void serve_config_show(const struct serve_plan *plan, struct buf *out);
void serve_config_schema(struct buf *out);
void serve_config_reference(struct buf *out);
int serve_config_parse(const char *name, const char *text, size_t length, struct serve_plan *plan,
                       struct err *err);

/* Accounts without NSS, from files of passwd(5) and group(5) form. SERVE_NOBODY: there is none. */
enum { SERVE_NOBODY = UINT32_MAX };
uint32_t serve_find_user(const char *text, const char *name, uint32_t *ret_gid);
uint32_t serve_find_group(const char *text, const char *name);

/* Whose front is when nothing says it: the last id of the range that containers get, which is -1 in
 * 16 bits and therefore nobody's inside any of them; below the ranges of sessions (uid_slot.h). */
enum { SERVE_FRONT_UID = 0x6fffffff };

/* Directories, locks and the listening socket. Descriptors are close-on-exec. */
struct serve_place {
    int state_lock, runtime_lock; /* -1 */
    int listen;
    bool given; /* a service manager made it: its name is not ours to remove */
    char socket[SPEC_PATH_MAX];
    unsigned tcp_count;
    int tcp[SERVE_TCP_MAX];
    char urls[SERVE_TCP_MAX][SERVE_URL_SIZE];
};
int serve_place_open(struct serve_place *ret, struct serve_plan *plan, struct err *err);
/* For who brings a ledger back: the state directory with its lock, and the ledger's directory. */
int serve_place_ledger(struct serve_place *ret, struct serve_plan *plan, int *ret_directory,
                       struct err *err);
void serve_place_close(struct serve_place *place); /* removes the socket */
/* Fills place->tcp and urls; warns of what is reached from beyond this host. */
/* serve_given.c: sockets that a service manager made, after those. */
int serve_given(struct serve_plan *plan, struct serve_place *place, struct err *err);
void serve_address_format(const struct serve_address *at, char ret[SERVE_URL_SIZE]);
/* The socket of clients is this group's: UINT32_MAX: the owner's alone. */
int serve_regroup(const struct serve_place *place, uint32_t gid, struct err *err);
int serve_listen_tcp(const struct serve_plan *plan, struct serve_place *place, struct err *err);
/* One more, of --listen. */
int serve_config_listen(const char *text, struct serve_plan *plan, struct err *err);

/* Probe this host in a child and encode what can be done. Also fails when nothing could be built.
 * `no_gateway`: why there will be none, and with it no network; NULL: there will be one. */
int serve_probe(const struct serve_config *config, const struct err *no_gateway, int *ret_memfd,
                struct err *err);

/* A child of the supervisor, or a unit that it has joined. */
struct serve_child {
    pid_t pid;   /* 0: not there */
    int pidfd;   /* of a unit; -1: a child, for which wait(2) is */
    int channel; /* our end of the pair of SOCK_SEQPACKET whose end ends it; -1 */
    uint64_t born_ms, due_ms;
    unsigned pause_ms;
    int unbegun; /* why it could not be started the last time, which was told: -errno; 0 */
};

/* serve_kept.c: what one launcher has kept for the next. */
struct serve_kept {
    int outer;                   /* -1 */
    struct launcher_kept *items; /* owned */
    unsigned count, room;
    int end;     /* no network has this number, or a higher one */
    bool untold; /* one was not kept, and nobody was told yet */
    bool told;
};
/* The descriptors of the supervisor's that no network gets: it starts processes with them. */
enum { SERVE_KEPT_RESERVE = 64 };
/* By the limit on open files of now. */
void serve_kept_init(struct serve_kept *kept);
void serve_kept_fini(struct serve_kept *kept);
/* What came of a launcher; takes *fd, where it is kept. */
void serve_kept_take(struct serve_kept *kept, const struct launcher_keep *what, int *fd);

struct serve_launch {
    struct serve_plan *plan;
    const struct serve_place *place;
    const char *units; /* --units; NULL: they are children */
    int program;       /* O_PATH of berth-front; -1: a unit */
    int gateway;       /* O_PATH of berth-gateway; -1: a unit, or there is none */
    bool carries;      /* a gateway has answered; else no network is carried */
    int config, capabilities, status;
    struct serve_status *counted; /* what `status` is; NULL: nothing is counted */
    struct serve_kept kept;
};

/* serve_status.c: front reads what the supervisor counts. */
int serve_status_open(struct serve_status **ret, int *ret_memfd, struct err *err);
void serve_status_restarted(struct serve_status *status, enum serve_process process);

/* The directories above `path` that are missing, with mode 0755. */
int serve_make_parents(const char *path, struct err *err);

/* berth-front beside this program, else the installed one. */
int serve_find_front(int *ret_program, struct err *err);
/* `launcher`: that child's end of the pair with the other; `gateway`, `events`: its end of the one
 * with the gateway, -1: there is none now. Borrowed. 0 or -errno with `err`. */
int serve_start_launcher(const struct serve_launch *launch, int launcher, int gateway,
                         struct serve_child *child, struct err *err);
int serve_start_front(const struct serve_launch *launch, int launcher, int events,
                      struct serve_child *child, struct err *err);

/* serve_units.c: the same where they are units of a service manager (docs/adr/0021). */
struct serve_joined {
    pid_t pid;
    int pidfd, channel;
};
struct gateway_config;
/* from[n] is to be descriptor n; borrowed. Waits for the unit, up to HANDOVER_WAIT_MS. */
int serve_join_front(const struct serve_launch *launch, const int from[SERVE_FD_END],
                     struct serve_joined *ret, struct err *err);
int serve_join_unit_gateway(const char *units, const struct gateway_config *config, uint32_t uid,
                            struct serve_joined *ret, int *ret_control, int *ret_events,
                            struct err *err);
/* Its connection is closed, by which it ends; killed when it takes longer than a second. */
void serve_joined_end(struct serve_joined *joined);
/* It takes both descriptors. */
void serve_child_joined(struct serve_child *child, struct serve_joined *joined);
void serve_child_kill(const struct serve_child *child);
/* False for a child. */
bool serve_child_unit_ended(const struct serve_child *child);

/* serve_gateway.c: the program that serves networks, which was started once and has answered.
 * `units`: it is one of them, and there is no program. */
int serve_try_gateway(const struct serve_plan *plan, const char *units, int *ret_program,
                      struct err *err);
/* What of the configuration is the gateway's, to one that runs. */
int serve_tell_gateway(const struct serve_launch *launch, int channel, struct err *err);
/* With a socket for the launcher and one for front. */
int serve_start_gateway(const struct serve_launch *launch, struct serve_child *child,
                        int *ret_control, int *ret_events, struct err *err);
/* A new socket of a gateway's that lives, for the launcher ('C') or front ('E'). `ret_end` stays as
 * it is where there is no gateway now. */
int serve_join_gateway(const struct serve_child *gateway, char kind, int *ret_end);
/* One byte and a descriptor, which stays the caller's. Never waits. */
int serve_hand_over(int channel, char kind, int fd);

/* Until SIGTERM, SIGINT, or idle on demand. An exit status. */
int serve_supervise(struct serve_launch *launch, const struct serve_options *options,
                    const char *notify);

/* serve_reload.c: the configuration once more, told on standard error. How many keys are in force
 * now that were not before; 0 also when the file is wrong; launch->config is what front shall know
 * in each case. Negative: it could not even be kept. */
int serve_reload(struct serve_launch *launch, const struct serve_options *options);
/* Keys that differ: those that can change now are named, the others kept and named in
 * next->config.pending. How many of the former. */
unsigned serve_reload_compare(const struct serve_plan *now, struct serve_plan *next,
                              char ret_changed[SERVE_NAMES_SIZE]);
uint64_t serve_clock_ms(void);

uint64_t serve_now_ms(void);
/* One message of sd_notify(3); nothing where NOTIFY_SOCKET was not set. */
void serve_notify(const char *socket, const char *text);
