/* This file speaks HTTP to a berth of its own and starts and kills that berth's processes; it never
 * ends a process that is not a descendant of its own.
 */
#include "tests/bench/client.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_MS = 60000, KILLED_MAX = 512 };

double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

void die(const char *what)
{
    fprintf(stderr, "sessions: %s: %s\n", what, strerror(errno));
    exit(2);
}

/* ---- HTTP -------------------------------------------------------------------------------------
 */

static int try_connect(const struct serve *serve)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int n =
        snprintf(address.sun_path, sizeof address.sun_path, "%s/run/berth.sock", serve->directory);
    if (n < 0 || (size_t)n >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        die("the directory");
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket");
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

static void client_new(struct client *client, int fd)
{
    *client = (struct client){.fd = fd, .text = malloc(ANSWER_MAX)};
    if (!client->text)
        die("memory");
}

void client_open(struct client *client, const struct serve *serve)
{
    int fd = try_connect(serve);
    if (fd < 0)
        die("connect to berth");
    client_new(client, fd);
}

void client_close(struct client *client)
{
    close(client->fd);
    free(client->text);
    client->text = NULL;
}

void client_send(struct client *client, const char *method, const char *path, const char *body)
{
    char request[4096];
    int n = snprintf(request, sizeof request,
                     "%s %s HTTP/1.1\r\nHost: berth\r\nContent-Type: application/json\r\n"
                     "Content-Length: %zu\r\n\r\n%s",
                     method, path, body ? strlen(body) : 0, body ? body : "");
    if (n < 0 || (size_t)n >= sizeof request) {
        errno = EMSGSIZE;
        die("a request");
    }
    client->size = 0;
    if (send(client->fd, request, (size_t)n, MSG_NOSIGNAL) != n)
        die("send a request");
}

/* The status when head and body are there, else 0. */
static int whole(const struct client *client)
{
    const char *end = strstr(client->text, "\r\n\r\n");
    if (!end)
        return 0;
    const char *length = strcasestr(client->text, "\r\nContent-Length:");
    size_t body = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
    if (client->size < (size_t)(end + 4 - client->text) + body)
        return 0;
    return atoi(client->text + 9);
}

int client_receive(struct client *client)
{
    ssize_t n = recv(client->fd, client->text + client->size, ANSWER_MAX - 1 - client->size, 0);
    if (n <= 0)
        return -1;
    client->size += (size_t)n;
    client->text[client->size] = 0;
    return whole(client);
}

int client_ask(struct client *client, const char *method, const char *path, const char *body)
{
    client_send(client, method, path, body);
    int status;
    do
        status = client_receive(client);
    while (status == 0);
    return status;
}

bool client_said(const struct client *client, const char *text)
{
    return strstr(client->text, text) != NULL;
}

long long client_drain(struct client *client, const char *path)
{
    static char buffer[1 << 20];
    client_send(client, "GET", path, NULL);
    long long total = 0;
    char tail[8] = "";
    for (;;) {
        ssize_t n = recv(client->fd, buffer, sizeof buffer, 0);
        if (n <= 0)
            return -1;
        total += n;
        size_t keep = n < 5 ? (size_t)n : 5;
        memmove(tail, tail + keep, 5 - keep);
        memcpy(tail + 5 - keep, buffer + (size_t)n - keep, keep);
        if (memcmp(tail, "0\r\n\r\n", 5) == 0)
            return total;
    }
}

/* ---- processes --------------------------------------------------------------------------------
 */

static void exec_serve(const struct serve *serve, int output)
{
    char state[256], run[256], config[256], log[256];
    snprintf(state, sizeof state, "%s/state", serve->directory);
    snprintf(run, sizeof run, "%s/run", serve->directory);
    snprintf(config, sizeof config, "%s/serve.jsonc", serve->directory);
    setenv("BERTH_STATE_DIR", state, 1);
    setenv("BERTH_RUNTIME_DIR", run, 1);
    snprintf(log, sizeof log, "%s/log", serve->directory);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    int said = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (said >= 0 && dup2(said, 2) >= 0 && dup2(output, 1) >= 0)
        execl(serve->berth, "berth", "serve", "--config", config, (char *)NULL);
    _exit(127);
}

static bool is_well(const struct serve *serve)
{
    int fd = try_connect(serve);
    if (fd < 0)
        return false;
    struct client client;
    client_new(&client, fd);
    static const char ask[] = "GET /v1/health HTTP/1.1\r\nHost: berth\r\n\r\n";
    int status = -1;
    if (send(fd, ask, sizeof ask - 1, MSG_NOSIGNAL) == (ssize_t)sizeof ask - 1)
        while ((status = client_receive(&client)) == 0)
            ;
    bool well = status == 200 && client_said(&client, "\"recovering\":false");
    client_close(&client);
    return well;
}

double serve_start(struct serve *serve)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        die("pipe");
    double begin = now_us();
    serve->supervisor = fork();
    if (serve->supervisor < 0)
        die("fork");
    if (serve->supervisor == 0)
        exec_serve(serve, ends[1]);
    close(ends[1]);
    serve->output = ends[0];
    while (!is_well(serve)) {
        if (now_us() - begin > WAIT_MS * 1e3) {
            errno = ETIMEDOUT;
            die("wait for berth to serve");
        }
        if (waitpid(serve->supervisor, NULL, WNOHANG) != 0) {
            errno = ECHILD;
            die("berth ended at its start");
        }
        poll(NULL, 0, 1);
    }
    return now_us() - begin;
}

