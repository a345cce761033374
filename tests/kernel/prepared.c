/* This file tests root directories that were made before there was a session for them: what a
 * session made of one is, that none serves twice, and that what the host changed is seen
 * (docs/adr/0017).
 */
#include "lasting_fixture.h"

#include "runtime/host/prepared.h"

#include <sys/file.h>
#include <sys/sysmacros.h>

TestSuite(prepared, .timeout = 120);

/* All that a command can see of what it is in, without what differs from session to session: pids,
 * times, numbers of mounts and devices, the range of ids. */
static const char describe[] =
    "exec 2>&1; export LC_ALL=C\n"
    "echo; cut -d' ' -f4- /proc/self/mountinfo\n"
    "echo; grep -E 'Cap|NoNew|Secc|Uid|Gid|Groups|Umask|NStgid|Spec|Cpus' /proc/self/status\n"
    "echo; cat /proc/self/limits /proc/self/oom_score_adj /proc/1/comm\n"
    "echo; sed 's/run-[-0-9a-f]*/run/' /proc/self/cgroup\n"
    "echo; while read -r in out count; do echo $in $count; done </proc/self/uid_map\n"
    "echo; for n in /proc/self/ns/*; do [ $n -ef /proc/1/ns/${n##*/} ] && echo $n; done\n"
    "echo; cd /proc/sys/user && for f in *; do echo $f $(cat $f); done\n"
    "echo; for f in /proc/[a-z]*; do echo $f; done\n"
    "echo; for f in /proc/[a-z]*; do [ -d $f ] || echo $f $(head -c1 $f 2>/dev/null | wc -c); "
    "done\n"
    "echo; find / -path /proc -prune -o -path /usr -prune -o -path /workspace -prune -o"
    " -path '/etc/*/*' -prune -o -path /sys/devices -prune -o"
    " -printf '%p %y %m %U %G %n %s %l\\n' | sort\n"
    "echo; ls -d /proc/acpi/* /proc/fs/* /sys/*; ls -n /etc/resolv.conf /proc/cmdline | wc -l\n"
    "echo; cat /etc/passwd /etc/group /etc/hosts /etc/resolv.conf /etc/nsswitch.conf\n"
    "echo; stat -f -c '%T %b %c %s' / /dev /tmp; hostname; umask; cat /proc/net/dev | cut -d: -f1\n"
    "echo; touch /etc/x /usr/x /opt/x /dev/x /sys/x /x /proc/x\n"
    "echo; touch /tmp/x /home/user/x /run/x /var/tmp/x /dev/shm/x /workspace/x && rm /workspace/x\n"
    "echo; mount -o remount,rw /usr; umount /proc/sys; umount /dev; unshare -U true; ls -id /..\n"
    "echo; head -c 40000000 /dev/zero >/tmp/full; stat -c %s /tmp/full\n"
    "echo; (cd /tmp && mkdir $(seq 3000) 2>&1 | wc -l; ls /tmp | wc -l)\n";

struct comparing {
    struct making making;
    bool prepared, taken;
    uint32_t base;
    struct outcome outcome;
};

/* What others mount meanwhile is not this process's business. */
static void own_mounts(void)
{
    must(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0,
         "unshare");
}

static void make_and_look(void *data)
{
    struct comparing *c = data;
    struct making *m = &c->making;
    own_mounts();
    struct runtime *rt = open_launcher();
    struct session *s;
    struct err err = {0};
    int changes;
    if (c->prepared && session_prepare(rt, &changes, &err) < 0)
        die("prepare", &err);
    if (c->prepared)
        c->base = rt->prepared->uid_base;
    if (session_create_lasting(&s, rt, m->spec, &m->lasting, &err) < 0)
        die("create", &err);
    c->taken = c->prepared && !rt->prepared;
    exec_shell(s, m->spec, 1, m->command, 0);
    follow(s, 1, &c->outcome);
    session_leave(s, &m->shared->identity);
    runtime_close(rt);
}

