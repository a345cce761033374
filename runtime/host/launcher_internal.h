/* This file is what the files of the launcher of `berth serve` share. PRIVILEGED: the launcher's
 * and its workers'.
 *
 * A job is a request that was not answered or whose worker is not gone. What is in `live` is what
 * the launcher would be missed for: descriptors of inits, which LOOK brings back (P-3).
 */
#pragma once

#include "runtime/host/netns_pool.h"
#include "runtime/launcher.h"
#include "runtime/launcher_main.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    LAUNCHER_WORKERS = 32,      /* at once; half of them at most for what may take minutes */
    LAUNCHER_OUTSTANDING = 256, /* jobs and unsent replies: more are not read from the socket */
    LAUNCHER_BUCKETS = 1024,
    LAUNCHER_NEEDS = 64,                 /* further ones are asked for again by the gateway */
    LAUNCHER_FILES_STILL_MS = 90 * 1000, /* a file operation that does not move is ended */
    LAUNCHER_PREPARED = 2,               /* workers that wait with a root directory made */
    LAUNCHER_PREPARE_MS = 5000,          /* what making one may take */
    LAUNCHER_PREPARE_AGAIN_MS = 1000,    /* after one that a change of the host has ended */
    LAUNCHER_PREPARE_FAILED_MS = 60000,  /* after one that could not be made */
};

enum { LAUNCHER_GROUPS = 256 };

/* Who asks, by the client's socket. */
struct launcher_asker {
    uint32_t uid, gid; /* UINT32_MAX: there is no socket */
    uint32_t group_count;
    uint32_t groups[LAUNCHER_GROUPS];
};

/* What epoll tells of: the first member of each. */
enum watch_kind {
    WATCH_FRONT,
    WATCH_SUPERVISOR,
    WATCH_SIGNALS,
    WATCH_POOL,
    WATCH_GATEWAY,
    WATCH_STILL,
    WATCH_JOB,
    WATCH_LIVE,
};
struct watch {
    enum watch_kind kind;
};

enum job_state {
    JOB_WAITING,
    JOB_RUNNING,
    JOB_KILLED,   /* SIGKILL was sent; its end has not come */
    JOB_CLEANING, /* another worker ends what the first one began */
};

struct job {
    struct watch watch;
    struct job *next;
    struct launcher_request request;
    int fds[LAUNCHER_FDS_MAX]; /* until the worker has them */
    unsigned fd_count;
    enum job_state state;
    pid_t worker;
    int result; /* where the worker's one message comes; -1 */
    bool answered;
    uint64_t deadline_ms;
    uint64_t cpu_ns, moved_ms;    /* FILES: what it has used, and when that last grew */
    struct err why;               /* KILLED, CLEANING: what the answer says */
    struct launcher_reply *reply; /* what the worker said; NULL: nothing yet */
    struct launcher_reply *done;  /* END: of one that ended it; NULL: none has yet */
    int given;                    /* came with it: LOOK a pidfd, LAUNCH a network; -1 */
    /* As its worker was told: which gateway, and that it has ended. */
    uint64_t gateway_number;
    bool gateway_ended;
    bool again;                /* the gateway was not told: another worker does it once more */
    uint64_t unheard_until_ms; /* it waits for what becomes of the gateway; 0 */
};

struct live {
    struct watch watch;
    struct live *next;
    int64_t row, incarnation;
    int pidfd;   /* -1: it has ended, or nobody looked yet */
    int netns;   /* rootless: no other launcher finds it; -1 */
    bool held;   /* it has ended under END, whose answer says so */
    bool untold; /* it has ended and front was not told */
};

struct outgoing {
    struct outgoing *next;
    struct launcher_reply reply;
};

