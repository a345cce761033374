/* This file is an attack program: it tries to leave its limits through the cgroup filesystem (row
 * 22). It never writes a byte: a control file that opens for writing is the whole attack, and where
 * the program gets through (outside, or in a weakened build) the host's hierarchy must stay as is.
 */
#include "try.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

static unsigned found;

static void open_for_write(const char *dir, const char *leaf)
{
    char path[512], name[640];
    snprintf(path, sizeof path, "%s/%s", dir, leaf);
    struct stat st;
    if (stat(path, &st) < 0)
        return;
    found++;
    snprintf(name, sizeof name, "write_%s", path);
    for (char *c = name; *c; c++)
        if (*c == ' ')
            *c = '_';
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    try_result(name, fd);
    if (fd >= 0)
        close(fd);
}

static void attack_directory(const char *dir)
{
    static const char *const leaves[] = {
        "cgroup.procs",  "tasks",       "release_agent",    "notify_on_release",
        "memory.max",    "pids.max",    "cpu.max",          "memory.limit_in_bytes",
        "cgroup.freeze", "cgroup.type", "cpu.cfs_quota_us", "cgroup.subtree_control",
        "devices.allow", "cgroup.kill", "memory.oom.group",
    };
    for (size_t i = 0; i < sizeof leaves / sizeof *leaves; i++)
        open_for_write(dir, leaves[i]);
    char path[512];
    snprintf(path, sizeof path, "%s/attack", dir);
    if (mkdir(path, 0755) == 0) {
        try_succeeded("mkdir_cgroup", "%s", path);
        rmdir(path);
    }
}

static void mounts_of_type(const char *kind)
{
    FILE *file = fopen("/proc/self/mountinfo", "re");
    char line[2048];
    while (file && fgets(line, sizeof line, file)) {
        const char *dash = strstr(line, " - ");
        if (!dash || strncmp(dash + 3, kind, strlen(kind)) != 0)
            continue;
        char where[512];
        if (sscanf(line, "%*s %*s %*s %*s %511s", where) == 1) {
            try_succeeded("cgroup_visible", "%s at %s", kind, where);
            attack_directory(where);
        }
    }
    if (file)
        fclose(file);
}

static int step_mount(void *argument)
{
    const char *const *kind = argument;
    if (mount("none", "/tmp", kind[0], 0, kind[1]) < 0)
        return errno;
    umount2("/tmp", MNT_DETACH);
    return 0;
}

static int step_fsopen(void *argument)
{
    return syscall(SYS_fsopen, argument, 0) < 0 ? errno : 0;
}

int main(void)
{
    try_begin();
    mounts_of_type("cgroup");
    static const char *const places[] = {
        "/sys/fs/cgroup",
        "/sys/fs/cgroup/unified",
        "/sys/fs/cgroup/memory",
        "/sys/fs/cgroup/pids",
        "/proc/1/root/sys/fs/cgroup",
        "/cgroup",
        "/proc/self/cwd/../../../../sys/fs/cgroup",
    };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct statfs fs;
        if (statfs(places[i], &fs) == 0 && (fs.f_type == 0x63677270 || fs.f_type == 0x27e0eb))
            attack_directory(places[i]);
    }
    if (found == 0)
        try_refused("cgroup_files", "NONE_VISIBLE");
    static const char *v1[] = {"cgroup", "memory"}, *v2[] = {"cgroup2", NULL},
                      *rdma[] = {"cgroup", "rdma"}, *none[] = {"cgroup", "none,name=attack"};
    try_in_child("mount_cgroup_v1", step_mount, v1);
    try_in_child("mount_cgroup_v2", step_mount, v2);
    try_in_child("mount_cgroup_rdma", step_mount, rdma);
    try_in_child("mount_cgroup_named", step_mount, none);
    try_in_child("fsopen_cgroup2", step_fsopen, (void *)(uintptr_t) "cgroup2");
    return try_end("cgroup");
}
