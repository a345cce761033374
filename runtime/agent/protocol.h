/* This file is the protocol between a controller (`berth run`, later the front) and init, PID 1 of
 * one session. Both sides include it; it is data only.
 *
 * Into the session go messages on a SOCK_SEQPACKET socket: one struct agent_message, with
 * descriptors attached. Anything larger travels in a sealed memfd that is the first descriptor.
 * Out of the session come frames on a pipe, never a descriptor: struct agent_frame and at most
 * AGENT_FRAME_PAYLOAD_MAX bytes. init is a hostile peer for whoever reads frames:
 * agent_frame_check() is the only way to trust a header, and a frame that fails it ends the
 * session.
 *
 * A connection carries an epoch; init obeys the newest epoch that it has seen and drops messages of
 * older ones. Exec numbers are the controller's row ids, unique within an incarnation; init refuses
 * a number at or below the interrupt floor, and one that it has seen.
 *
 * The table is the truth: a row stays until AGENT_FORGET says that its outcome is recorded (in
 * sessions that end with their controller: until its place is needed). A reader that sleeps loses
 * nothing: what does not fit into init's bounded queue waits in the row that it is about, and only
 * output captured into DATA frames waits with it, never output that goes to a spool.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    AGENT_VERSION = 5,        /* changes with every struct here: both sides must be of one build */
    AGENT_MAGIC = 0x62727468, /* "brth" */
    AGENT_FRAME_PAYLOAD_MAX = 65536,
    AGENT_EXEC_PAYLOAD_MAX = 4 << 20, /* argv + env + cwd */
    AGENT_FDS_MAX = 8,
    AGENT_V1_MAX = 4,
    AGENT_SECCOMP_MAX = 4096, /* instructions, BPF_MAXINSNS */
    AGENT_TABLE_MAX = 4096,   /* rows of init's table */
    AGENT_HELLO_MS = 2000,
    /* A file worker that has used no processor time for so long is killed (FS-2), unless its
     * idle_timeout_ms says another time: it was stopped, or its disk or its pipes do not move. */
    AGENT_FILES_STILL_MS = 90 * 1000,
};

/* The number of the command that proves a session ready (SES-5): its maker has it forgotten before
 * he leaves, and it counts for nothing afterwards. */
#define AGENT_EXEC_PROBE UINT64_MAX

/* Descriptors that init finds open at its start. 0, 1 and 2 are the session's /dev/null. */
enum agent_start_fd {
    AGENT_FD_CONTROL = 3, /* SOCK_SEQPACKET, messages in */
    AGENT_FD_FRAMES = 4,  /* pipe, frames out */
    AGENT_FD_CONFIG = 5,  /* sealed memfd: struct agent_config, then filters */
    AGENT_FD_CGROUP = 6,  /* directory `run` (v2) in which init makes exec cgroups; optional */
    AGENT_FD_OOM = 7,     /* memory.events (v2) or memory.oom_control (v1), read-only; optional */
    AGENT_FD_PIDS = 8,    /* pids.events, read-only; optional */
    AGENT_FD_V1 = 9,      /* AGENT_V1_MAX tasks files of v1 controllers, write-only; optional */
    /* Sessions that last (docs/adr/0012) have these too. */
    AGENT_FD_LISTEN = 13, /* bound SOCK_SEQPACKET; init calls listen(2) on it itself */
    AGENT_FD_FILES = 14,  /* the file worker's program, for AGENT_EXEC_FILES */
    AGENT_FD_HOLD = 15,   /* up to AGENT_HOLD_MAX locked descriptors, which init never uses: they
                             end with it (P-6). Kept in sessions with AGENT_HAVE_LISTEN only */
    AGENT_HOLD_MAX = 4,
    AGENT_FD_END = AGENT_FD_HOLD + AGENT_HOLD_MAX,
};

/* What of the optional descriptors is there: bits of agent_config.have. */
enum {
    AGENT_HAVE_CGROUP = 1u << 0,
    AGENT_HAVE_OOM = 1u << 1,
    AGENT_HAVE_PIDS = 1u << 2,
    AGENT_HAVE_LISTEN = 1u << 3,
    AGENT_HAVE_FILES = 1u << 4,
};

