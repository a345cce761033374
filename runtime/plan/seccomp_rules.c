/* This file says how arguments of system calls are judged, and what the base layer refuses; it
 * never builds a filter. Every constant is the kernel's ABI, written out, because headers of
 * Debian 12 lack some. Pure data.
 */
#include "runtime/plan/seccomp_table.h"

#include "runtime/base/fd.h"
#include "runtime/plan/seccomp.h"

#include <errno.h>

#define WHOLE 0xffffffffu
#define IS(arg, mask, val)      \
    {                           \
        TEST_IS, arg, mask, val \
    }
#define EQUALS(arg, val)         \
    {                            \
        TEST_IS, arg, WHOLE, val \
    }
#define HAS(arg, mask)         \
    {                          \
        TEST_HAS, arg, mask, 0 \
    }
#define WITHIN(arg, lo, hi)      \
    {                            \
        TEST_WITHIN, arg, lo, hi \
    }
/* clang-format off */
#define CLAUSE(verdict, ...) {.answer = (verdict), .when = {__VA_ARGS__}}
#define CLAUSE_IN(where, verdict, ...) {.profiles = (where), .answer = (verdict), .when = {__VA_ARGS__}}
#define RULE(call, list, last) {.number = (call), .clauses = (list), .clause_count = ARRAY_LENGTH(list), .otherwise = (last)}
/* clang-format on */

/* ---- modes (WS-1): no setuid or setgid bit, whatever makes the file -------------------------- */

#define SET_ID_BITS 06000u
#define CREATING    (0100u | 020000000u) /* O_CREAT, and the bit of O_TMPFILE that is its own */

static const struct seccomp_clause mode_at_1[] = {CLAUSE(EPERM, HAS(1, SET_ID_BITS))};
static const struct seccomp_clause mode_at_2[] = {CLAUSE(EPERM, HAS(2, SET_ID_BITS))};

/* Without O_CREAT the mode argument is whatever the register held: it must not be judged. */
static const struct seccomp_clause open_mode[] = {
    CLAUSE(EPERM, HAS(1, CREATING), HAS(2, SET_ID_BITS)),
};
static const struct seccomp_clause openat_mode[] = {
    CLAUSE(EPERM, HAS(2, CREATING), HAS(3, SET_ID_BITS)),
};

/* S_IFCHR and S_IFBLK. The kernel wants CAP_MKNOD for all but 0:0, the whiteout of overlayfs,
 * which anybody may make since 5.8: no device node at all is easier to promise (WS-1). */
static const struct seccomp_clause mknod_mode[] = {
    CLAUSE(EPERM, HAS(1, SET_ID_BITS)),
    CLAUSE(EPERM, IS(1, 0170000u, 0020000u)),
    CLAUSE(EPERM, IS(1, 0170000u, 0060000u)),
};
static const struct seccomp_clause mknodat_mode[] = {
    CLAUSE(EPERM, HAS(2, SET_ID_BITS)),
    CLAUSE(EPERM, IS(2, 0170000u, 0020000u)),
    CLAUSE(EPERM, IS(2, 0170000u, 0060000u)),
};

/* ---- terminals and descriptors --------------------------------------------------------------- */

static const struct seccomp_clause ioctl_command[] = {
    CLAUSE(EPERM, EQUALS(1, 0x5412u)), /* TIOCSTI: types into the terminal's input */
    CLAUSE(EPERM, EQUALS(1, 0x541cu)), /* TIOCLINUX: pastes the console's selection */
    CLAUSE(EPERM, EQUALS(1, 0x541du)), /* TIOCCONS: takes the console's output */
    CLAUSE(EPERM, EQUALS(1, 0x541fu)), /* TIOCSSERIAL */
    CLAUSE(EPERM, EQUALS(1, 0x5423u)), /* TIOCSETD: line disciplines, each its own kernel module */
    CLAUSE(EPERM, EQUALS(1, 0x5437u)), /* TIOCVHANGUP */
};

