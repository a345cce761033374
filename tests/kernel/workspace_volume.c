/* This file tests volumes: every uid kept whatever the range, one live session at a time (WS-2),
 * made whole or not at all, bad disks. */
#define WORKSPACE_SUITE workspace_volume
#include "workspace_fixture.h"

static void spec_volume(struct spec *s, const char *name)
{
    spec_directory(s, "");
    s->workspace.kind = SPEC_WORKSPACE_VOLUME;
    strcpy(s->workspace.volume, name);
}

static void write_as_two(void)
{
    CHECK(mkdir("shared", 0777) == 0 && chmod("shared", 0777) == 0, "mkdir");
    int fd = open("shared/mine", O_WRONLY | O_CREAT | O_EXCL, 0644);
    CHECK(fd >= 0, "create");
}

static void write_as_other(void)
{
    int fd = open("shared/other", O_WRONLY | O_CREAT | O_EXCL, 0644);
    CHECK(fd >= 0, "create");
}

static void whole_range(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    spec_volume(&s, "v");
    must_open(&ws, &s, &o);
    inside_as(&ws, p, SLOT_USER, write_as_two);
    must_close(&ws); /* a tree is attached once */
    must_open(&ws, &s, &o);
    inside_as(&ws, p, BASE + 33, write_as_other);
    must_close(&ws);
    struct stat st;
    CHECK(stat(at(p->state, "volumes/local/v/data/shared/mine"), &st) == 0 && st.st_uid == 1000,
          "on disk it is the id inside: %u", st.st_uid);
    o.uid_base = BASE + 10 * 65536;
    must_open(&ws, &s, &o);
    CHECK(fstatat(ws.tree, "shared/other", &st, 0) == 0 && st.st_uid == o.uid_base + 33,
          "in another range it is the same id inside: %u", st.st_uid);
    must_close(&ws);
    CHECK(stat(p->state, &st) == 0 && (st.st_mode & 0777) == 0700, "state is private");
    CHECK(stat(at(p->state, "volumes/local/v"), &st) == 0 && (st.st_mode & 0777) == 0700,
          "the volume is private");
}
IN_A_PLACE(a_volume_keeps_every_uid_whatever_range_a_session_has_ws_1, whole_range)

static void one_at_a_time(const struct place *p)
{
    struct spec s;
    struct workspace a, b;
    struct workspace_options o = options_of(p);
    spec_volume(&s, "v");
    strcpy(s.session_id, "first");
    must_open(&a, &s, &o);
    strcpy(s.session_id, "second");
    must_refuse(&s, &o, ERR_WORKSPACE_IN_USE, "session first of workspace local");
    s.workspace.read_only = 1;
    must_refuse(&s, &o, ERR_WORKSPACE_IN_USE, "session first");
    strcpy(s.workspace_id, "elsewhere"); /* ID-1: the name alone means nothing */
    must_open(&b, &s, &o);
    must_close(&b);
    strcpy(s.workspace_id, "local");
    must_close(&a);
    must_open(&a, &s, &o);
    must_open(&b, &s, &o);
    s.workspace.read_only = 0;
    must_refuse(&s, &o, ERR_WORKSPACE_IN_USE, "session second");
    must_close(&a);
    must_close(&b);
}
IN_A_PLACE(one_live_session_at_a_time_unless_all_only_read_ws_2, one_at_a_time)

static void after_a_kill(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    spec_volume(&s, "v");
    for (int i = 0; i < 30; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0, "fork");
        if (pid == 0) {
            must_open(&ws, &s, &o);
            pause();
        }
        usleep((useconds_t)(200 + i * 150));
        CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid, "kill");
        CHECK(workspace_reap(p->share, p->state, NULL, NULL) == 0, "reap");
        must_open(&ws, &s, &o);
        must_close(&ws);
        CHECK(entries(at(p->state, "volumes/local")) == 1, "only the volume");
        snprintf(s.workspace.volume, sizeof s.workspace.volume, "v%d", i);
        must_open(&ws, &s, &o);
        must_close(&ws);
        CHECK(nftw(at(p->state, "volumes"), remove_one, 8, FTW_DEPTH | FTW_PHYS) == 0, "clear");
        strcpy(s.workspace.volume, "v");
    }
}
IN_A_PLACE(a_holder_killed_at_any_instant_leaves_a_usable_volume, after_a_kill)