static struct comparing *look_inside(struct spec *spec, int64_t row, bool with, const char *command)
{
    struct comparing *c =
        mmap(NULL, sizeof *c, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    c->prepared = with;
    c->making = (struct making){.spec = spec,
                                .lasting = lasting_of(name_of(row, 1)),
                                .shared = new_shared(),
                                .command = command};
    in_child(make_and_look, c);
    return c;
}

/* From outside: what init's directory of commands ends at, and the limits. */
static void compare_outside(const struct comparing *c)
{
    const struct session_identity *id = &c->making.shared->identity;
    char path[80];
    struct stat at;
    snprintf(path, sizeof path, "/proc/%lld/fd/%d/../../..", (long long)id->init_pid,
             AGENT_FD_CGROUP);
    cr_assert_eq(stat(path, &at), 0, "%s", strerror(errno));
    cr_expect_eq((int64_t)at.st_ino, id->cgroup_inode, "init can go above its own cgroup");
    snprintf(path, sizeof path, "/proc/%lld/root/tmp", (long long)id->init_pid);
    cr_assert_eq(stat(path, &at), 0);
    cr_expect_eq(at.st_uid, id->uid_base);
}

static void compare(struct spec *spec, const char *command)
{
    struct comparing *as_always = look_inside(spec, 1, false, command);
    compare_outside(as_always);
    end(name_of(1, 1));
    struct comparing *prepared = look_inside(spec, 2, true, command);
    compare_outside(prepared);
    end(name_of(2, 1));
    cr_expect(prepared->taken, "it was not used");
    cr_expect_eq(prepared->base, prepared->making.shared->identity.uid_base);
    cr_expect_gt(as_always->outcome.out_length, strlen(command) / 2);
    cr_expect_str_eq(prepared->outcome.out, as_always->outcome.out);
    cr_expect_eq(prepared->outcome.exit.exit_code, as_always->outcome.exit.exit_code);
    assert_nothing(name_of(1, 1));
    assert_nothing(name_of(2, 1));
}

static void same(void)
{
    compare(lasting_spec(), describe);
}
AS_ROOT_ONLY(prepared, a_session_made_of_one_is_in_nothing_different_from_one_that_is_not, same)

static void same_as_root(void)
{
    struct spec *spec = lasting_spec();
    spec->process.uid = spec->process.gid = SPEC_UID_ROOT;
    spec->workspace.kind = SPEC_WORKSPACE_NONE;
    strcpy(spec->workspace.mount_path, "/srv/work");
    spec->limits.scratch_bytes = 4 << 20;
    spec->limits.scratch_inodes = 300;
    spec->mount_count = 1;
    strcpy(spec->mounts[0].source, project);
    strcpy(spec->mounts[0].target, "/opt/tools/here");
    spec->mounts[0].read_only = 1;
    compare(spec, describe);
}
AS_ROOT_ONLY(prepared, it_is_so_with_other_limits_mounts_and_the_sessions_root, same_as_root)

/* ---- once, and only what fits ---------------------------------------------------------------- */

static void make_two(void *data)
{
    struct making *m = data;
    own_mounts();
    struct runtime *rt = open_launcher();
    struct session *s;
    struct err err = {0};
    int changes;
    if (session_prepare(rt, &changes, &err) < 0)
        die("prepare", &err);
    uint32_t base = rt->prepared->uid_base;
    for (int i = 0; i < 2; i++) {
        m->lasting.name = name_of(1 + i, 1);
        if (session_create_lasting(&s, rt, m->spec, &m->lasting, &err) < 0)
            die("create", &err);
        struct session_identity id;
        session_leave(s, &id);
        must((id.uid_base == base) == (i == 0) && !rt->prepared, "it served twice");
    }
    runtime_close(rt);
}

static void once(void)
{
    struct making m = {
        .spec = lasting_spec(), .lasting = lasting_of(name_of(1, 1)), .shared = new_shared()};
    in_child(make_two, &m);
    end(name_of(1, 1));
    end(name_of(2, 1));
}
AS_ROOT_ONLY(prepared, one_serves_one_session_and_the_next_makes_its_own, once)

static void fail_one(void *data)
{
    struct making *m = data;
    own_mounts();
    struct runtime *rt = open_launcher();
    struct session *s;
    struct err err = {0};
    int changes;
    if (session_prepare(rt, &changes, &err) < 0)
        die("prepare", &err);
    strcpy(m->spec->workspace.path, "/nonexistent/berth");
    must(session_create_lasting(&s, rt, m->spec, &m->lasting, &err) < 0, "it was made");
    must(!rt->prepared, "what a failed start had is kept");
    runtime_close(rt);
}

static void failed(void)
{
    struct making m = {
        .spec = lasting_spec(), .lasting = lasting_of(name_of(1, 1)), .shared = new_shared()};
    in_child(fail_one, &m);
    assert_nothing(name_of(1, 1));
}
AS_ROOT_ONLY(prepared, what_a_start_that_failed_had_is_no_others, failed)

/* Each in a child of its own: in a mount namespace in which the host can be changed. */
static void own_host(void)
{
    own_mounts();
    must(mount("t", "/mnt", "tmpfs", 0, "mode=755") == 0, "/mnt");
    must(system("mkdir /mnt/etc && cp -a /etc/services /etc/protocols /etc/ssl /mnt/etc") == 0,
         "copy /etc"); /* NOLINT: a literal */
    must(mount("/mnt/etc", "/etc", NULL, MS_BIND, NULL) == 0, "/etc");
}

static struct prepared *prepare(struct runtime *rt)
{
    struct prepared *p;
    struct err err = {0};
    if (prepared_make(&p, rt, &err) < 0)
        die("prepare", &err);
    return p;
}

static void change_host(void *data)
{
    const struct making *m = data;
    own_host();
    struct runtime *rt = open_launcher();
    struct prepared *p = prepare(rt);
    must(prepared_fits(p, m->spec), "nothing changed");
    must(prepared_fits(p, m->spec), "to ask changes nothing");
    m->spec->image.kind = SPEC_IMAGE_DIR;
    must(!prepared_fits(p, m->spec), "another image");
    m->spec->image.kind = SPEC_IMAGE_HOST;
    m->spec->limits.scratch_inodes = 10;
    must(!prepared_fits(p, m->spec), "a scratch that is too small");
    m->spec->limits.scratch_inodes = 2000;
    must(prepared_fits(p, m->spec), "nothing changed");
    must(rename("/etc/services", "/etc/was") == 0, "rename");
    must(!prepared_fits(p, m->spec), "a file that was bound is gone");
    must(system("cp /etc/was /etc/services") == 0, "copy"); /* NOLINT: a literal */
    must(!prepared_fits(p, m->spec), "another file in its place");
    prepared_free(p);
    p = prepare(rt);
    must(prepared_fits(p, m->spec), "made anew");
    must(system("echo a:1879048192:65536 >/etc/subuid") == 0, "write"); /* NOLINT: a literal */
    must(!prepared_fits(p, m->spec), "ids were given to somebody");
    prepared_free(p);
    p = prepare(rt);
    must(prepared_fits(p, m->spec), "made anew");
    must(mkdir("/mnt/other", 0755) == 0 && mount("t", "/mnt/other", "tmpfs", 0, NULL) == 0,
         "mount");
    must(!prepared_fits(p, m->spec), "something was mounted");
    prepared_free(p);
    runtime_close(rt);
}

static void changed(void)
{
    struct making m = {.spec = lasting_spec()};
    in_child(change_host, &m);
}
AS_ROOT_ONLY(prepared, one_does_not_fit_when_the_host_is_not_what_it_was, changed)

/* A file system that an operator lets go of is not kept by what waits. */
static void let_go(void *data)
{
    (void)data;
    own_host();
    must(mkdir("/mnt/disk", 0755) == 0 && mount("t", "/mnt/disk", "tmpfs", 0, NULL) == 0, "mount");
    struct runtime *rt = open_launcher();
    int changes;
    struct err err = {0};
    if (session_prepare(rt, &changes, &err) < 0)
        die("prepare", &err);
    struct pollfd p = {.fd = changes, .events = POLLPRI};
    must(poll(&p, 1, 0) == 0, "nothing changed");
    must(umount("/mnt/disk") == 0, "umount");
    must(poll(&p, 1, 0) == 1, "it is told");
    char path[64];
    snprintf(path, sizeof path, "/run/berth-share/slots/%u",
             (rt->prepared->uid_base - 1879048192) / 65536);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    must(flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK, "the range is held");
    session_unprepare(rt);
    must(!rt->prepared, "it is kept");
    bool free = false; /* another berth's session may have had it meanwhile */
    for (int i = 0; i < 2000 && !(free = flock(fd, LOCK_EX | LOCK_NB) == 0); i++)
        usleep(10000);
    must(free, "and given back");
    runtime_close(rt);
}

static void told(void)
{
    in_child(let_go, NULL);
}
AS_ROOT_ONLY(prepared, a_mount_that_is_made_or_undone_is_told_and_all_is_given_back, told)

static void refused(void *data)
{
    (void)data;
    struct runtime *rt = open_launcher();
    struct err err = {0};
    int changes;
    must(session_prepare(rt, &changes, &err) == -EOPNOTSUPP && !rt->prepared, "not refused");
    runtime_close(rt);
}

Test(prepared, nothing_is_prepared_for_an_ordinary_users_sessions)
{
    setup_as(AS_SUBUID);
    in_child(refused, NULL);
    teardown_as();
}
