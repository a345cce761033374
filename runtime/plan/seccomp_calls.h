/* This file is berth's table of system calls, x86-64 numbers up to Linux 6.18 (and the one reserved
 * after it); it never says how an argument is judged (that is seccomp_rules.c). One row a call:
 *
 *     X(number, name, class, why)
 *
 * `class` is one of enum seccomp_class (seccomp_table.h) and decides for the three profiles; `why`
 * is one sentence for whoever is refused, NULL when the call is simply allowed. A number that has
 * no row is answered ENOSYS, as an older kernel would.
 *
 * Sources: arch/x86/entry/syscalls/syscall_64.tbl; the manual pages. This is a table: its length is
 * the kernel's.
 */
#pragma once

#define WHY_GONE   "no longer a system call of Linux on x86-64"
#define WHY_MOUNT  "changes the mounts that the sandbox is made of"
#define WHY_MODULE "loads or removes code of the host's kernel"
#define WHY_KEY    "kernel keyrings are shared with the host and their quota is nobody's"
#define WHY_RING   "operations of a ring pass by every filter of system calls"
#define WHY_AIO \
    "contexts come from one budget of the whole host (fs.aio-max-nr); programs fall back"
#define WHY_CLOCK "sets the clock of the host"
#define WHY_NUMA  "moves memory between the host's nodes; placement is the host's business"
#define WHY_TRACE "reads or changes another process; the profile `debug` has it"
#define WHY_SYSV  "`strict` leaves System V and POSIX queues out: much old kernel code, few users"
#define WHY_MODE  "refused with EPERM when the mode has setuid or setgid bits (WS-1)"
#define WHY_SPLICE \
    "`strict` leaves out calls that pass pages of the page cache between pipes and files"
#define WHY_FLUSH "`strict` leaves it out: it flushes whole file systems of the host"
#define WHY_OOB   "refused with EOPNOTSUPP when the flags have MSG_OOB"
#define WHY_CORE                                                                             \
    "a change of RLIMIT_CORE is said to have worked and is not made: at 0 the host's crash " \
    "handler would run"
#define WHY_HANDLE   "opens files by handle, past every directory and mount that hides them"
#define WHY_FANOTIFY "watches whole mounts, which are shared with the host"

