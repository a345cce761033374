/* This file is linked into a front of the test's own instead of provider/failpoint.c: while the
 * test says so it kills this process at each point where it was not killed before, and names the
 * point in a file; it is never part of a shipped program.
 *
 * front has no environment and soon no rights, so the file is opened before main(): it lies beside
 * the program and is shared memory. What is written there survives the process.
 */
#include "provider/failpoint.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { NAME_SIZE = 96, POINTS_MAX = 512 };

/* The whole file `points`. */
struct points {
    char armed[NAME_SIZE]; /* not empty: kill */
    char killed_at[POINTS_MAX][NAME_SIZE];
};

static struct points *points;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *map_beside(const char *name, size_t size)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - NAME_SIZE);
    if (n <= 0)
        return NULL;
    path[n] = 0;
    snprintf(strrchr(path, '/') + 1, NAME_SIZE, "%s", name);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return map == MAP_FAILED ? NULL : map;
}

__attribute__((constructor)) static void begin(void)
{
    points = map_beside("points", sizeof *points);
    if (!points)
        abort(); /* points that cannot be armed must not look like a pass */
}

int failpoint_hit(const char *family, const char *name, const char *step)
{
    char full[NAME_SIZE] = "";
    snprintf(full, sizeof full, "%s.%s.%s", family, name, step);
    pthread_mutex_lock(&lock);
    if (points->armed[0]) {
        size_t i = 0;
        while (i < POINTS_MAX - 1 && points->killed_at[i][0] &&
               strcmp(points->killed_at[i], full) != 0)
            i++;
        if (!points->killed_at[i][0]) {
            memcpy(points->killed_at[i], full, sizeof full);
            kill(getpid(), SIGKILL);
        }
    }
    pthread_mutex_unlock(&lock);
    return 0;
}