/* Bits of agent_config.flags */
enum {
    /* The session ends with its controller: end of file on the control socket makes init exit,
     * which kills every process of the PID namespace (`berth run`). Without it init waits for the
     * next connection (sessions of `berth serve`). */
    AGENT_END_WITH_CONTROLLER = 1u << 0,
    /* The session has one id only (rootless without subordinate ids): init shares its uid with
     * commands, and filters must keep them off prlimit(2) and the scheduler calls on PID 1. */
    AGENT_SHARED_UID = 1u << 1,
    /* CLONE_INTO_CGROUP does not work from here (the launcher's self-test): a command joins its
     * cgroup by writing its own pid, before it does anything else. */
    AGENT_NO_CLONE_INTO = 1u << 2,
    /* The session is for one command and ends with it: init exits by itself when its outcome has
     * been written and nothing of it is left, and needs not be told to. */
    AGENT_END_WITH_COMMAND = 1u << 3,
    /* Denied calls of commands are answered by init, as the exec filter says, and told as
     * AGENT_FRAME_DENIED (docs/adr/0014). The base filter is the explained one. */
    AGENT_EXPLAIN = 1u << 4,
};

struct agent_config {
    uint32_t magic, version, size; /* size: of this struct */
    uint32_t flags, have;
    uint32_t v1_count;
    uint32_t uid, gid; /* init's own; SPEC_UID_INIT unless AGENT_SHARED_UID */
    uint32_t
        base_filter_length; /* instructions that init loads for itself and all that it starts */
    uint32_t exec_filter_length; /* instructions that every command gets in addition */
    uint32_t landlock_abi;       /* 0: none; ruleset is made by init, see runtime/plan/landlock.h */
    uint32_t landlock_path_count; /* struct agent_landlock_path after the filters */
    uint64_t epoch;
};

struct agent_landlock_path {
    uint64_t access;
    char path[248];
};

/* ---- messages, controller to init -------------------------------------------------------- */

enum agent_message_type {
    /* Takes over: newest epoch; answered by AGENT_FRAME_HELLO and a table. On a connection to
     * AGENT_FD_LISTEN it is the first message and carries the write end of the pipe for frames;
     * older connections are closed, with what is unread in them, before it is answered. One that
     * says something else, nothing for AGENT_HELLO_MS, or an epoch older than init's is closed. */
    AGENT_HELLO = 1,
    AGENT_EXEC,        /* starts a command; fds: payload memfd, then those that `fds` names */
    AGENT_SIGNAL,      /* arg[0] signal number, arg[1] enum agent_scope */
    AGENT_RESIZE,      /* arg[0] rows, arg[1] columns */
    AGENT_KILL,        /* ends the exec as `arg[0]` (enum agent_reason): TERM, grace, KILL */
    AGENT_CLOSE_STDIN, /* the end of its input comes after what is in the pipe */
    AGENT_INTERRUPT,   /* ends every exec with a number <= exec, and every file worker; sets the
                          floor;   answered by AGENT_FRAME_INTERRUPTED when they have ended */
    AGENT_PING,        /* answered by AGENT_FRAME_PONG with the same `exec` */
    AGENT_SHUTDOWN,    /* kill everything, then exit 0 */
    AGENT_FORGET, /* the outcome of `exec` is recorded durably: its row may go. Not obeyed before
                     the exec has ended; with children that were kept the row goes with them */
    AGENT_PAUSE,  /* arg[0] 1: the session is about to be frozen, time-outs of its execs stand
                     still (SES-7), and file workers are killed; 0: time-outs go on. KILL after a
                     grace stays as it is */
    /* Sessions that outlive their controllers: standard input of `exec` comes through this pipe
     * (its read end is the descriptor) after what is in the one that was there; answered by
     * AGENT_FRAME_STDIN. The end of a pipe is not the end of the input: AGENT_CLOSE_STDIN is. */
    AGENT_STDIN,
    AGENT_MESSAGE_TYPE_END
};

enum agent_scope { AGENT_SCOPE_MAIN = 0, AGENT_SCOPE_TREE = 1, AGENT_SCOPE_FOREGROUND = 2 };

struct agent_message {
    uint32_t magic;
    uint16_t version;
    uint16_t type;
    uint64_t epoch;
    uint64_t exec;
    uint64_t arg[4];
};

/* Which descriptors follow the payload's in an AGENT_EXEC, in this order: agent_exec.fds bits.
 * A stream that has no bit is /dev/null (stdin) or captured by init into frames (stdout, stderr).
 */
enum {
    AGENT_EXEC_FD_STDIN = 1u << 0,
    AGENT_EXEC_FD_STDOUT = 1u << 1,
    AGENT_EXEC_FD_STDERR = 1u << 2,
    AGENT_EXEC_FD_SPOOL = 1u << 3, /* regular file; captured streams go there and not into frames */
};