struct launcher {
    const struct serve_config *config;
    const struct launcher_calls *calls;
    struct runtime *runtime;
    int front, supervisor, epoll, signals; /* -1: ended */
    bool writing, reading;                 /* what epoll was asked for */
    unsigned workers_max, running, slow;
    struct job *jobs, **jobs_end; /* in the order of arrival */
    unsigned job_count;
    struct outgoing *out, **out_end;
    unsigned out_count;
    struct live *live[LAUNCHER_BUCKETS];
    unsigned live_count, untold;
    struct launcher_kept *kept; /* networks of sessions that are not in `live` yet; owned */
    unsigned kept_count;
    char instance[24]; /* "": front has not said it yet */
    uint64_t generation;
    bool counted; /* `live` has every session of this instance */
    pid_t spare;  /* a worker without a request; 0 */
    int spare_socket;
    bool spare_wanted;
    struct prepared_spare {
        pid_t pid;  /* 0: none */
        int socket; /* a byte comes when it is ready; then it is like the spare's */
        bool ready;
    } prepared[LAUNCHER_PREPARED];
    uint64_t prepare_not_before_ms;
    struct netns_pool pool;
    int gateway;             /* its control socket; -1: there was none yet */
    bool gateway_lost;       /* it has ended, or was not there yet: another one will come */
    bool gateway_ended;      /* the supervisor has waited for it: its descriptors are closed */
    uint64_t gateway_number; /* of its socket: how many there were */
    uint64_t gateway_ask_ms, gateway_until_ms;
    pid_t restorer; /* makes the gateway know every session; 0 */
    bool restore_wanted;
    bool still_suspected; /* a gateway that did not answer in time */
    uint64_t restore_due_ms;
    unsigned restore_pause_ms;
    struct launcher_need {
        int64_t row, incarnation;
        unsigned count;
    } needs[LAUNCHER_NEEDS]; /* sockets that the gateway wants, in the order that it asked in */
    unsigned need_count;
    pid_t connector;   /* gives them; 0 */
    int still;         /* eventfd: the gateway did not answer in time; -1 */
    pid_t still_asker; /* finds out whether it stands still; 0 */
    void (*tell)(const struct err *err);
};

static inline struct session_name launcher_name_of(const struct launcher_request *request)
{
    struct session_name name = {.row = request->row, .incarnation = request->incarnation};
    for (unsigned i = 0; i < sizeof name.instance; i++)
        name.instance[i] = request->instance[i];
    return name;
}

uint64_t launcher_now_ms(void);

/* launcher_main.c: takes `reply` (malloc'ed; NULL: memory was short, which ends the launcher). */
int launcher_answer(struct launcher *l, struct launcher_reply *reply);
struct launcher_reply *launcher_reply_new(const struct launcher_request *request,
                                          const struct err *err);
/* Closes what epoll watches. epoll goes by the open file, of which every worker forked since has a
 * descriptor: what is only closed here would go on telling, with a pointer to what was freed. */
void launcher_unwatch(const struct launcher *l, int *fd);

/* launcher_jobs.c */
int launcher_job_new(struct launcher *l, const struct launcher_request *request, int *fds,
                     unsigned fd_count); /* takes the descriptors */
int launcher_schedule(struct launcher *l);
int launcher_result(struct launcher *l, struct job *job);
int launcher_reap(struct launcher *l);
int launcher_overdue(struct launcher *l, int *ret_wait_ms);
void launcher_drop_waiting(struct launcher *l);
bool launcher_is_ending(const struct launcher *l, int64_t row, int64_t incarnation);

/* launcher_live.c */
struct live *launcher_live_find(struct launcher *l, int64_t row, int64_t incarnation);
/* Takes `pidfd`. */
int launcher_live_set(struct launcher *l, int64_t row, int64_t incarnation, int pidfd);
void launcher_live_remove(struct launcher *l, int64_t row, int64_t incarnation);
void launcher_live_ended(struct launcher *l, struct live *live);
/* The pidfd of an init that a worker has left behind: proven to be that process. -ESRCH: it is
 * gone. Another -errno: this process is short of something, and cannot tell. */
int launcher_live_open(const struct session_identity *identity);
/* Every session of the instance, once in the launcher's life: for sessions_max. */
int launcher_live_count(struct launcher *l, struct err *err);
/* A copy of its network's descriptor; -1: it is found by its init. */
int launcher_live_netns(struct launcher *l, int64_t row, int64_t incarnation);
/* An ordinary user's: what was kept for this launcher, and what is to be for the next one. */
int launcher_live_open_kept(struct launcher *l, const struct launcher_options *options);
void launcher_live_keep(const struct launcher *l, const struct live *live);
/* In a fork: descriptors of other sessions' networks. */
void launcher_live_close(struct launcher *l);
void launcher_live_fini(struct launcher *l);

/* launcher_room.c. May there be one more session than these, by the limit on open files? */
int launcher_room_check(unsigned count, struct err *err);
/* May descriptors be spent on what only saves time? */
bool launcher_room_for_pool(void);

/* launcher_permit.c. What a descriptor is, whatever front says: NULL, or what is wrong. */
const char *launcher_permit_fds(const struct launcher_request *request, const int *fds,
                                unsigned fd_count);
