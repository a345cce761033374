/* This file is what the files of the launcher share behind runtime/runtime.h; it declares no
 * behaviour of its own. PRIVILEGED: the launcher's.
 */
#pragma once

#include "runtime/agent/frame_reader.h"
#include "runtime/host/cgroup.h"
#include "runtime/host/network.h"
#include "runtime/host/publish.h"
#include "runtime/host/record.h"
#include "runtime/host/userns.h"
#include "runtime/host/workspace.h"
#include "runtime/plan/rootfs.h"
#include "runtime/runtime.h"

enum { DIR_SIZE = RUNTIME_DIR_SIZE };

struct prepared;

struct runtime {
    struct runtime_facts facts;
    struct cgroup_host cgroup;
    struct rootfs_host rootfs;
    char state_dir[DIR_SIZE], runtime_dir[DIR_SIZE], share_dir[DIR_SIZE];
    int records; /* directory of run records */
    int init;    /* O_PATH of PID 1's program */
    int files;   /* O_PATH of the file worker's program; -1: not opened, none, or `files_err` */
    struct err files_err;
    struct err kept_err; /* when `kept`: see runtime_kept() */
    bool kept;
    /* For the next session that starts, and for no other: `filled` where it has a network of
     * berth's; -1: it makes its own. */
    int netns;
    struct network_ready filled;
    struct prepared *prepared; /* for the next one that lasts, and for no other; NULL */
    /* Of the session that is worked on, where it cannot be found by its init; -1. Borrowed. */
    int session_netns;
    /* What the last session that was left has of launch_let_go(): closed with this, or with the
     * next one, because that waits for grace periods of RCU and somebody for the answer. -1 */
    int left[2];
    bool no_reaper;
    int gateway;        /* control socket, borrowed; 0: none; -1: none now, to the launcher */
    bool gateway_ended; /* the last one has, with its descriptors: nothing is left to tell it */
    /* Ports of the host that are no session's to have, where any will do (`host_door`). Borrowed.
     */
    const uint16_t *door_ports;
    unsigned door_count;
    char reaper[DIR_SIZE]; /* program of the reaper's second half; "": this one */
    bool overlay_userxattr;
};

enum { SESSION_NOTES_MAX = 64 };

struct reaper;

struct session {
    struct runtime *runtime; /* outlives the session */
    struct record record;
    int uid_lock;    /* -1 rootless */
    int reaper_pipe; /* write end: a byte says done, end of file says clean up; -1 */
    pid_t reaper;    /* 0: none */
    pid_t init;      /* 0: not started, or reaped */
    int pidfd;
    int control; /* SOCK_SEQPACKET to init */
    int frames;  /* pipe from init */
    int place;   /* its directory with the socket; -1 */
    unsigned note_count;
    bool cgroup_made, workspace_open;
    struct reaper *reaper_memory; /* its stack, while it lives */
    struct cgroup_session cgroup;
    struct workspace workspace;
    struct frame_reader reader;
    struct network_namespace network; /* until it is handed over; all -1: none */
    struct network_ready filled;      /* its network, which has no rules yet; all -1: none */
    struct publish publish;           /* its listeners until they are handed over */
    int publish_netns;                /* its network, where it publishes; -1 */
    int unrouted[2];                  /* snmp and snmp6 of one without a network; -1 */
    uint64_t unrouted_count;          /* what they said, once unrouted_counted */
    bool unrouted_counted;
    int netns;                 /* rootless, of one that lasts: nobody can find it by its init; -1 */
    int stage_mounts;          /* the namespace that the stage has left, until s is; -1 */
    int cgroup_mount;          /* what ".." of init's cgroup ends at, until s is left; -1 */
    struct prepared *prepared; /* while launch() runs: what it is made of; NULL */
    uint64_t epoch;
    const struct session_lasting *lasting; /* while it is made; NULL: ends with its maker */
    struct session_identity identity;
    struct session_effective effective;
    struct session_note notes[SESSION_NOTES_MAX];
};

/* `files`, where it is not open. 0 also when there is none. */
int runtime_open_files(struct runtime *rt, struct err *err);

/* Start the process that cleans up after the session when this one is killed. The record must
 * exist; nothing else of the session may exist yet. */
int reaper_start(struct session *s, struct err *err);

/* Tell it that everything but the record is gone; then wait for its end. */
void reaper_dismiss(struct session *s);
void reaper_wait(struct session *s);

/* Remove what a run whose processes are gone has left, by its record (lock held). */
int run_clean(const struct cgroup_host *cgroup, const char *share_dir, const char *state_dir,
              const struct record *record, struct err *err);

/* Start init: namespaces, root directory, limits are as the spec says when it returns 0. `first`
 * may be NULL. */
int launch(struct session *s, const struct spec *spec, const struct session_first *first,
           struct err *err);
/* Lets go of the stage's namespace and of the cgroup's mount, which waits for grace periods of RCU.
 */
void launch_let_go(struct session *s);

/* session_create_with() and session_create_lasting(): `first` or `lasting`, or neither. */
int session_make(struct session **ret, struct runtime *rt, const struct spec *spec,
                 const struct session_first *first, const struct session_lasting *lasting,
                 struct err *err);

/* The command of one that was given no network may look for it: see session_unrouted(). `ready`:
 * init has said so; else nothing happens while its network is still the caller's. The count is
 * final when nobody but init is left. */
void session_unrouted_open(struct session *s, const struct spec_network *net, bool ready);
void session_unrouted_count(struct session *s);
/* The namespace of a session that may reach something. `ready`: one that was made before; -1. 1: it
 * is to have none of it. Nobody serves it until session_network_serve(), and one that was filled
 * before refuses everything until then. */
int session_network_begin(struct session *s, const struct spec_network *net, int ready,
                          int *ret_netns, struct err *err);
/* Its rules, and the gateway serves it: before init is told of a command, and while it starts. */
int session_network_serve(struct session *s, const struct spec_network *net, struct err *err);

void session_note_add(void *session, const char *key, const char *text);

/* Host id, as this process's user namespace has it, of an id inside a session. */
uint32_t session_host_id(const struct session *s, uint32_t inside);