static const struct seccomp_clause fcntl_command[] = {
    CLAUSE(EPERM, EQUALS(1, 1024u)), /* F_SETLEASE */
    CLAUSE(EPERM, EQUALS(1, 1040u)), /* F_SETDELEG, the same on directories (6.19) */
};

static const struct seccomp_clause madvise_advice[] = {
    CLAUSE(EINVAL, EQUALS(2, 12u)), /* MADV_MERGEABLE: EINVAL as a kernel without KSM */
};

/* ---- processes ------------------------------------------------------------------------------- */

/* CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}. clone(2) drops the high half of its flags. NEWTIME
 * (0x80) is no flag of clone(2), where these bits are the exit signal. */
static const struct seccomp_clause clone_flags[] = {CLAUSE(EPERM, HAS(0, 0x7e020000u))};

static const struct seccomp_clause personality_value[] = {
    CLAUSE(0, EQUALS(0, 0)), CLAUSE(0, EQUALS(0, WHOLE)), /* asks, changes nothing */
    CLAUSE_IN(IN_DEBUG, 0, EQUALS(0, 0x0040000u)), /* ADDR_NO_RANDOMIZE of one's own children */
};

/* SECCOMP_SET_MODE_STRICT, SECCOMP_SET_MODE_FILTER without a listener, GET_ACTION_AVAIL. Flags
 * that stay: TSYNC, LOG, SPEC_ALLOW, TSYNC_ESRCH. NEW_LISTENER and WAIT_KILLABLE_RECV go: a
 * notification that nobody answers keeps the cgroup from freezing. */
static const struct seccomp_clause seccomp_operation[] = {
    CLAUSE(EPERM, EQUALS(0, 1u), HAS(1, ~(1u | 2u | 4u | 16u))),
    CLAUSE(0, WITHIN(0, 0, 2u)),
};

/* By number, because an allowed option must not depend on the headers that berth was built with.
 * Unknown options are EINVAL, the kernel's own answer. */
static const struct seccomp_clause prctl_option[] = {
    CLAUSE(0, WITHIN(0, 1u, 4u)),                /* PDEATHSIG and DUMPABLE, set and get */
    CLAUSE(0, WITHIN(0, 7u, 8u)),                /* KEEPCAPS: nothing to keep */
    CLAUSE(0, WITHIN(0, 15u, 16u)),              /* NAME */
    CLAUSE(0, WITHIN(0, 21u, 24u)),              /* SECCOMP, CAPBSET_READ and _DROP */
    CLAUSE_IN(IN_DEBUG, 0, WITHIN(0, 25u, 26u)), /* TSC: for record and replay */
    CLAUSE(0, EQUALS(0, 27u)),                   /* GET_SECUREBITS */
    CLAUSE(EPERM, EQUALS(0, 28u)),               /* SET_SECUREBITS */
    CLAUSE(0, WITHIN(0, 29u, 30u)),              /* TIMERSLACK */
    CLAUSE(EPERM, EQUALS(0, 33u)),               /* MCE_KILL */
    CLAUSE(EPERM, EQUALS(0, 35u)),               /* SET_MM: forges /proc/self/exe and cmdline */
    CLAUSE(0, WITHIN(0, 36u, 42u)), /* CHILD_SUBREAPER, NO_NEW_PRIVS, TID_ADDRESS, THP_DISABLE */
    CLAUSE(0, EQUALS(0, 47u)),      /* CAP_AMBIENT: no capability to raise */
    CLAUSE(0, WITHIN(0, 52u, 53u)), /* SPECULATION_CTRL, of the caller */
    CLAUSE(EPERM, WITHIN(0, 57u, 59u)), /* IO_FLUSHER, SYSCALL_USER_DISPATCH */
    CLAUSE(EPERM, EQUALS(0, 62u)),      /* SCHED_CORE: idles the sibling of a core for others */
    CLAUSE(0, WITHIN(0, 65u, 66u)),     /* MDWE */
    CLAUSE(EPERM, EQUALS(0, 67u)),      /* SET_MEMORY_MERGE: see madvise */
    CLAUSE(0, EQUALS(0, 68u)),          /* GET_MEMORY_MERGE */
    CLAUSE(0, WITHIN(0, 74u, 76u)),     /* SHADOW_STACK_STATUS and lock */
    CLAUSE(0, EQUALS(0, 0x53564d41u)),  /* SET_VMA: names of anonymous memory */
    CLAUSE(0, EQUALS(0, 0x59616d61u)),  /* SET_PTRACER: Yama's */
    CLAUSE(0, EQUALS(0, 0x41555856u)),  /* GET_AUXV */
};

