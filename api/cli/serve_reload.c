/* This file reads the configuration again while berth serves; it never leaves half of one in force:
 * what is wrong changes nothing, and what cannot change while berth runs stays as it was, and is
 * said.
 */
#include "api/cli/serve_keys.h"

#include "api/cli/child.h"
#include "api/cli/cli.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Large: not on a stack. */
static struct serve_plan the_next;

uint64_t serve_clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* By what it would be written as; a ceiling also by what its file says. */
static bool differs(const struct serve_key *key, const struct serve_plan *a,
                    const struct serve_plan *b)
{
    _cleanup_buf_ struct buf before = {0}, after = {0};
    key->show(a, &before);
    key->show(b, &after);
    if (buf_failed(&before) || buf_failed(&after))
        return true;
    return strcmp(buf_text(&before), buf_text(&after)) != 0 ||
           (strcmp(key->name, "ceiling") == 0 &&
            strcmp(buf_text(&a->ceiling), buf_text(&b->ceiling)) != 0);
}

static void add_name(char *names, size_t size, const char *name)
{
    size_t n = strlen(names);
    snprintf(names + n, size - n, "%s%s", n ? " " : "", name);
}

unsigned serve_reload_compare(const struct serve_plan *now, struct serve_plan *next,
                              char ret_changed[SERVE_NAMES_SIZE])
{
    unsigned changed = 0;
    ret_changed[0] = next->config.pending[0] = 0;
    for (unsigned i = 0; i < SERVE_KEY_COUNT; i++) {
        const struct serve_key *key = &serve_keys[i];
        if (!differs(key, now, next))
            continue;
        if (key->keep) {
            add_name(next->config.pending, sizeof next->config.pending, key->name);
            key->keep(now, next);
        } else {
            add_name(ret_changed, SERVE_NAMES_SIZE, key->name);
            changed++;
        }
    }
    return changed;
}

/* What the supervisor found out at its start. */
static void keep_found(const struct serve_config *now, struct serve_config *next)
{
    memcpy(next->state_dir, now->state_dir, sizeof next->state_dir);
    memcpy(next->runtime_dir, now->runtime_dir, sizeof next->runtime_dir);
    memcpy(next->listen_address, now->listen_address, sizeof next->listen_address);
    next->listen_length = now->listen_length;
    next->tcp_given = now->tcp_given;
}

/* Of what is open, whatever its name has become: fchmodat(2) knows AT_EMPTY_PATH since 6.6 only. */
static int set_mode(int fd, mode_t mode)
{
    char name[32];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    return chmod(name, mode);
}

static int set_group(int fd, gid_t gid)
{
    return fchownat(fd, "", (uid_t)-1, gid, AT_EMPTY_PATH);
}

/* The socket of clients is another group's. A link there is not followed: where a service manager
 * put it, others may have written. */
int serve_regroup(const struct serve_place *place, uint32_t gid, struct err *err)
{
    bool group = gid != SERVE_NOBODY;
    struct stat before;
    _cleanup_fd_ int fd = open(place->socket, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && (fstat(fd, &before) < 0 || !S_ISSOCK(before.st_mode)))
        return err_set(err, ERR_FORBIDDEN, ENOTSOCK, "give the socket to another group",
                       place->socket, "What is there is no socket.");
    /* Narrow first: between the two steps nobody is let in who should not be. */
    if (fd >= 0 && set_mode(fd, 0600) == 0) {
        if (set_group(fd, group ? gid : getegid()) == 0 && (!group || set_mode(fd, 0660) == 0))
            return 0;
        int sys = errno;
        if (set_group(fd, before.st_gid) == 0)
            (void)set_mode(fd, before.st_mode & 0777);
        errno = sys;
    }
    return err_set(err, ERR_UNAVAILABLE, errno, "give the socket to another group", place->socket,
                   NULL);
}

static int seal(struct serve_launch *launch, struct err *err)
{
    struct serve_plan *plan = launch->plan;
    int fd = child_sealed("berth-config", &plan->config, sizeof plan->config,
                          buf_text(&plan->ceiling), plan->ceiling.length);
    if (fd < 0)
        return err_set(err, ERR_INTERNAL, -fd, "keep the configuration", NULL, NULL);
    fd_replace(&launch->config, fd);
    return 0;
}

static bool has_name(const char *names, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = names; (at = strstr(at, name)); at += length)
        if ((at == names || at[-1] == ' ') && (at[length] == 0 || at[length] == ' '))
            return true;
    return false;
}

static void tell(const struct serve_options *options, const char *changed, const char *pending)
{
    _cleanup_buf_ struct buf line = {0};
    buf_printf(&line, "%s was read again. In force now: %s.", options->config_path,
               changed[0] ? changed : "nothing new");
    if (has_name(changed, "ceiling"))
        buf_puts(&line, " Sessions that run keep the rules that they have: the ceiling is asked "
                        "when they are given others.");
    if (has_name(changed, "host_door"))
        buf_puts(&line, " What went through a port that is shut now is cut; a rule that a session "
                        "has for one that is open serves at once, and one that was refused is to "
                        "be asked for again.");
    if (pending[0])
        buf_printf(&line, " At the next start: %s.", pending);
    cli_log("info", "configuration", buf_text(&line));
}

int serve_reload(struct serve_launch *launch, const struct serve_options *options)
{
    struct serve_plan *plan = launch->plan;
    char changed[SERVE_NAMES_SIZE];
    struct err err;
    buf_fini(&the_next.ceiling);
    memset(&the_next, 0, sizeof the_next);
    unsigned count = 0;
    int r = serve_config_all(options, &the_next, &err);
    /* One that has gone would take every limit of the operator's with it. */
    if (r == 0 && plan->file_read && !the_next.file_read)
        r = err_set(&err, ERR_INVALID_REQUEST, ENOENT, "read the configuration",
                    options->config_path,
                    "It is not there any more. Put it back, or start berth again without it.");
    if (r == 0) {
        keep_found(&plan->config, &the_next.config);
        count = serve_reload_compare(plan, &the_next, changed);
        if (the_next.config.socket_gid != plan->config.socket_gid)
            r = serve_regroup(launch->place, the_next.config.socket_gid, &err);
    }
    if (r == 0) {
        buf_fini(&plan->ceiling);
        *plan = the_next;
        the_next.ceiling = (struct buf){0};
        cli_log_begin("supervisor", plan->config.log_text);
        tell(options, changed, plan->config.pending);
    } else {
        cli_fail(&err);
        cli_log("warning", "configuration",
                "the configuration that was read before stays in force");
        plan->config.reload_failed = 1;
    }
    int x = seal(launch, &err);
    if (x < 0)
        cli_fail(&err);
    return x < 0 ? x : r < 0 ? 0 : (int)count;
}
