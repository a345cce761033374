/* This file is an attack program: it tries to leave a file with a setuid or setgid bit, file
 * capabilities or a device node in a directory, by every call that takes a mode (row 9). It never
 * looks at files that it did not make. The runner looks from outside.
 *
 *     modes DIRECTORY
 */
#include "try.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

static void file_by_mode(const char *name, int fd)
{
    try_result(name, fd);
    if (fd >= 0)
        close(fd);
}

static int fresh(const char *name)
{
    return open(name, O_CREAT | O_RDWR | O_CLOEXEC, 0755);
}

static void change_modes(void)
{
    /* The kernel uses 16 bits of the mode: what stands above must not hide it from a filter. */
    static const struct {
        const char *name;
        unsigned long mode;
    } modes[] = {
        {"4755", 04755},
        {"2755", 02755},
        {"6755", 06755},
        {"4755_bit16", 04755ul | 1ul << 16},
        {"4755_bit31", 04755ul | 1ul << 31},
        {"4755_bit32", 04755ul | 1ul << 32},
        {"4755_regular", 0104755},
    };
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        char name[64];
        unsigned long mode = modes[i].mode;
        int fd = fresh("victim");
        snprintf(name, sizeof name, "chmod_%s", modes[i].name);
        try_result(name, syscall(SYS_chmod, "victim", mode));
        snprintf(name, sizeof name, "fchmod_%s", modes[i].name);
        try_result(name, syscall(SYS_fchmod, fd, mode));
        snprintf(name, sizeof name, "fchmodat_%s", modes[i].name);
        try_result(name, syscall(SYS_fchmodat, AT_FDCWD, "victim", mode));
        snprintf(name, sizeof name, "fchmodat2_%s", modes[i].name);
        try_result(name, syscall(SYS_fchmodat2, AT_FDCWD, "victim", mode, 0));
        close(fd);
    }
    mkdir("victim-dir", 0755);
    try_result("chmod_directory_2777", syscall(SYS_chmod, "victim-dir", 02777));
}

static void create_with_modes(void)
{
    file_by_mode("creat_06755", (int)syscall(SYS_creat, "m-creat", 06755));
    file_by_mode("open_04755", (int)syscall(SYS_open, "m-open", O_CREAT | O_RDWR, 04755));
    file_by_mode("openat_04755",
                 (int)syscall(SYS_openat, AT_FDCWD, "m-openat", O_CREAT | O_RDWR, 04755));
    file_by_mode("openat_02755_bit32", (int)syscall(SYS_openat, AT_FDCWD, "m-openat32",
                                                    O_CREAT | O_RDWR, 02755ul | 1ul << 32));
    struct open_how how = {.flags = O_CREAT | O_RDWR, .mode = 04755};
    file_by_mode("openat2_04755",
                 (int)syscall(SYS_openat2, AT_FDCWD, "m-openat2", &how, sizeof how));
    int fd = (int)syscall(SYS_openat, AT_FDCWD, ".", O_TMPFILE | O_RDWR, 04755);
    if (fd >= 0) {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        try_result("tmpfile_04755",
                   linkat(AT_FDCWD, link, AT_FDCWD, "m-tmpfile", AT_SYMLINK_FOLLOW));
        close(fd);
    } else {
        try_denied("tmpfile_04755", errno);
    }
    /* A directory keeps only the sticky bit of mkdir's mode; the filter refuses it all the same. */
    try_result("mknod_regular_04755", syscall(SYS_mknod, "m-mknod", S_IFREG | 04755, 0));
    try_result("mknodat_regular_06755",
               syscall(SYS_mknodat, AT_FDCWD, "m-mknodat", S_IFREG | 06755, 0));
    try_result("mknod_fifo_04755", syscall(SYS_mknod, "m-fifo", S_IFIFO | 04755, 0));
}

static void devices_and_attributes(void)
{
    try_result("mknod_character", syscall(SYS_mknod, "m-null", S_IFCHR | 0666, makedev(1, 3)));
    try_result("mknod_memory", syscall(SYS_mknod, "m-mem", S_IFCHR | 0666, makedev(1, 1)));
    try_result("mknodat_block",
               syscall(SYS_mknodat, AT_FDCWD, "m-disk", S_IFBLK | 0666, makedev(254, 0)));
    close(fresh("m-caps"));
    /* struct vfs_cap_data, revision 2, CAP_SETUID effective and permitted */
    static const uint32_t cap[5] = {0x02000001, 1u << 7, 0, 0, 0};
    try_result("setxattr_capability",
               setxattr("m-caps", "security.capability", cap, sizeof cap, 0));
    static const uint32_t cap3[6] = {0x03000001, 1u << 7, 0, 0, 0, 0};
    try_result("setxattr_capability_v3",
               setxattr("m-caps", "security.capability", cap3, sizeof cap3, 0));
    try_result("setxattr_trusted", setxattr("m-caps", "trusted.overlay.opaque", "y", 1, 0));
    try_result("chown_root", chown("m-caps", 0, 0) < 0 ? -1
                             : getuid() == 0           ? (errno = EPERM, -1)
                                                       : 0);
}

int main(int argc, char **argv)
{
    if (argc != 2 || chdir(argv[1]) < 0)
        return 2;
    umask(0);
    try_begin();
    change_modes();
    create_with_modes();
    devices_and_attributes();
    return try_end("modes");
}
