/* This file holds the tables of a session's root directory; it never touches the host. */
#include "runtime/plan/rootfs.h"

#include <string.h>

#define NAME(n) n,
const char *const rootfs_top_names[ROOTFS_TOP_COUNT] = {ROOTFS_TOPS(NAME)};
#undef NAME

/* What anybody may read of the host's procfs and a session has no use for. Files that only the
 * host's root may open (kcore, kmsg, sysrq-trigger, timer_list ...) are not here: their owner has
 * no id inside, so opening them is refused by the kernel whatever the session does; tests/attack
 * proves it. */
const char *const rootfs_proc_masked[] = {
    /* The host's load, and on 6.5 and later a place where anybody may make the host watch it. */
    "pressure/",
    /* Directories: devices, firmware and file systems of the host by name. The last of these, and
     * of the files, is in every procfs (runtime/stage/stage.c wants it so). */
    "acpi/", "asound/", "bus/", "irq/", "scsi/", "fs/",
    /* Files: keyrings, modules, the timing of the host's devices, their names, the locks of other
     * processes (open file descriptions have no pid to hide them by), the kernel's command line. */
    "cmdline", "diskstats", "interrupts", "key-users", "keys", "locks", "modules", "partitions",
    "sched_debug", "softirqs", NULL};

#define DIR(p, m)                                          \
    {                                                      \
        .kind = ROOTFS_DIRECTORY, .mode = (m), .path = (p) \
    }
#define USER_DIR(p, m)                                                             \
    {                                                                              \
        .kind = ROOTFS_DIRECTORY, .mode = (m), .path = (p), .owner = SPEC_UID_USER \
    }
#define NOBODYS_DIR(p, m)                                                            \
    {                                                                                \
        .kind = ROOTFS_DIRECTORY, .mode = (m), .path = (p), .owner = SPEC_UID_NOBODY \
    }
#define LINK(p, t)                                       \
    {                                                    \
        .kind = ROOTFS_SYMLINK, .path = (p), .text = (t) \
    }
#define FILE_IS(p, t)                                               \
    {                                                               \
        .kind = ROOTFS_FILE, .mode = 0644, .path = (p), .text = (t) \
    }
#define FILE_OR(p, t)                                                       \
    {                                                                       \
        .kind = ROOTFS_FILE_DEFAULT, .mode = 0644, .path = (p), .text = (t) \
    }
#define BIND_ETC(n)                                                                    \
    {                                                                                  \
        .kind = ROOTFS_BIND_NOEXEC, .optional = 1, .path = "etc/" n, .text = "/etc/" n \
    }
#define BIND_SYS(p)                                                             \
    {                                                                           \
        .kind = ROOTFS_BIND_NOEXEC, .optional = 1, .path = (p) + 1, .text = (p) \
    }

#define PASSWD(shell)                              \
    "root:x:0:0:root:/root:" shell "\n"            \
    "user:x:1000:1000:user:/home/user:" shell "\n" \
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"

static const char group_text[] = "root:x:0:\n"
                                 "tty:x:5:\n"
                                 "user:x:1000:\n"
                                 "nogroup:x:65534:\n";

/* The session's own address, where the gateway answers. In a session without a network there is no
 * such address: a look-up fails in a millisecond, and is counted as an attempt to get out, which
 * one at 127.0.0.1 would not be (session_unrouted()). */
static const char resolv_text[] = "nameserver 192.0.2.2\noptions timeout:1 attempts:1\n";
static const char hosts_text[] = "127.0.0.1 localhost berth\n::1 localhost ip6-localhost\n";
static const char nsswitch_text[] = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"
                                    "networks: files\nprotocols: files\nservices: files\n"
                                    "ethers: files\nrpc: files\n";

/* Every session has these, whatever its image. */
static const struct rootfs_step common[] = {
    DIR("proc", 0555),
    DIR("dev", 0755),
    DIR("sys", 0755),
    DIR("tmp", 01777),
    DIR("etc", 0755),
    DIR("home", 0755),
    USER_DIR("home/user", 0755),
    DIR("var", 0755),
    DIR("var/tmp", 01777),
    DIR("run", 0755),
    DIR("run/shm", 01777), /* /dev/shm points here, so that it counts as scratch */
    DIR("mnt", 0755),
    /* What the session is given and gives. The first is written by nobody's worker alone. */
    NOBODYS_DIR("mnt/session", 0755),
    NOBODYS_DIR("mnt/session/uploads", 0755),
    NOBODYS_DIR("mnt/session/outputs", 01777),
    FILE_IS("etc/resolv.conf", resolv_text),
    FILE_IS("etc/hosts", hosts_text),
    FILE_IS("etc/hostname", "berth\n"),
};

