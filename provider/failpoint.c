/* This file stops a test's process at a named point; it never is part of a shipped program. */
#include "provider/failpoint.h"

#include "runtime/base/units.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NAME_MAX_LENGTH = 96, POINTS_MAX = 512 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    char name[NAME_MAX_LENGTH];
    unsigned long count;
} points[POINTS_MAX];
static char armed[NAME_MAX_LENGTH];
static unsigned long armed_left; /* passes until it acts; 0: never */
static int armed_errno;          /* 0: SIGKILL */
static int environment_read;

/* NAME[:NTH][:ACTION], under the lock. */
static int arm(const char *setting)
{
    char text[2 * NAME_MAX_LENGTH];
    armed_left = 0;
    if (!setting || !setting[0])
        return 0;
    if (snprintf(text, sizeof text, "%s", setting) >= (int)sizeof text)
        return -EINVAL;
    char *nth = strchr(text, ':'), *action = NULL;
    if (nth) {
        *nth++ = 0;
        action = strchr(nth, ':');
        if (action)
            *action++ = 0;
    }
    uint64_t left = 1, number = 0;
    if (nth && (units_parse_u64(nth, &left) < 0 || left == 0))
        return -EINVAL;
    if (action && strcmp(action, "kill") != 0 && units_parse_u64(action, &number) < 0)
        return -EINVAL;
    if (strlen(text) >= sizeof armed)
        return -EINVAL;
    memcpy(armed, text, strlen(text) + 1);
    armed_errno = (int)number;
    armed_left = left;
    return 0;
}

int failpoint_arm(const char *setting)
{
    pthread_mutex_lock(&lock);
    environment_read = 1;
    int r = arm(setting);
    pthread_mutex_unlock(&lock);
    return r;
}

static void count(const char *name)
{
    size_t i = 0;
    while (i < POINTS_MAX && points[i].name[0] && strcmp(points[i].name, name) != 0)
        i++;
    if (i == POINTS_MAX)
        return;
    if (!points[i].name[0])
        snprintf(points[i].name, sizeof points[i].name, "%s", name);
    points[i].count++;
}

int failpoint_hit(const char *family, const char *name, const char *step)
{
    char full[NAME_MAX_LENGTH];
    snprintf(full, sizeof full, "%s.%s.%s", family, name, step);
    int r = 0;
    pthread_mutex_lock(&lock);
    if (!environment_read) {
        environment_read = 1;
        if (arm(getenv("BERTH_FAILPOINT")) < 0)
            kill(getpid(), SIGKILL); /* a misspelt setting must not look like a pass */
    }
    count(full);
    if (armed_left > 0 && strcmp(armed, full) == 0 && --armed_left == 0) {
        if (armed_errno == 0)
            kill(getpid(), SIGKILL);
        r = -armed_errno;
    }
    pthread_mutex_unlock(&lock);
    return r;
}

unsigned long failpoint_count(const char *name)
{
    unsigned long found = 0;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < POINTS_MAX && points[i].name[0]; i++)
        if (strcmp(points[i].name, name) == 0)
            found = points[i].count;
    pthread_mutex_unlock(&lock);
    return found;
}