/* Bits of agent_exec.flags */
enum {
    AGENT_EXEC_TTY = 1u << 0, /* a PTY; FD_STDIN, when given, is a pipe that init reads into it */
    AGENT_EXEC_KEEP_CHILDREN = 1u << 1,
    AGENT_EXEC_NULL_STDOUT = 1u << 2, /* stdout is the session's /dev/null, not captured */
    AGENT_EXEC_NULL_STDERR = 1u << 3,
    AGENT_EXEC_FILES =
        1u << 4, /* argv is the file worker's (runtime/files.h): AGENT_FD_FILES runs */
    AGENT_EXEC_KILL_ON_LIMIT = 1u << 5, /* more output than spool.head + spool.tail ends the exec as
                                           `output_limit`; else the middle is dropped (EXEC-8) */
};

/* How much of an exec's output is kept: its first `head` and its last `tail` bytes. */
struct agent_spool_limits {
    uint64_t head, tail;
};

/* The payload of AGENT_EXEC, in a memfd. After the struct: argc strings, envc strings "K=V", and
 * the working directory, each NUL-terminated; string_bytes of them in all. */
struct agent_exec {
    uint32_t magic, version, size; /* size: of this struct */
    uint32_t flags, fds;
    uint32_t argc, envc, string_bytes;
    uint32_t uid, gid;
    uint16_t rows, cols;
    uint32_t reserved;
    uint64_t open_files;                            /* RLIMIT_NOFILE, soft and hard; 0: leave */
    uint64_t timeout_ms, idle_timeout_ms, grace_ms; /* 0: none (grace: KILL at once) */
    struct agent_spool_limits spool;                /* AGENT_EXEC_FD_SPOOL */
};

/* ---- frames, init to controller ---------------------------------------------------------- */

enum agent_frame_type {
    AGENT_FRAME_READY = 1, /* init has set itself up; payload: struct agent_ready */
    AGENT_FRAME_FAILED,    /* init could not set itself up and exits; payload: struct err */
    /* Answer to AGENT_HELLO; `seq` = number of table frames that follow. A row that could not be
     * started is preceded by its AGENT_FRAME_START_FAILED. */
    AGENT_FRAME_HELLO,
    /* One exec of init's table; payload: struct agent_table_row. Unasked, and never between HELLO
     * and the last row of its table: AGENT_ROW_BACKGROUND, the exec has told its EXIT and keeps
     * children; then AGENT_ROW_ENDED, they have ended. */
    AGENT_FRAME_TABLE,
    AGENT_FRAME_STARTED,      /* execve() of the command succeeded; payload: struct agent_started */
    AGENT_FRAME_START_FAILED, /* payload: struct agent_start_failed */
    AGENT_FRAME_DATA,         /* captured output of `stream`; payload: bytes */
    /* payload: struct agent_exit; the only terminal frame of an exec. Of a file worker that was
     * killed and does not go, because a disk does not answer, it comes early, with ended_ns 0; when
     * it has gone TABLE follows with AGENT_ROW_ENDED. */
    AGENT_FRAME_EXIT,
    AGENT_FRAME_PONG,
    AGENT_FRAME_SPOOL, /* the spool file has grown; `seq`: last whole frame in it. Coalesced */
    /* No exec at or below `exec` lives, kept children included. One frame may answer several
     * interrupts: all with a floor up to `exec`. */
    AGENT_FRAME_INTERRUPTED,
    /* Answer to AGENT_STDIN: `seq` - 1 bytes were before those of the new pipe, or it is one of the
     * two numbers below. */
    AGENT_FRAME_STDIN,
    /* Calls that the filter refused `exec`; payload: struct agent_denied. Before each row of a
     * table, and before EXIT, all that is known. */
    AGENT_FRAME_DENIED,
    AGENT_FRAME_TYPE_END
};

/* There is no input, or nobody reads it; what two controllers have left is not read yet. */
#define AGENT_STDIN_NONE (UINT64_MAX - 1)
#define AGENT_STDIN_BUSY (UINT64_MAX - 2)

enum agent_stream { AGENT_STDOUT = 1, AGENT_STDERR, AGENT_TTY, AGENT_BACKGROUND, AGENT_STREAM_END };

/* Why an exec ended: contract names. */
#define AGENT_REASONS(X)            \
    X(EXIT, "exit")                 \
    X(SIGNAL, "signal")             \
    X(TIMEOUT, "timeout")           \
    X(IDLE_TIMEOUT, "idle_timeout") \
    X(INTERRUPTED, "interrupted")   \
    X(CANCELLED, "cancelled")       \
    X(OOM, "oom")                   \
    X(OUTPUT_LIMIT, "output_limit") \
    X(START_FAILED, "start_failed") \
    X(NOT_STARTED, "not_started")   \
    X(LOST, "lost")

enum agent_reason {
    AGENT_REASON_NONE = 0,
#define X(sym, name) AGENT_REASON_##sym,
    AGENT_REASONS(X)
#undef X
        AGENT_REASON_END
};