/* RLIMIT_CORE is 1 in a session (runtime/agent/setup.c), the one value at which the kernel starts
 * no crash handler of the host's: with 0 it does, and lowering a limit needs no privilege. Who
 * lowers it wants no core file, which is so already, and programs that keep secrets end when the
 * call fails. Reading is prlimit64 with no new value. */
#define CORE(arg) EQUALS(arg, 4u)
static const struct seccomp_clause setrlimit_resource[] = {CLAUSE(SECCOMP_PRETEND, CORE(0))};
static const struct seccomp_clause prlimit_resource[] = {
    CLAUSE(SECCOMP_PRETEND, CORE(1), HAS(2, WHOLE)),
    CLAUSE(SECCOMP_PRETEND, CORE(1), HAS(2 | SECCOMP_HIGH, WHOLE)),
};

/* ---- sockets --------------------------------------------------------------------------------- */

#define TYPE(kind) IS(1, 0xfu, kind) /* without SOCK_NONBLOCK and SOCK_CLOEXEC */
#define DOMAIN(d)  EQUALS(0, d)
#define STREAM     1u
#define DGRAM      2u
#define RAW        3u
#define SEQPACKET  5u
#define PACKET     10u

/* The order matters: raw types are EPERM in every family that programs try them in (what an
 * unprivileged ping sees everywhere); then what is allowed; then the errno that makes programs fall
 * back (EPROTONOSUPPORT: Go's listeners from MPTCP to TCP, libaudit without audit). Netlink's raw
 * type is its normal one (glibc's getifaddrs) and no raw access. */
static const struct seccomp_clause socket_domain[] = {
    CLAUSE(0, DOMAIN(1u), TYPE(STREAM)),
    CLAUSE(0, DOMAIN(1u), TYPE(DGRAM)),
    CLAUSE(0, DOMAIN(1u), TYPE(SEQPACKET)),
    CLAUSE(0, DOMAIN(2u), TYPE(STREAM), EQUALS(2, 0)),
    CLAUSE(0, DOMAIN(2u), TYPE(STREAM), EQUALS(2, 6u)),
    CLAUSE(0, DOMAIN(2u), TYPE(DGRAM), EQUALS(2, 0)),
    CLAUSE(0, DOMAIN(2u), TYPE(DGRAM), EQUALS(2, 17u)),
    CLAUSE(0, DOMAIN(10u), TYPE(STREAM), EQUALS(2, 0)),
    CLAUSE(0, DOMAIN(10u), TYPE(STREAM), EQUALS(2, 6u)),
    CLAUSE(0, DOMAIN(10u), TYPE(DGRAM), EQUALS(2, 0)),
    CLAUSE(0, DOMAIN(10u), TYPE(DGRAM), EQUALS(2, 17u)),
    CLAUSE_IN(IN_DEFAULT | IN_DEBUG, 0, DOMAIN(16u), EQUALS(2, 0), TYPE(RAW)),
    CLAUSE_IN(IN_DEFAULT | IN_DEBUG, 0, DOMAIN(16u), EQUALS(2, 0), TYPE(DGRAM)),
    CLAUSE_IN(IN_DEFAULT | IN_DEBUG, EPROTONOSUPPORT, DOMAIN(16u)),
    CLAUSE_IN(IN_STRICT, EAFNOSUPPORT, DOMAIN(16u)),
    CLAUSE(EPERM, TYPE(RAW)),
    CLAUSE(EPERM, TYPE(PACKET)),
    CLAUSE(EPROTONOSUPPORT, DOMAIN(2u)),
    CLAUSE(EPROTONOSUPPORT, DOMAIN(10u)),
    CLAUSE(ESOCKTNOSUPPORT, DOMAIN(1u)),
};