void serve_stop(struct serve *serve)
{
    if (serve->supervisor <= 0)
        return;
    kill(serve->supervisor, SIGTERM);
    waitpid(serve->supervisor, NULL, 0);
    serve->supervisor = 0;
    close(serve->output);
}

/* The start of a file of /proc; false: the process is gone. */
static bool read_proc(pid_t pid, const char *name, char *ret, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, ret, size - 1) : -1;
    if (fd >= 0)
        close(fd);
    ret[n > 0 ? n : 0] = 0;
    return n > 0;
}

static pid_t parent_of(pid_t pid)
{
    char line[512];
    int parent;
    const char *end = read_proc(pid, "stat", line, sizeof line) ? strrchr(line, ')') : NULL;
    return end && sscanf(end + 1, " %*c %d", &parent) == 1 ? parent : -1;
}

static bool is_init(pid_t pid)
{
    char title[32];
    return !read_proc(pid, "cmdline", title, sizeof title) ||
           strncmp(title, "berth: init", 11) == 0;
}

/* Adds the children of those that are in `pids` already, inits left out. */
static size_t add_children(pid_t *pids, size_t count)
{
    DIR *proc = opendir("/proc");
    if (!proc)
        die("/proc");
    size_t before = count;
    for (const struct dirent *entry; (entry = readdir(proc));) {
        pid_t pid = atoi(entry->d_name), parent = pid > 0 ? parent_of(pid) : -1;
        for (size_t i = 0; parent > 0 && i < before; i++)
            if (pids[i] == parent && count < KILLED_MAX && !is_init(pid))
                pids[count++] = pid;
    }
    closedir(proc);
    return count;
}

void serve_kill(struct serve *serve)
{
    static pid_t pids[KILLED_MAX];
    pids[0] = serve->supervisor;
    size_t children = add_children(pids, 1), count = children;
    /* Workers are children of the launcher. */
    for (size_t i = 1; i < children; i++) {
        pid_t below[KILLED_MAX] = {pids[i]};
        size_t n = add_children(below, 1);
        for (size_t j = 1; j < n && count < KILLED_MAX; j++)
            pids[count++] = below[j];
    }
    static struct pollfd ends[KILLED_MAX];
    for (size_t i = 0; i < count; i++)
        ends[i] = (struct pollfd){.fd = (int)syscall(SYS_pidfd_open, pids[i], 0), .events = POLLIN};
    for (size_t i = 0; i < count; i++)
        kill(pids[i], SIGKILL);
    for (size_t i = 0; i < count; i++) {
        poll(&ends[i], 1, WAIT_MS); /* a new berth would find the old one's socket served */
        close(ends[i].fd);
    }
    waitpid(serve->supervisor, NULL, 0);
    serve->supervisor = 0;
    close(serve->output);
}

static const char *const memory_names[MEMORY_END] = {[MEMORY_AVAILABLE] = "MemAvailable:",
                                                     [MEMORY_ANONYMOUS] = "AnonPages:",
                                                     [MEMORY_SHMEM] = "Shmem:",
                                                     [MEMORY_SLAB] = "SUnreclaim:",
                                                     [MEMORY_STACKS] = "KernelStack:",
                                                     [MEMORY_TABLES] = "PageTables:",
                                                     [MEMORY_PERCPU] = "Percpu:"};

const char *memory_name(enum memory_part part)
{
    return memory_names[part];
}

void memory_read(long ret_kib[MEMORY_END])
{
    char line[128], name[64];
    long value;
    FILE *file = fopen("/proc/meminfo", "re");
    if (!file)
        die("/proc/meminfo");
    while (fgets(line, sizeof line, file))
        for (int i = 0; i < MEMORY_END; i++)
            if (sscanf(line, "%63s %ld", name, &value) == 2 && strcmp(name, memory_names[i]) == 0)
                ret_kib[i] = value;
    fclose(file);
}