static const struct rootfs_step dir_image[] = {
    FILE_OR("etc/passwd", PASSWD("/bin/sh")),
    FILE_OR("etc/group", group_text),
    FILE_OR("etc/nsswitch.conf", nsswitch_text),
};

static const struct rootfs_step host_image[] = {
    {.kind = ROOTFS_BIND, .path = "usr", .text = "/usr"},
    DIR("root", 0700),
    DIR("opt", 0755),
    DIR("srv", 0755),
    DIR("var/cache", 0755),
    DIR("var/lib", 0755),
    DIR("var/log", 0755),
    LINK("var/run", "/run"),
    LINK("var/lock", "/run/lock"),
    DIR("run/lock", 01777),
    FILE_IS("etc/group", group_text),
    FILE_IS("etc/nsswitch.conf", nsswitch_text),
    FILE_IS("etc/shells", "/bin/sh\n/bin/bash\n"),
    LINK("etc/mtab", "/proc/self/mounts"),

    /* The dynamic linker and the alternatives make the host's /usr work at all. Each row costs
     * every start some 14 us, so a row is here because a real tool fails without it. */
    BIND_ETC("ld.so.cache"),
    BIND_ETC("alternatives"),
    /* Certificates and the defaults of TLS libraries. */
    DIR("etc/ssl", 0755),
    BIND_ETC("ssl/certs"),
    BIND_ETC("ssl/openssl.cnf"),
    BIND_ETC("pki"),
    BIND_ETC("crypto-policies"),
    /* Names of protocols, services and file types; time zone; terminals; fonts. */
    BIND_ETC("protocols"),
    BIND_ETC("services"),
    BIND_ETC("mime.types"),
    BIND_ETC("localtime"),
    BIND_ETC("terminfo"),
    BIND_ETC("os-release"),
    BIND_ETC("fonts"),
    /* Language runtimes that do not start without their files in /etc. */
    BIND_ETC("java"),
    BIND_ETC("java-8-openjdk"),
    BIND_ETC("java-11-openjdk"),
    BIND_ETC("java-17-openjdk"),
    BIND_ETC("java-21-openjdk"),
    BIND_ETC("maven"),
    /* What tools ask of /sys: the number and the layout of processors. It is the host's, read-only;
     * the rest of sysfs is not there. */
    DIR("sys/devices", 0755),
    DIR("sys/devices/system", 0755),
    BIND_SYS("/sys/devices/system/cpu"),
};

static void add(struct rootfs_plan *plan, const struct rootfs_step *steps, size_t count)
{
    for (size_t i = 0; i < count && plan->count < ROOTFS_STEPS_MAX; i++)
        plan->steps[plan->count++] = steps[i];
}

static void add_tops(struct rootfs_plan *plan, const struct rootfs_host *host)
{
    static const char *const absolute[ROOTFS_TOP_COUNT] = {
#define NAME(n) "/" n,
        ROOTFS_TOPS(NAME)
#undef NAME
    };
    for (size_t i = 0; i < ROOTFS_TOP_COUNT; i++) {
        if (!host->tops[i].exists)
            continue;
        bool link = host->tops[i].link[0] != 0;
        struct rootfs_step step = {
            .kind = link ? ROOTFS_SYMLINK : ROOTFS_BIND,
            .path = rootfs_top_names[i],
            .text = link ? host->tops[i].link : absolute[i],
        };
        add(plan, &step, 1);
    }
}

void rootfs_plan_make(const struct spec *spec, const struct rootfs_host *host,
                      struct rootfs_plan *ret)
{
    ret->count = 0;
    ret->fresh = spec->image.kind == SPEC_IMAGE_HOST;
    add(ret, common, sizeof common / sizeof common[0]);
    if (!ret->fresh) {
        add(ret, dir_image, sizeof dir_image / sizeof dir_image[0]);
        return;
    }
    add_tops(ret, host);
    struct rootfs_step passwd =
        FILE_IS("etc/passwd", host->has_bash ? PASSWD("/bin/bash") : PASSWD("/bin/sh"));
    add(ret, &passwd, 1);
    add(ret, host_image, sizeof host_image / sizeof host_image[0]);
}