struct agent_frame {
    uint32_t magic;
    uint16_t version;
    uint16_t type;
    uint32_t length; /* of the payload */
    uint16_t stream; /* enum agent_stream for DATA, else 0 */
    uint16_t reserved;
    uint64_t exec;
    uint64_t seq;     /* DATA and EXIT: from 1 per exec, no gap */
    uint64_t time_ns; /* CLOCK_REALTIME */
};

struct agent_ready {
    uint32_t pid, seccomp_mode, landlock_abi, have;
};

struct agent_started {
    uint32_t pid; /* in the session's PID namespace */
    uint32_t reserved;
    uint64_t cgroup; /* inode of the command's own; 0: it has none */
};

/* A command that could not be started. `not_found` and `not_executable` are the program's fault
 * (127, 126); everything else is berth's, with the step that failed. */
enum agent_start_fault { AGENT_START_BERTH = 1, AGENT_START_NOT_FOUND, AGENT_START_NOT_EXECUTABLE };

struct agent_start_failed {
    uint32_t fault; /* enum agent_start_fault */
    int32_t sys;
    char step[64];
    char subject[320];
};

/* Bits of agent_exit.scratch_full */
enum {
    AGENT_FULL_BYTES = 1u << 0,
    AGENT_FULL_INODES = 1u << 1,
};

struct agent_exit {
    uint32_t reason;    /* enum agent_reason */
    int32_t exit_code;  /* reason EXIT, or the main process's when it exited; else -1 */
    int32_t signal;     /* that ended the main process; 0 when it exited */
    uint32_t oom_kills; /* of the session during this exec */
    uint64_t cpu_us;    /* user + system of the whole tree that was waited for */
    uint64_t max_rss_bytes;
    uint64_t output_bytes;
    uint64_t started_ns, ended_ns; /* CLOCK_REALTIME */
    uint64_t pids_denied;          /* forks refused by the pids limit during this exec */
    uint32_t scratch_full;         /* what of the scratch was used up when the main process ended */
    uint32_t output_truncated;     /* 1: bytes are missing in the spool (EXEC-8) */
};

/* Bits of agent_denied.flags */
enum {
    AGENT_DENIED_ARGUMENT = 1u << 0, /* `argument` decided, by what `value` has of it */
    AGENT_DENIED_OTHER = 1u << 1,    /* all that found no row in init's table: only `count` */
};

enum { AGENT_COMMAND_MAX = 16 }; /* TASK_COMM_LEN, with its NUL */

/* A total since the exec began, and not what was added: the same frame twice changes nothing. */
struct agent_denied {
    uint64_t count;
    int32_t number; /* of the call, in the numbers of `arch` */
    uint32_t arch;  /* AUDIT_ARCH_* of the call */
    uint32_t sys;   /* the errno that it got */
    uint32_t flags;
    uint32_t argument, value;
    char command[AGENT_COMMAND_MAX]; /* /proc/PID/comm: any bytes; "" when it cannot be read */
};

enum agent_row_state {
    AGENT_ROW_RUNNING = 1,
    AGENT_ROW_ENDED,
    AGENT_ROW_BACKGROUND, /* ended, but children that it keeps live (EXEC-3) */
};

struct agent_table_row {
    uint64_t exec;
    uint32_t state; /* enum agent_row_state */
    uint32_t pid;
    uint64_t last_seq;
    uint64_t cgroup;        /* as agent_started's; 0 when it has ended */
    struct agent_exit exit; /* unless it runs. START_FAILED: exit_code 127, 126, or -1 when it is
                               berth's fault */
};

/* 0 when the header is well-formed: magic, version, type and stream in range, length in range and
 * exactly the size of the payload for types that have a fixed one. Else a sentence that says what
 * is wrong, for the log. Pure. */
const char *agent_frame_check(const struct agent_frame *frame);

/* The same for the payload of a frame whose header passed: enums in range, strings NUL-terminated
 * in their arrays. `payload` has frame->length bytes, of any alignment. NULL when well-formed. */
const char *agent_frame_payload_check(const struct agent_frame *frame, const void *payload);

/* NULL when `message` (of `length` bytes as received) is well-formed: size, magic, version, type.
 */
const char *agent_message_check(const struct agent_message *message, size_t length);

/* Decode and check an AGENT_EXEC payload of `length` bytes at `data`: counts, sizes, every string
 * NUL-terminated inside, argv[0] not empty, cwd absolute, env with '='. NULL when well-formed, else
 * what is wrong. `ret_strings` points into `data`. Pure. */
const char *agent_exec_check(const void *data, size_t length, const struct agent_exec **ret_exec,
                             const char **ret_strings);

const char *agent_reason_name(enum agent_reason reason); /* "exit", ...; "unknown" */
