/* This file is an attack program: it searches what a session can read for words of the host (row
 * 10). It never opens anything outside /proc and /etc. The words come reversed, so that they are
 * not found in this program's own arguments.
 *
 *     environment DROW…
 */
#include "try.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/utsname.h>

static char text[1 << 20];

static void reverse(const char *from, char *to, size_t size)
{
    size_t n = strnlen(from, size - 1);
    for (size_t i = 0; i < n; i++)
        to[i] = from[n - 1 - i];
    to[n] = 0;
}

static size_t slurp(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    size_t used = 0;
    while (fd >= 0 && used < sizeof text - 1) {
        ssize_t n = read(fd, text + used, sizeof text - 1 - used);
        if (n <= 0)
            break;
        used += (size_t)n;
    }
    if (fd >= 0)
        close(fd);
    return used;
}

static bool found_in(const char *path, const char *word)
{
    size_t n = slurp(path);
    return memmem(text, n, word, strlen(word)) != NULL;
}

static void search(const char *name, const char *word)
{
    static const char *const files[] = {"environ", "cmdline", "comm", "status", "auxv"};
    static const char *const plain[] = {"/etc/hosts",    "/etc/hostname", "/etc/passwd",
                                        "/etc/group",    "/etc/fstab",    "/etc/machine-id",
                                        "/proc/cmdline", "/proc/keys",    "/proc/net/unix"};
    char path[96];
    DIR *dir = opendir("/proc");
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
            continue;
        for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
            snprintf(path, sizeof path, "/proc/%.20s/%s", entry->d_name, files[i]);
            if (found_in(path, word)) {
                try_succeeded(name, "in %s", path);
                closedir(dir);
                return;
            }
        }
    }
    if (dir)
        closedir(dir);
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (found_in(plain[i], word)) {
            try_succeeded(name, "in %s", plain[i]);
            return;
        }
    try_refused(name, "NOT_FOUND");
}

int main(int argc, char **argv)
{
    extern char **environ;
    try_begin();
    for (char **e = environ; *e; e++)
        printf("env %.*s\n", (int)strcspn(*e, "="), *e);
    struct utsname uts;
    if (uname(&uts) == 0)
        printf("nodename %s\n", uts.nodename);
    for (int i = 1; i < argc; i++) {
        char word[256], name[32];
        reverse(argv[i], word, sizeof word);
        snprintf(name, sizeof name, "word_%d", i);
        search(name, word);
    }
    return try_end("environment");
}