static const struct seccomp_clause socketpair_domain[] = {
    CLAUSE(0, DOMAIN(1u), TYPE(STREAM)),    CLAUSE(0, DOMAIN(1u), TYPE(DGRAM)),
    CLAUSE(0, DOMAIN(1u), TYPE(SEQPACKET)), CLAUSE(EPERM, TYPE(RAW)),
    CLAUSE(ESOCKTNOSUPPORT, DOMAIN(1u)),
};

/* Urgent data of Unix sockets is little used and often wrong in kernels. Judged where it is sent:
 * none arrives that nobody sent, and receiving stays cheap. */
static const struct seccomp_clause out_of_band_at_2[] = {CLAUSE(EOPNOTSUPP, HAS(2, 1u))};
static const struct seccomp_clause out_of_band_at_3[] = {CLAUSE(EOPNOTSUPP, HAS(3, 1u))};

static const struct seccomp_rule rules[] = {
    RULE(2, open_mode, 0),                     /* open */
    RULE(16, ioctl_command, 0),                /* ioctl */
    RULE(28, madvise_advice, 0),               /* madvise */
    RULE(41, socket_domain, EAFNOSUPPORT),     /* socket */
    RULE(44, out_of_band_at_3, 0),             /* sendto */
    RULE(46, out_of_band_at_2, 0),             /* sendmsg */
    RULE(53, socketpair_domain, EAFNOSUPPORT), /* socketpair */
    RULE(56, clone_flags, 0),                  /* clone */
    RULE(72, fcntl_command, 0),                /* fcntl */
    RULE(83, mode_at_1, 0),                    /* mkdir */
    RULE(85, mode_at_1, 0),                    /* creat */
    RULE(90, mode_at_1, 0),                    /* chmod */
    RULE(91, mode_at_1, 0),                    /* fchmod */
    RULE(133, mknod_mode, 0),                  /* mknod */
    RULE(135, personality_value, EPERM),       /* personality */
    RULE(157, prctl_option, EINVAL),           /* prctl */
    RULE(160, setrlimit_resource, 0),          /* setrlimit */
    RULE(257, openat_mode, 0),                 /* openat */
    RULE(258, mode_at_2, 0),                   /* mkdirat */
    RULE(259, mknodat_mode, 0),                /* mknodat */
    RULE(268, mode_at_2, 0),                   /* fchmodat */
    RULE(302, prlimit_resource, 0),            /* prlimit64 */
    RULE(307, out_of_band_at_3, 0),            /* sendmmsg */
    RULE(317, seccomp_operation, EINVAL),      /* seccomp */
    RULE(452, mode_at_2, 0),                   /* fchmodat2 */
};

/* ---- the base layer -------------------------------------------------------------------------- */

/* Neither init nor any command of any profile needs these: a second wall, should an exec filter
 * be wrong. Calls that init itself uses (clone3, setresuid) are not here, nor what
 * needs an argument looked at; numbers of other classes inside a range are retired calls. */
