/* This file is what the processes of `berth serve` agree on: descriptors at birth, names, and the
 * configuration that each gets from the supervisor. Data only (docs/adr/0012).
 */
#pragma once

#include "runtime/spec.h"

#include <stdint.h>
#include <stdio.h>

/* Descriptors of front at its start. 0 is /dev/null, 1 and 2 are the supervisor's log. */
enum serve_fd {
    SERVE_FD_SUPERVISOR = 3,   /* SOCK_SEQPACKET: a byte 'L' + a new launcher socket comes in; 'V' +
                                  a new socket of the gateway's events (it was started again); 'E'
                                  means: end in order. Its end without that means that the supervisor
                                  is dead: so is the launcher, and the next berth waits for the
                                  ledger. 'F' + a sealed memfd like SERVE_FD_CONFIG: the
                                  configuration was read again. front sends 'R' once it
                                  serves, 'I' when it is idle, 'H' when it ends because
                                  what it could not do will fail again */
    SERVE_FD_LAUNCHER = 4,     /* SOCK_SEQPACKET, runtime/launcher.h */
    SERVE_FD_CONFIG = 5,       /* sealed memfd: struct serve_config */
    SERVE_FD_LISTEN = 6,       /* listening unix socket for clients */
    SERVE_FD_CAPABILITIES = 7, /* sealed memfd: the probed capabilities, registry_encode() with the
                                  key SERVE_CAPABILITIES_KEY */
    SERVE_FD_EVENTS = 8, /* SOCK_SEQPACKET, struct gateway_event comes in; closed at birth where
                            no gateway could be started: then one may come by 'V' */
    SERVE_FD_STATUS = 9, /* memfd, which the supervisor alone writes: struct serve_status */
    SERVE_FD_TCP = 10,   /* listening TCP sockets, struct serve_config's tcp_count of them */
    SERVE_TCP_MAX = 8,
    SERVE_FD_END = SERVE_FD_TCP + SERVE_TCP_MAX,
};

enum {
    SERVE_CONFIG_VERSION = 1,
    SERVE_START_TIMEOUT_S = 5,
    SERVE_AUDIT_ROWS = 1000000,
    SERVE_AUDIT_WORKSPACE_ROWS = 100000,
    SERVE_ROOTS_MAX = 16,
    SERVE_NAME_SIZE = 48,
    SERVE_ADDRESS_MAX = 112,
    SERVE_HOSTS_MAX = 8,
    SERVE_HOST_SIZE = 256,
    SERVE_NAMES_SIZE = 256,
    SERVE_DOOR_MAX = 16,
};

#define SERVE_CAPABILITIES_KEY "serve"

/* Beneath state_dir, made by the supervisor for front alone (0700): the ledger's directory and the
 * spools. Beneath runtime_dir: sockets of sessions (0711, root's) and of clients, unless
 * `--socket` says another place. */
#define SERVE_LEDGER_DIR "ledger"
#define SERVE_SPOOL_DIR  "spool"
/* Front's exit status when what it could not do will fail again: the supervisor ends too. */
enum { SERVE_FRONT_HOPELESS = 3 };

#define SERVE_SESSIONS_DIR "sessions"
#define SERVE_SOCKET       "berth.sock"

/* What an operator has fixed, checked by the supervisor. Both front and launcher obey it. */
struct serve_config {
    uint32_t version, size;
    uint32_t rootless, on_demand; /* on_demand: ends with the last session */
    uint32_t front_uid, front_gid;
    uint32_t socket_gid; /* who may connect beside the owner; UINT32_MAX: nobody */
    uint32_t sessions_max;
    uint32_t
        start_timeout_s; /* how long a session may take to be ready; 0: SERVE_START_TIMEOUT_S */
    /* Rows of the audit that are kept; 0: SERVE_AUDIT_ROWS, SERVE_AUDIT_WORKSPACE_ROWS */
    uint32_t audit_rows_max, audit_workspace_rows_max;
    uint32_t root_count; /* directories beneath which a `directory` workspace may be; 0: none but
                            what the asker owns (rootless) */
    uint32_t ceiling_length; /* bytes of the ceiling policy's source text that follow this struct */
    uint32_t listen_length;  /* of listen_address: what getsockname(2) says of clients' sockets */
    uint8_t listen_address[SERVE_ADDRESS_MAX];
    uint32_t tcp_count, host_count; /* sockets of the configuration; after them those that */
    uint32_t tcp_given;             /* a service manager made */
    uint32_t log_failures_only, log_text;
    uint32_t door_count; /* ports of the host's loopback that host.berth.internal may lead to */
    uint16_t door_ports[SERVE_DOOR_MAX];
    uint32_t reload_failed;         /* the file was read again and is wrong */
    uint64_t read_ms;               /* when it was read; 0: there is none */
    char pending[SERVE_NAMES_SIZE]; /* keys that wait for the next start, one space between */
    char hosts[SERVE_HOSTS_MAX][SERVE_HOST_SIZE]; /* names of this host for callers over TCP */
    char state_dir[SPEC_PATH_MAX], runtime_dir[SPEC_PATH_MAX];
    char roots[SERVE_ROOTS_MAX][SPEC_PATH_MAX];
};

/* What the supervisor has seen, for who measures. Each number is written in one piece. */
enum serve_process { SERVE_FRONT, SERVE_LAUNCHER, SERVE_GATEWAY, SERVE_PROCESS_COUNT };
struct serve_status {
    uint64_t started_ms;                    /* when the supervisor was */
    uint64_t restarts[SERVE_PROCESS_COUNT]; /* after an end that nobody had asked for */
};

/* "<row in hex>-<incarnation>": the only name of a session in the kernel and on disk. */
static inline void serve_name(char ret[SERVE_NAME_SIZE], int64_t row, int64_t incarnation)
{
    snprintf(ret, SERVE_NAME_SIZE, "%llx-%lld", (unsigned long long)row, (long long)incarnation);
}
