/* This file writes a process's name where the kernel reads it; it never writes beyond what the
 * kernel says it gave to arguments and environment. */
#include "runtime/base/title.h"

#include "runtime/base/io.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

static struct {
    char *start;
    size_t arguments, all; /* bytes of the arguments; with the environment behind them */
} area;

/* Fields 48 to 51 of proc(5)'s stat: arg_start, arg_end, env_start, env_end. */
void title_init(void)
{
    char text[1024];
    if (io_read_at(AT_FDCWD, "/proc/self/stat", text, sizeof text) < 0)
        return;
    const char *at = strrchr(text, ')');
    for (int field = 2; at && field < 48; field++)
        at = strchr(at + 1, ' ');
    unsigned long start, end, env_start, env_end;
    if (!at || sscanf(at, " %lu %lu %lu %lu", &start, &end, &env_start, &env_end) != 4 ||
        start == 0 || end <= start)
        return;
    area.start =
        (char *)(uintptr_t)start; /* NOLINT(performance-no-int-to-ptr): the kernel says so */
    area.arguments = end - start;
    area.all = env_start == end && env_end > end ? env_end - start : end - start;
}

void title_set(const char *title)
{
    prctl(PR_SET_NAME, title, 0, 0, 0);
    if (!area.start)
        return;
    size_t length = strlen(title);
    if (length >= area.all)
        length = area.all - 1;
    /* The kernel takes a byte other than 0 at the end of the arguments as the sign that the name
     * goes on into the environment, up to its first 0. */
    memset(area.start, 0, length + 1 > area.arguments ? area.all : area.arguments);
    memcpy(area.start, title, length);
}