/* The instance that this state directory belongs to, fixed by the first one that came. */
int launcher_permit_instance(struct launcher *l, const char *instance, struct err *err);
/* The instance whose sessions there may be; 1: there is none yet. */
int launcher_permit_known(const struct launcher *l, char ret[24], struct err *err);
/* The client's socket among these; -1: there is none. */
int launcher_permit_socket(const int *fds, unsigned fd_count);
int launcher_permit_asker(const struct serve_config *config, const int *fds, unsigned fd_count,
                          struct launcher_asker *ret, struct err *err);
int launcher_permit_network(const struct spec_network *net, struct err *err);
/* May this be built, for this asker? spec_check() has passed. */
int launcher_permit_spec(const struct serve_config *config, const struct spec *spec,
                         const struct launcher_asker *asker, struct err *err);

/* launcher_spare.c. Is one to be made? Where it is later, *wait_ms becomes shorter. */
bool launcher_spare_wanted(const struct launcher *l, uint64_t now_ms, int *wait_ms);
/* To be called when nothing else waits: at most one of each kind. */
void launcher_spare_make(struct launcher *l, uint64_t now_ms);
/* Its pid, and where it will answer; 0: there is none, and nobody was told of the job. `netns` is
 * copied, where there is one, and the launcher's socket of the gateway. */
pid_t launcher_spare_take(struct launcher *l, const struct job *job, bool clean,
                          const struct network_ready *netns, int *ret_result);
/* In a fork that does no request: what only the launcher may hold, but for the gateway's and what
 * launcher_live_close() closes. */
void launcher_close_others(struct launcher *l);
void launcher_spare_died(struct launcher *l, pid_t pid, int status);
void launcher_spare_end(struct launcher *l);

/* launcher_network.c. Takes the gateway's socket; one that there was is closed. */
int launcher_network_open(struct launcher *l, int fd);
/* There is none, and there will be one soon. */
void launcher_network_await(struct launcher *l);
void launcher_network_hear(struct launcher *l);
/* The supervisor says that it is gone. */
void launcher_network_ended(struct launcher *l);
/* May its worker take that for granted? */
bool launcher_network_is_over(const struct launcher *l, const struct job *job);
/* Its answer is here: is it to be done once more, because it was not the gateway of now that was
 * told, or nobody? */
bool launcher_network_again(struct launcher *l, struct job *job);
/* Is a LAUNCH that of a session that has a network of berth's? */
bool launcher_network_is_wanted(const struct job *job);
/* Does it need the gateway, which is being started again? */
bool launcher_network_awaits(const struct launcher *l, const struct job *job);
/* To be called each turn: *wait_ms becomes shorter where something is due before. */
void launcher_network_tend(struct launcher *l, int *wait_ms);
void launcher_network_died(struct launcher *l, pid_t pid, int status);
void launcher_network_stop(struct launcher *l);

/* A fork of the launcher's that ends with it, and may ask the gateway. */
void launcher_network_child(struct launcher *l, pid_t launcher, unsigned seconds);

/* launcher_connect.c: what the gateway asks for unasked (NEED_SOCKETS). */
void launcher_connect_need(struct launcher *l, const struct gateway_reply *need);
void launcher_connect_tend(struct launcher *l);
void launcher_connect_died(struct launcher *l, pid_t pid);
void launcher_connect_stop(struct launcher *l);

/* launcher_still.c: a gateway that stands still is the supervisor's to end. */
int launcher_still_open(struct launcher *l);
void launcher_still_hear(struct launcher *l);
void launcher_still_tend(struct launcher *l);
void launcher_still_died(struct launcher *l, pid_t pid, int status);
void launcher_still_stop(struct launcher *l);

/* launcher_worker.c: the lock of a row, for as long as this launcher is the last one (ESTALE). 1:
 * somebody works on it. */
int launcher_lock(const struct launcher *l, int64_t row, int *ret_lock, struct err *err);

/* launcher_worker.c: in the worker. Answers on `result`; its return is the exit status. */
/* `netns` is taken, where there is one: for the session that is launched, or, plain, that of the
 * one that it is about. */
int launcher_work(const struct launcher *l, const struct job *job, bool clean,
                  struct network_ready *netns, int result);
unsigned launcher_time_of(const struct launcher_request *request); /* ms until it is killed */
bool launcher_is_slow(unsigned type);

const struct launcher_calls *launcher_real_calls(void);