static const struct seccomp_base_range base_ranges[] = {
    {103, 103, EPERM}, /* syslog */
    {153, 153, EPERM}, /* vhangup */
    {155, 155, EPERM}, /* pivot_root */
    {161, 161, EPERM}, /* chroot */
    {163, 180, EPERM}, /* acct, settimeofday, mount … reboot, hostname, ports, modules, quotactl */
    {227, 227, EPERM},  /* clock_settime */
    {246, 246, EPERM},  /* kexec_load */
    {248, 250, EPERM},  /* add_key, request_key, keyctl (init joins its keyring before) */
    {272, 272, EPERM},  /* unshare */
    {298, 298, EPERM},  /* perf_event_open */
    {304, 304, EPERM},  /* open_by_handle_at */
    {308, 308, EPERM},  /* setns */
    {313, 313, EPERM},  /* finit_module */
    {320, 321, EPERM},  /* kexec_file_load, bpf */
    {425, 427, ENOSYS}, /* io_uring */
    {428, 433, EPERM},  /* open_tree … fspick */
    {442, 443, EPERM},  /* mount_setattr, quotactl_fd */
    {457, 458, EPERM},  /* statmount, listmount */
    {467, 467, EPERM},  /* open_tree_attr */
    {470, 470, EPERM},  /* listns */
};

/* One uid for the whole session (rootless without subordinate ids): the kernel would let a command
 * bound PID 1's resources and end it. prlimit64 takes the caller only (0 is what every C library
 * passes). For the rest PID 1 is named by 1 alone, its one thread, and pthread_setaffinity_np()
 * names threads by number: so 1 is refused, not every number. */
static const struct seccomp_clause prlimit_self[] = {CLAUSE(EPERM, HAS(0, WHOLE))};
static const struct seccomp_clause not_pid_1[] = {CLAUSE(EPERM, EQUALS(0, 1u))};
static const struct seccomp_clause not_pid_1_at_1[] = {CLAUSE(EPERM, EQUALS(1, 1u))};
static const struct seccomp_clause setpriority_who[] = {
    CLAUSE(EPERM, EQUALS(0, 2u)), /* PRIO_USER */
    CLAUSE(EPERM, EQUALS(1, 1u)),
};
static const struct seccomp_clause ioprio_who[] = {
    CLAUSE(EPERM, EQUALS(0, 3u)), /* IOPRIO_WHO_USER */
    CLAUSE(EPERM, EQUALS(1, 1u)),
};

static const struct seccomp_rule shared_uid_rules[] = {
    RULE(62, not_pid_1, 0),        /* kill */
    RULE(129, not_pid_1, 0),       /* rt_sigqueueinfo */
    RULE(141, setpriority_who, 0), /* setpriority */
    RULE(142, not_pid_1, 0),       /* sched_setparam */
    RULE(144, not_pid_1, 0),       /* sched_setscheduler */
    RULE(200, not_pid_1, 0),       /* tkill */
    RULE(203, not_pid_1, 0),       /* sched_setaffinity */
    RULE(234, not_pid_1_at_1, 0),  /* tgkill: by thread */
    RULE(251, ioprio_who, 0),      /* ioprio_set */
    RULE(297, not_pid_1_at_1, 0),  /* rt_tgsigqueueinfo: by thread */
    RULE(302, prlimit_self, 0),    /* prlimit64 */
    RULE(314, not_pid_1, 0),       /* sched_setattr */
    RULE(434, not_pid_1, 0),       /* pidfd_open: and with it pidfd_send_signal */
};

const struct seccomp_rule *seccomp_rules(size_t *ret_count)
{
    *ret_count = ARRAY_LENGTH(rules);
    return rules;
}

const struct seccomp_rule *seccomp_rule_by_number(int number)
{
    for (size_t i = 0; i < ARRAY_LENGTH(rules); i++)
        if (rules[i].number == number)
            return &rules[i];
    return NULL;
}

const struct seccomp_base_range *seccomp_base_ranges(size_t *ret_count)
{
    *ret_count = ARRAY_LENGTH(base_ranges);
    return base_ranges;
}

const struct seccomp_rule *seccomp_shared_uid_rules(size_t *ret_count)
{
    *ret_count = ARRAY_LENGTH(shared_uid_rules);
    return shared_uid_rules;
}
