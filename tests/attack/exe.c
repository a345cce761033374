/* This file is an attack program: it reaches for other processes through /proc, above all for the
 * program, the descriptors and the memory of PID 1 (rows 1 and 3). It never writes to what it gets.
 *
 *     exe TARGET MILLISECONDS
 *
 * TARGET is 1 inside a session; a sacrificial process when the program is checked outside.
 */
#include "try.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>

static void open_one(const char *name, const char *pid, const char *leaf, int flags)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/%s", pid, leaf);
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0) {
        try_denied(name, errno);
        return;
    }
    struct stat st;
    fstat(fd, &st);
    char byte;
    bool contents = S_ISREG(st.st_mode) && !(flags & (O_PATH | O_RDWR)) && leaf[0] != 'n';
    if (contents && read(fd, &byte, 1) < 1)
        try_refused(name, "EMPTY");
    else
        try_succeeded(name, "opened %s", path);
    close(fd);
}

static void list_fds(const char *name, const char *pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/fd", pid);
    DIR *dir = opendir(path);
    if (!dir) {
        try_denied(name, errno);
        return;
    }
    unsigned seen = 0;
    for (struct dirent *entry; (entry = readdir(dir));)
        seen += entry->d_name[0] != '.';
    closedir(dir);
    if (seen > 0)
        try_succeeded(name, "%u descriptors listed", seen);
    else
        try_refused(name, "EMPTY");
}

/* Every process that is seen, again and again: does one show up whose program can be written, or
 * whose descriptors can be listed, and which is not of this program's own tree? */
static void watch(const char *self_exe, long milliseconds)
{
    int64_t end = try_now_ms() + milliseconds;
    unsigned rounds = 0, foreign = 0;
    char what[128] = "";
    do {
        DIR *dir = opendir("/proc");
        if (!dir)
            break;
        for (struct dirent *entry; (entry = readdir(dir));) {
            if (entry->d_name[0] < '0' || entry->d_name[0] > '9' ||
                strtol(entry->d_name, NULL, 10) == getpid())
                continue;
            char path[64], target[256] = "";
            snprintf(path, sizeof path, "/proc/%.20s/exe", entry->d_name);
            if (readlink(path, target, sizeof target - 1) > 0 && strcmp(target, self_exe) == 0)
                continue;
            int fd = open(path, O_PATH | O_CLOEXEC);
            if (fd >= 0) {
                foreign++;
                snprintf(what, sizeof what, "%.60s -> %.60s", path, target);
                close(fd);
            }
            snprintf(path, sizeof path, "/proc/%.20s/fd/4", entry->d_name);
            fd = open(path, O_PATH | O_CLOEXEC);
            if (fd >= 0) {
                foreign++;
                snprintf(what, sizeof what, "%.60s", path);
                close(fd);
            }
        }
        closedir(dir);
        rounds++;
    } while (try_now_ms() < end);
    if (foreign > 0)
        try_succeeded("watch_foreign_programs", "%u times in %u rounds, last %s", foreign, rounds,
                      what);
    else
        try_refused("watch_foreign_programs", "NONE_SEEN");
}

int main(int argc, char **argv)
{
    const char *target = argc > 1 ? argv[1] : "1";
    long milliseconds = argc > 2 ? strtol(argv[2], NULL, 10) : 500;
    pid_t pid = (pid_t)strtol(target, NULL, 10);
    char self[256] = "";
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
        return 2;
    try_begin();

    open_one("open_exe_of_pid1", target, "exe", O_PATH);
    open_one("read_exe_of_pid1", target, "exe", O_RDONLY);
    open_one("root_of_pid1", target, "root", O_PATH | O_DIRECTORY);
    open_one("cwd_of_pid1", target, "cwd", O_PATH | O_DIRECTORY);
    open_one("environ_of_pid1", target, "environ", O_RDONLY);
    open_one("maps_of_pid1", target, "maps", O_RDONLY);
    open_one("mem_of_pid1", target, "mem", O_RDWR);
    open_one("auxv_of_pid1", target, "auxv", O_RDONLY);
    open_one("stack_of_pid1", target, "stack", O_RDONLY);
    open_one("syscall_of_pid1", target, "syscall", O_RDONLY);
    open_one("ns_of_pid1", target, "ns/mnt", O_RDONLY);
    list_fds("fds_of_pid1", target);

    try_result("ptrace_seize_pid1", ptrace(PTRACE_SEIZE, pid, NULL, NULL));
    watch(self, milliseconds);
    return try_end("exe");
}