#define SECCOMP_CALLS(X)                                                                           \
    X(0, read, ALLOW, NULL)                                                                        \
    X(1, write, ALLOW, NULL)                                                                       \
    X(2, open, CHECK, WHY_MODE)                                                                    \
    X(3, close, ALLOW, NULL)                                                                       \
    X(4, stat, ALLOW, NULL)                                                                        \
    X(5, fstat, ALLOW, NULL)                                                                       \
    X(6, lstat, ALLOW, NULL)                                                                       \
    X(7, poll, ALLOW, NULL)                                                                        \
    X(8, lseek, ALLOW, NULL)                                                                       \
    X(9, mmap, ALLOW, NULL)                                                                        \
    X(10, mprotect, ALLOW, NULL)                                                                   \
    X(11, munmap, ALLOW, NULL)                                                                     \
    X(12, brk, ALLOW, NULL)                                                                        \
    X(13, rt_sigaction, ALLOW, NULL)                                                               \
    X(14, rt_sigprocmask, ALLOW, NULL)                                                             \
    X(15, rt_sigreturn, ALLOW, NULL)                                                               \
    X(16, ioctl, CHECK,                                                                            \
      "refused with EPERM for terminal commands that type, hang up, log or change the discipline " \
      "(TIOCSTI, TIOCLINUX, TIOCSETD, TIOCCONS, TIOCVHANGUP, TIOCSSERIAL)")                        \
    X(17, pread64, ALLOW, NULL)                                                                    \
    X(18, pwrite64, ALLOW, NULL)                                                                   \
    X(19, readv, ALLOW, NULL)                                                                      \
    X(20, writev, ALLOW, NULL)                                                                     \
    X(21, access, ALLOW, NULL)                                                                     \
    X(22, pipe, ALLOW, NULL)                                                                       \
    X(23, select, ALLOW, NULL)                                                                     \
    X(24, sched_yield, ALLOW, NULL)                                                                \
    X(25, mremap, ALLOW, NULL)                                                                     \
    X(26, msync, ALLOW, NULL)                                                                      \
    X(27, mincore, NOT_STRICT,                                                                     \
      "`strict` leaves it out: it tells which pages of a file are cached")                         \
    X(28, madvise, CHECK,                                                                          \
      "MADV_MERGEABLE is EINVAL: merged pages let one session time another's memory")              \
    X(29, shmget, NOT_STRICT, WHY_SYSV)                                                            \
    X(30, shmat, NOT_STRICT, WHY_SYSV)                                                             \
    X(31, shmctl, NOT_STRICT, WHY_SYSV)                                                            \
    X(32, dup, ALLOW, NULL)                                                                        \
    X(33, dup2, ALLOW, NULL)                                                                       \
    X(34, pause, ALLOW, NULL)                                                                      \
    X(35, nanosleep, ALLOW, NULL)                                                                  \
    X(36, getitimer, ALLOW, NULL)                                                                  \
    X(37, alarm, ALLOW, NULL)                                                                      \
    X(38, setitimer, ALLOW, NULL)                                                                  \
    X(39, getpid, ALLOW, NULL)                                                                     \
    X(40, sendfile, ALLOW, NULL)                                                                   \
    X(41, socket, CHECK,                                                                           \
      "Unix, TCP and UDP sockets, and route netlink (not in `strict`); raw sockets are EPERM, "    \
      "other families EAFNOSUPPORT, other protocols EPROTONOSUPPORT")                              \
    X(42, connect, ALLOW, NULL)                                                                    \
    X(43, accept, ALLOW, NULL)                                                                     \
    X(44, sendto, CHECK, WHY_OOB)                                                                  \
    X(45, recvfrom, ALLOW, NULL)                                                                   \
    X(46, sendmsg, CHECK, WHY_OOB)                                                                 \
    X(47, recvmsg, ALLOW, NULL)                                                                    \
    X(48, shutdown, ALLOW, NULL)                                                                   \
    X(49, bind, ALLOW, NULL)                                                                       \
    X(50, listen, ALLOW, NULL)                                                                     \
    X(51, getsockname, ALLOW, NULL)                                                                \
    X(52, getpeername, ALLOW, NULL)                                                                \
    X(53, socketpair, CHECK, "Unix sockets only; other families are EAFNOSUPPORT")                 \
    X(54, setsockopt, ALLOW, NULL)                                                                 \
    X(55, getsockopt, ALLOW, NULL)                                                                 \
    X(56, clone, CHECK, "refused with EPERM when the flags ask for a new namespace")               \
    X(57, fork, ALLOW, NULL)                                                                       \
    X(58, vfork, ALLOW, NULL)                                                                      \
    X(59, execve, ALLOW, NULL)                                                                     \
    X(60, exit, ALLOW, NULL)                                                                       \
    X(61, wait4, ALLOW, NULL)                                                                      \
    X(62, kill, ALLOW, NULL)                                                                       \
    X(63, uname, ALLOW, NULL)                                                                      \
    X(64, semget, NOT_STRICT, WHY_SYSV)                                                            \
    X(65, semop, NOT_STRICT, WHY_SYSV)                                                             \
    X(66, semctl, NOT_STRICT, WHY_SYSV)                                                            \
    X(67, shmdt, NOT_STRICT, WHY_SYSV)                                                             \
    X(68, msgget, NOT_STRICT, WHY_SYSV)                                                            \
    X(69, msgsnd, NOT_STRICT, WHY_SYSV)                                                            \
    X(70, msgrcv, NOT_STRICT, WHY_SYSV)                                                            \
    X(71, msgctl, NOT_STRICT, WHY_SYSV)                                                            \
    X(72, fcntl, CHECK,                                                                            \
      "F_SETLEASE and F_SETDELEG are EPERM: a lease makes the host's open() wait")                 \
    X(73, flock, ALLOW, NULL)                                                                      \
    X(74, fsync, ALLOW, NULL)                                                                      \
    X(75, fdatasync, ALLOW, NULL)                                                                  \
    X(76, truncate, ALLOW, NULL)                                                                   \
    X(77, ftruncate, ALLOW, NULL)                                                                  \
    X(78, getdents, ALLOW, NULL)                                                                   \
    X(79, getcwd, ALLOW, NULL)                                                                     \
    X(80, chdir, ALLOW, NULL)                                                                      \
    X(81, fchdir, ALLOW, NULL)                                                                     \
    X(82, rename, ALLOW, NULL)                                                                     \
    X(83, mkdir, CHECK, WHY_MODE)                                                                  \
    X(84, rmdir, ALLOW, NULL)                                                                      \
    X(85, creat, CHECK, WHY_MODE)                                                                  \
    X(86, link, ALLOW, NULL)                                                                       \
    X(87, unlink, ALLOW, NULL)                                                                     \
    X(88, symlink, ALLOW, NULL)                                                                    \
    X(89, readlink, ALLOW, NULL)                                                                   \
    X(90, chmod, CHECK, WHY_MODE)                                                                  \
    X(91, fchmod, CHECK, WHY_MODE)                                                                 \
    X(92, chown, ALLOW, NULL)                                                                      \
    X(93, fchown, ALLOW, NULL)                                                                     \
    X(94, lchown, ALLOW, NULL)                                                                     \
    X(95, umask, ALLOW, NULL)                                                                      \
    X(96, gettimeofday, ALLOW, NULL)                                                               \
    X(97, getrlimit, ALLOW, NULL)                                                                  \
    X(98, getrusage, ALLOW, NULL)                                                                  \
    X(99, sysinfo, ALLOW, NULL)                                                                    \
    X(100, times, ALLOW, NULL)                                                                     \
    X(101, ptrace, DEBUG, WHY_TRACE)                                                               \
    X(102, getuid, ALLOW, NULL)                                                                    \
    X(103, syslog, NEVER, "reads the log of the host's kernel")                                    \
    X(104, getgid, ALLOW, NULL)                                                                    \
    X(105, setuid, ALLOW, NULL)                                                                    \
    X(106, setgid, ALLOW, NULL)                                                                    \
    X(107, geteuid, ALLOW, NULL)                                                                   \
    X(108, getegid, ALLOW, NULL)                                                                   \
    X(109, setpgid, ALLOW, NULL)                                                                   \
    X(110, getppid, ALLOW, NULL)                                                                   \
    X(111, getpgrp, ALLOW, NULL)                                                                   \
    X(112, setsid, ALLOW, NULL)                                                                    \
    X(113, setreuid, ALLOW, NULL)                                                                  \
    X(114, setregid, ALLOW, NULL)                                                                  \
    X(115, getgroups, ALLOW, NULL)                                                                 \
    X(116, setgroups, ALLOW, NULL)                                                                 \
    X(117, setresuid, ALLOW, NULL)                                                                 \
    X(118, getresuid, ALLOW, NULL)                                                                 \
    X(119, setresgid, ALLOW, NULL)                                                                 \
    X(120, getresgid, ALLOW, NULL)                                                                 \
    X(121, getpgid, ALLOW, NULL)                                                                   \
    X(122, setfsuid, ALLOW, NULL)                                                                  \
    X(123, setfsgid, ALLOW, NULL)                                                                  \
    X(124, getsid, ALLOW, NULL)                                                                    \
    X(125, capget, ALLOW, NULL)                                                                    \
    X(126, capset, ALLOW, NULL)                                                                    \
    X(127, rt_sigpending, ALLOW, NULL)                                                             \
    X(128, rt_sigtimedwait, ALLOW, NULL)                                                           \
    X(129, rt_sigqueueinfo, ALLOW, NULL)                                                           \
    X(130, rt_sigsuspend, ALLOW, NULL)                                                             \
    X(131, sigaltstack, ALLOW, NULL)                                                               \
    X(132, utime, ALLOW, NULL)                                                                     \
    X(133, mknod, CHECK,                                                                           \
      "files, FIFOs and sockets only; devices and setuid or setgid modes are EPERM (WS-1)")        \
    X(134, uselib, GONE, WHY_GONE)                                                                 \
    X(135, personality, CHECK,                                                                     \
      "only the standard personality and the question for it; `debug` may also turn off address "  \
      "randomisation, as debuggers do")                                                            \
    X(136, ustat, REFUSE, "obsolete, and names the host's devices")                                \
    X(137, statfs, ALLOW, NULL)                                                                    \
    X(138, fstatfs, ALLOW, NULL)                                                                   \
    X(139, sysfs, REFUSE, "obsolete list of the kernel's file systems")                            \
    X(140, getpriority, ALLOW, NULL)                                                               \
    X(141, setpriority, ALLOW, NULL)                                                               \
    X(142, sched_setparam, ALLOW, NULL)                                                            \
    X(143, sched_getparam, ALLOW, NULL)                                                            \
    X(144, sched_setscheduler, ALLOW, NULL)                                                        \
    X(145, sched_getscheduler, ALLOW, NULL)                                                        \
    X(146, sched_get_priority_max, ALLOW, NULL)                                                    \
    X(147, sched_get_priority_min, ALLOW, NULL)                                                    \
    X(148, sched_rr_get_interval, ALLOW, NULL)                                                     \
    X(149, mlock, ALLOW, NULL)                                                                     \
    X(150, munlock, ALLOW, NULL)                                                                   \
    X(151, mlockall, ALLOW, NULL)                                                                  \
    X(152, munlockall, ALLOW, NULL)                                                                \
    X(153, vhangup, NEVER, "hangs up a terminal under other processes")                            \
    X(154, modify_ldt, REFUSE,                                                                     \
      "segments for 16-bit code: only emulators of old systems need them")                         \
    X(155, pivot_root, NEVER, WHY_MOUNT)                                                           \
    X(156, _sysctl, GONE, WHY_GONE)                                                                \
    X(157, prctl, CHECK,                                                                           \
      "options that name, bound or restrict the caller; PR_SET_MM, PR_SCHED_CORE, memory merging " \
      "and securebits are EPERM, unknown options EINVAL")                                          \
    X(158, arch_prctl, ALLOW, NULL)                                                                \
    X(159, adjtimex, REFUSE, WHY_CLOCK)                                                            \
    X(160, setrlimit, CHECK, WHY_CORE)                                                             \
    X(161, chroot, NEVER, WHY_MOUNT)                                                               \
    X(162, sync, NOT_STRICT, WHY_FLUSH)                                                            \
    X(163, acct, NEVER, "writes accounting records of the whole host")                             \
    X(164, settimeofday, NEVER, WHY_CLOCK)                                                         \
    X(165, mount, NEVER, WHY_MOUNT)                                                                \
    X(166, umount2, NEVER, WHY_MOUNT)                                                              \
    X(167, swapon, NEVER, "changes the swap of the host")                                          \
    X(168, swapoff, NEVER, "changes the swap of the host")                                         \
    X(169, reboot, NEVER, "stops a machine or ends a PID namespace")                               \
    X(170, sethostname, NEVER, "the session's name is berth's to set")                             \
    X(171, setdomainname, NEVER, "the session's name is berth's to set")                           \
    X(172, iopl, NEVER, "speaks to hardware ports")                                                \
    X(173, ioperm, NEVER, "speaks to hardware ports")                                              \
    X(174, create_module, GONE, WHY_GONE)                                                          \
    X(175, init_module, NEVER, WHY_MODULE)                                                         \
    X(176, delete_module, NEVER, WHY_MODULE)                                                       \
    X(177, get_kernel_syms, GONE, WHY_GONE)                                                        \
    X(178, query_module, GONE, WHY_GONE)                                                           \
    X(179, quotactl, NEVER, "reads and sets quotas of the host's file systems")                    \
    X(180, nfsservctl, GONE, WHY_GONE)                                                             \
    X(181, getpmsg, GONE, WHY_GONE)                                                                \
    X(182, putpmsg, GONE, WHY_GONE)                                                                \
    X(183, afs_syscall, GONE, WHY_GONE)                                                            \
    X(184, tuxcall, GONE, WHY_GONE)                                                                \
    X(185, security, GONE, WHY_GONE)                                                               \
    X(186, gettid, ALLOW, NULL)                                                                    \
    X(187, readahead, ALLOW, NULL)                                                                 \
    X(188, setxattr, ALLOW, NULL)                                                                  \
    X(189, lsetxattr, ALLOW, NULL)                                                                 \
    X(190, fsetxattr, ALLOW, NULL)                                                                 \
    X(191, getxattr, ALLOW, NULL)                                                                  \
    X(192, lgetxattr, ALLOW, NULL)                                                                 \
    X(193, fgetxattr, ALLOW, NULL)                                                                 \
    X(194, listxattr, ALLOW, NULL)                                                                 \
    X(195, llistxattr, ALLOW, NULL)                                                                \
    X(196, flistxattr, ALLOW, NULL)                                                                \
    X(197, removexattr, ALLOW, NULL)                                                               \
    X(198, lremovexattr, ALLOW, NULL)                                                              \
    X(199, fremovexattr, ALLOW, NULL)                                                              \
    X(200, tkill, ALLOW, NULL)                                                                     \
    X(201, time, ALLOW, NULL)                                                                      \
    X(202, futex, ALLOW, NULL)                                                                     \
    X(203, sched_setaffinity, ALLOW, NULL)                                                         \
    X(204, sched_getaffinity, ALLOW, NULL)                                                         \
    X(205, set_thread_area, GONE, WHY_GONE)                                                        \
    X(206, io_setup, MISSING, WHY_AIO)                                                             \
    X(207, io_destroy, MISSING, WHY_AIO)                                                           \
    X(208, io_getevents, MISSING, WHY_AIO)                                                         \
    X(209, io_submit, MISSING, WHY_AIO)                                                            \
    X(210, io_cancel, MISSING, WHY_AIO)                                                            \
    X(211, get_thread_area, GONE, WHY_GONE)                                                        \
    X(212, lookup_dcookie, GONE, WHY_GONE)                                                         \
    X(213, epoll_create, ALLOW, NULL)                                                              \
    X(214, epoll_ctl_old, GONE, WHY_GONE)                                                          \
    X(215, epoll_wait_old, GONE, WHY_GONE)                                                         \
    X(216, remap_file_pages, REFUSE, "obsolete; the kernel only imitates it")                      \
    X(217, getdents64, ALLOW, NULL)                                                                \
    X(218, set_tid_address, ALLOW, NULL)                                                           \
    X(219, restart_syscall, ALLOW, NULL)                                                           \
    X(220, semtimedop, NOT_STRICT, WHY_SYSV)                                                       \
    X(221, fadvise64, ALLOW, NULL)                                                                 \
    X(222, timer_create, ALLOW, NULL)                                                              \
    X(223, timer_settime, ALLOW, NULL)                                                             \
    X(224, timer_gettime, ALLOW, NULL)                                                             \
    X(225, timer_getoverrun, ALLOW, NULL)                                                          \
    X(226, timer_delete, ALLOW, NULL)                                                              \
    X(227, clock_settime, NEVER, WHY_CLOCK)                                                        \
    X(228, clock_gettime, ALLOW, NULL)                                                             \
    X(229, clock_getres, ALLOW, NULL)                                                              \
    X(230, clock_nanosleep, ALLOW, NULL)                                                           \
    X(231, exit_group, ALLOW, NULL)                                                                \
    X(232, epoll_wait, ALLOW, NULL)                                                                \
    X(233, epoll_ctl, ALLOW, NULL)                                                                 \
    X(234, tgkill, ALLOW, NULL)                                                                    \
    X(235, utimes, ALLOW, NULL)                                                                    \
    X(236, vserver, GONE, WHY_GONE)                                                                \
    X(237, mbind, REFUSE, WHY_NUMA)                                                                \
    X(238, set_mempolicy, REFUSE, WHY_NUMA)                                                        \
    X(239, get_mempolicy, ALLOW, NULL)                                                             \
    X(240, mq_open, NOT_STRICT, WHY_SYSV)                                                          \
    X(241, mq_unlink, NOT_STRICT, WHY_SYSV)                                                        \
    X(242, mq_timedsend, NOT_STRICT, WHY_SYSV)                                                     \
    X(243, mq_timedreceive, NOT_STRICT, WHY_SYSV)                                                  \
    X(244, mq_notify, NOT_STRICT, WHY_SYSV)                                                        \
    X(245, mq_getsetattr, NOT_STRICT, WHY_SYSV)                                                    \
    X(246, kexec_load, NEVER, "replaces the host's kernel")                                        \
    X(247, waitid, ALLOW, NULL)                                                                    \
    X(248, add_key, NEVER, WHY_KEY)                                                                \
    X(249, request_key, NEVER, WHY_KEY)                                                            \
    X(250, keyctl, NEVER, WHY_KEY)                                                                 \
    X(251, ioprio_set, ALLOW, NULL)                                                                \
    X(252, ioprio_get, ALLOW, NULL)                                                                \
    X(253, inotify_init, ALLOW, NULL)                                                              \
    X(254, inotify_add_watch, ALLOW, NULL)                                                         \
    X(255, inotify_rm_watch, ALLOW, NULL)                                                          \
    X(256, migrate_pages, REFUSE, WHY_NUMA)                                                        \
    X(257, openat, CHECK, WHY_MODE)                                                                \
    X(258, mkdirat, CHECK, WHY_MODE)                                                               \
    X(259, mknodat, CHECK,                                                                         \
      "files, FIFOs and sockets only; devices and setuid or setgid modes are EPERM (WS-1)")        \
    X(260, fchownat, ALLOW, NULL)                                                                  \
    X(261, futimesat, ALLOW, NULL)                                                                 \
    X(262, newfstatat, ALLOW, NULL)                                                                \
    X(263, unlinkat, ALLOW, NULL)                                                                  \
    X(264, renameat, ALLOW, NULL)                                                                  \
    X(265, linkat, ALLOW, NULL)                                                                    \
    X(266, symlinkat, ALLOW, NULL)                                                                 \
    X(267, readlinkat, ALLOW, NULL)                                                                \
    X(268, fchmodat, CHECK, WHY_MODE)                                                              \
    X(269, faccessat, ALLOW, NULL)                                                                 \
    X(270, pselect6, ALLOW, NULL)                                                                  \
    X(271, ppoll, ALLOW, NULL)                                                                     \
    X(272, unshare, NEVER, "makes namespaces: the way to most of the kernel's privileged code")    \
    X(273, set_robust_list, ALLOW, NULL)                                                           \
    X(274, get_robust_list, ALLOW, NULL)                                                           \
    X(275, splice, NOT_STRICT_MISSING, WHY_SPLICE)                                                 \
    X(276, tee, NOT_STRICT_MISSING, WHY_SPLICE)                                                    \
    X(277, sync_file_range, ALLOW, NULL)                                                           \
    X(278, vmsplice, MISSING,                                                                      \
      "pins the caller's pages in pipes, a tool of page-cache attacks; programs fall back")        \
    X(279, move_pages, REFUSE, WHY_NUMA)                                                           \
    X(280, utimensat, ALLOW, NULL)                                                                 \
    X(281, epoll_pwait, ALLOW, NULL)                                                               \
    X(282, signalfd, ALLOW, NULL)                                                                  \
    X(283, timerfd_create, ALLOW, NULL)                                                            \
    X(284, eventfd, ALLOW, NULL)                                                                   \
    X(285, fallocate, ALLOW, NULL)                                                                 \
    X(286, timerfd_settime, ALLOW, NULL)                                                           \
    X(287, timerfd_gettime, ALLOW, NULL)                                                           \
    X(288, accept4, ALLOW, NULL)                                                                   \
    X(289, signalfd4, ALLOW, NULL)                                                                 \
    X(290, eventfd2, ALLOW, NULL)                                                                  \
    X(291, epoll_create1, ALLOW, NULL)                                                             \
    X(292, dup3, ALLOW, NULL)                                                                      \
    X(293, pipe2, ALLOW, NULL)                                                                     \
    X(294, inotify_init1, ALLOW, NULL)                                                             \
    X(295, preadv, ALLOW, NULL)                                                                    \
    X(296, pwritev, ALLOW, NULL)                                                                   \
    X(297, rt_tgsigqueueinfo, ALLOW, NULL)                                                         \
    X(298, perf_event_open, NEVER,                                                                 \
      "measures the processor and the kernel that all sessions share")                             \
    X(299, recvmmsg, ALLOW, NULL)                                                                  \
    X(300, fanotify_init, REFUSE, WHY_FANOTIFY)                                                    \
    X(301, fanotify_mark, REFUSE, WHY_FANOTIFY)                                                    \
    X(302, prlimit64, CHECK, WHY_CORE)                                                             \
    X(303, name_to_handle_at, REFUSE,                                                              \
      "makes file handles, which only serve to pass by directories")                               \
    X(304, open_by_handle_at, NEVER, WHY_HANDLE)                                                   \
    X(305, clock_adjtime, REFUSE, WHY_CLOCK)                                                       \
    X(306, syncfs, NOT_STRICT, WHY_FLUSH)                                                          \
    X(307, sendmmsg, CHECK, WHY_OOB)                                                               \
    X(308, setns, NEVER, "enters namespaces of other processes")                                   \
    X(309, getcpu, ALLOW, NULL)                                                                    \
    X(310, process_vm_readv, DEBUG, WHY_TRACE)                                                     \
    X(311, process_vm_writev, DEBUG, WHY_TRACE)                                                    \
    X(312, kcmp, DEBUG, WHY_TRACE)                                                                 \
    X(313, finit_module, NEVER, WHY_MODULE)                                                        \
    X(314, sched_setattr, ALLOW, NULL)                                                             \
    X(315, sched_getattr, ALLOW, NULL)                                                             \
    X(316, renameat2, ALLOW, NULL)                                                                 \
    X(317, seccomp, CHECK,                                                                         \
      "a program may restrict itself further; a listener is EPERM: an unanswered one would keep "  \
      "the session from being frozen")                                                             \
    X(318, getrandom, ALLOW, NULL)                                                                 \
    X(319, memfd_create, ALLOW, NULL)                                                              \
    X(320, kexec_file_load, NEVER, "replaces the host's kernel")                                   \
    X(321, bpf, NEVER, "loads programs into the host's kernel")                                    \
    X(322, execveat, ALLOW, NULL)                                                                  \
    X(323, userfaultfd, REFUSE, "lets a program stop the kernel in mid-copy, a tool of exploits")  \
    X(324, membarrier, ALLOW, NULL)                                                                \
    X(325, mlock2, ALLOW, NULL)                                                                    \
    X(326, copy_file_range, ALLOW, NULL)                                                           \
    X(327, preadv2, ALLOW, NULL)                                                                   \
    X(328, pwritev2, ALLOW, NULL)                                                                  \
    X(329, pkey_mprotect, ALLOW, NULL)                                                             \
    X(330, pkey_alloc, ALLOW, NULL)                                                                \
    X(331, pkey_free, ALLOW, NULL)                                                                 \
    X(332, statx, ALLOW, NULL)                                                                     \
    X(333, io_pgetevents, MISSING, WHY_AIO)                                                        \
    X(334, rseq, ALLOW, NULL)                                                                      \
    X(335, uretprobe, ALLOW, NULL)                                                                 \
    X(336, uprobe, ALLOW, NULL)                                                                    \
    X(424, pidfd_send_signal, ALLOW, NULL)                                                         \
    X(425, io_uring_setup, NEVER_MISSING, WHY_RING)                                                \
    X(426, io_uring_enter, NEVER_MISSING, WHY_RING)                                                \
    X(427, io_uring_register, NEVER_MISSING, WHY_RING)                                             \
    X(428, open_tree, NEVER, WHY_MOUNT)                                                            \
    X(429, move_mount, NEVER, WHY_MOUNT)                                                           \
    X(430, fsopen, NEVER, WHY_MOUNT)                                                               \
    X(431, fsconfig, NEVER, WHY_MOUNT)                                                             \
    X(432, fsmount, NEVER, WHY_MOUNT)                                                              \
    X(433, fspick, NEVER, WHY_MOUNT)                                                               \
    X(434, pidfd_open, ALLOW, NULL)                                                                \
    X(435, clone3, NEVER_MISSING,                                                                  \
      "its flags are in memory, where no filter sees a new namespace; C libraries use clone "      \
      "instead")                                                                                   \
    X(436, close_range, ALLOW, NULL)                                                               \
    X(437, openat2, NEVER_MISSING,                                                                 \
      "its mode is in memory, where no filter sees a setuid bit (WS-1); programs use openat "      \
      "instead")                                                                                   \
    X(438, pidfd_getfd, DEBUG, WHY_TRACE)                                                          \
    X(439, faccessat2, ALLOW, NULL)                                                                \
    X(440, process_madvise, DEBUG, WHY_TRACE)                                                      \
    X(441, epoll_pwait2, ALLOW, NULL)                                                              \
    X(442, mount_setattr, NEVER, WHY_MOUNT)                                                        \
    X(443, quotactl_fd, NEVER, "reads and sets quotas of the host's file systems")                 \
    X(444, landlock_create_ruleset, ALLOW, NULL)                                                   \
    X(445, landlock_add_rule, ALLOW, NULL)                                                         \
    X(446, landlock_restrict_self, ALLOW, NULL)                                                    \
    X(447, memfd_secret, REFUSE, "hides memory from the host's kernel and keeps it from sleeping") \
    X(448, process_mrelease, REFUSE, "frees memory of dying processes: for out-of-memory daemons") \
    X(449, futex_waitv, ALLOW, NULL)                                                               \
    X(450, set_mempolicy_home_node, REFUSE, WHY_NUMA)                                              \
    X(451, cachestat, REFUSE,                                                                      \
      "tells which pages of a shared file are cached, a channel between sessions")                 \
    X(452, fchmodat2, CHECK, WHY_MODE)                                                             \
    X(453, map_shadow_stack, ALLOW, NULL)                                                          \
    X(454, futex_wake, ALLOW, NULL)                                                                \
    X(455, futex_wait, ALLOW, NULL)                                                                \
    X(456, futex_requeue, ALLOW, NULL)                                                             \
    X(457, statmount, NEVER, "tells how the sandbox's mounts are made, host paths among it")       \
    X(458, listmount, NEVER, "tells how the sandbox's mounts are made, host paths among it")       \
    X(459, lsm_get_self_attr, ALLOW, NULL)                                                         \
    X(460, lsm_set_self_attr, REFUSE, "changes the security label that the host gave")             \
    X(461, lsm_list_modules, ALLOW, NULL)                                                          \
    X(462, mseal, ALLOW, NULL)                                                                     \
    X(463, setxattrat, ALLOW, NULL)                                                                \
    X(464, getxattrat, ALLOW, NULL)                                                                \
    X(465, listxattrat, ALLOW, NULL)                                                               \
    X(466, removexattrat, ALLOW, NULL)                                                             \
    X(467, open_tree_attr, NEVER, WHY_MOUNT)                                                       \
    X(468, file_getattr, ALLOW, NULL)                                                              \
    X(469, file_setattr, REFUSE, "sets flags of the file system by path; chattr's ioctl remains")  \
    X(470, listns, NEVER, "lists namespaces of the host")