static void at_once(const struct place *p)
{
    struct spec s;
    struct workspace_options o = options_of(p);
    spec_volume(&s, "v");
    s.workspace.read_only = 1; /* all may have it: the race is in making it */
    pid_t pids[30];
    for (int i = 0; i < 30; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            struct workspace ws;
            must_open(&ws, &s, &o);
            must_close(&ws);
            _exit(0);
        }
    }
    for (int i = 0; i < 30; i++) {
        int status;
        CHECK(waitpid(pids[i], &status, 0) == pids[i] && status == 0, "process %d", i);
    }
    CHECK(entries(at(p->state, "volumes/local")) == 1, "one volume, nothing unfinished");
}
IN_A_PLACE(thirty_first_users_at_once_make_one_volume, at_once)

static void refuse_full(const struct place *p, const char *options, bool fill)
{
    struct spec s;
    struct workspace_options o = options_of(p);
    CHECK(mount("t", p->state, "tmpfs", 0, options) == 0, "tmpfs");
    if (fill) {
        int fd = open(at(p->state, "filler"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        static char page[4096];
        while (write(fd, page, sizeof page) > 0)
            ;
        close(fd);
    }
    spec_volume(&s, "v");
    must_refuse(&s, &o, ERR_INSUFFICIENT_STORAGE, "BERTH_STATE_DIR");
    CHECK(!exists(at(p->state, "volumes/local/.new")) && !exists(at(p->state, "volumes/local/v")),
          "nothing half made with %s", options);
    CHECK(umount(p->state) == 0, "umount");
}

static void full_disk(const struct place *p)
{
    CHECK(mkdir(p->state, 0700) == 0, "mkdir");
    /* The root, volumes, local, .new, data, lock: one of them is each time the one too many. */
    refuse_full(p, "size=64k,mode=700,nr_inodes=1", false);
    refuse_full(p, "size=64k,mode=700,nr_inodes=2", false);
    refuse_full(p, "size=64k,mode=700,nr_inodes=3", false);
    refuse_full(p, "size=64k,mode=700,nr_inodes=4", false);
    refuse_full(p, "size=64k,mode=700,nr_inodes=5", false);
    refuse_full(p, "size=64k,mode=700", true);
}
IN_A_PLACE(a_full_disk_is_said_and_leaves_nothing, full_disk)

static void read_only_state(const struct place *p)
{
    struct spec s;
    struct workspace_options o = options_of(p);
    CHECK(mkdir(p->state, 0700) == 0 && mount("t", p->state, "tmpfs", MS_RDONLY, "mode=700") == 0,
          "tmpfs");
    spec_volume(&s, "v");
    must_refuse(&s, &o, ERR_UNAVAILABLE, "BERTH_STATE_DIR");
    CHECK(umount(p->state) == 0, "umount");
    spec_directory(&s, p->work);
    CHECK(mkdir(p->share, 0700) == 0 && mount("t", p->share, "tmpfs", MS_RDONLY, "mode=700") == 0,
          "tmpfs");
    must_refuse(&s, &o, ERR_UNAVAILABLE, "BERTH_RUNTIME_DIR");
    CHECK(umount(p->share) == 0 && chmod(p->share, 0777) == 0, "chmod");
    must_refuse(&s, &o, ERR_FORBIDDEN, "mode 0700");
}
IN_A_PLACE(a_state_directory_that_cannot_be_written_or_trusted_is_said, read_only_state)

static void loosened(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    spec_volume(&s, "v");
    must_open(&ws, &s, &o);
    must_close(&ws);
    CHECK(chmod(at(p->state, "volumes/local"), 0755) == 0, "chmod");
    must_refuse(&s, &o, ERR_FORBIDDEN, "mode 0700");
    strcpy(s.workspace.volume, "../x");
    must_refuse(&s, &o, ERR_INVALID_REQUEST, "valid id");
}
IN_A_PLACE(a_volume_that_others_could_reach_is_refused, loosened)

static void torn_by_power(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    struct workspace_options o = options_of(p);
    struct stat st;
    spec_volume(&s, "v");
    must_open(&ws, &s, &o);
    CHECK(workspace_settle(&ws, NULL) == 0, "its name is on disk");
    must_close(&ws);
    CHECK(rmdir(at(p->state, "volumes/local/v/data")) == 0, "the directory");
    must_open(&ws, &s, &o);
    CHECK(workspace_settle(&ws, NULL) == 0, "what was repaired too");
    must_close(&ws);
    CHECK(stat(at(p->state, "volumes/local/v/data"), &st) == 0 && st.st_uid == 1000, "it is back");
    CHECK(unlink(at(p->state, "volumes/local/v/lock")) == 0, "the lock");
    must_open(&ws, &s, &o);
    must_close(&ws);
    CHECK(stat(at(p->state, "volumes/local/v/lock"), &st) == 0, "it is back");
}
IN_A_PLACE(a_volume_that_a_power_loss_left_without_its_parts_is_made_whole, torn_by_power)
