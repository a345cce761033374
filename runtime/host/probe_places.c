/* This file makes and removes the places that probes write to; it probes nothing.
 *
 * PRIVILEGED: as the launcher. Should: remove exactly what is made here or by the runtime under
 * these names. Mustn't: remove a tree whose maker lives (its lock is held). Caller: probe.c.
 */
#include "runtime/host/probe_places.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/units.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

/* Younger than this, a tree may be between its mkdir() and its lock. */
enum { STALE_SECONDS = 60 };

static void name_places(struct probe_places *places, const struct runtime_facts *facts,
                        const char *id)
{
    *places = (struct probe_places){.lock = -1};
    snprintf(places->id, sizeof places->id, "%s", id);
    snprintf(places->tree, sizeof places->tree, "%s/%s", facts->runtime_dir, id);
    snprintf(places->workspace, sizeof places->workspace, "%s/%s", facts->state_dir, id);
    /* A workspace id of its own: makers at the same time share no directory that one removes. */
    snprintf(places->volume, sizeof places->volume, "%s/volumes/%s/%s", facts->state_dir, id, id);
}

/* Exactly what is made in there; anything else would be a surprise, and stays to be seen. */
void probe_places_remove(struct probe_places *places)
{
    const struct {
        const char *directory, *name;
        bool is_directory;
    } rows[] = {
        {places->workspace, "made-inside", false},
        {places->workspace, ".", true},
        {places->volume, "lock", false},
        {places->volume, "data/made-inside", false},
        {places->volume, "data/kept", false},
        {places->volume, "data", true},
        {places->volume, ".", true},
        {places->volume, "..", true},
        {places->tree, "probe", false},
        {places->tree, ".", true},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        char path[SPEC_PATH_MAX + 16];
        bool self = strcmp(rows[i].name, ".") == 0, parent = strcmp(rows[i].name, "..") == 0;
        snprintf(path, sizeof path, "%s%s%s", rows[i].directory, self || parent ? "" : "/",
                 self || parent ? "" : rows[i].name);
        char *slash = strrchr(path, '/');
        if (parent && slash)
            *slash = 0;
        /* What was never made is not there to be removed. */
        if (rows[i].is_directory)
            (void)rmdir(path);
        else
            (void)unlink(path);
    }
    fd_replace(&places->lock, -1);
}

static int lock_tree(const char *path)
{
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
        return -errno;
    return take_fd(&fd);
}

/* Trees whose maker was killed: nobody holds their lock. */
static void sweep(const struct runtime_facts *facts)
{
    DIR *directory = opendir(facts->runtime_dir);
    if (!directory)
        return;
    for (const struct dirent *e; (e = readdir(directory)) != NULL;) {
        struct probe_places old;
        struct stat st;
        if (strncmp(e->d_name, "probe-", 6) != 0 || strlen(e->d_name) >= sizeof old.id)
            continue;
        name_places(&old, facts, e->d_name);
        if (lstat(old.tree, &st) < 0 || st.st_mtim.tv_sec > time(NULL) - STALE_SECONDS)
            continue;
        old.lock = lock_tree(old.tree);
        if (old.lock >= 0)
            probe_places_remove(&old);
    }
    closedir(directory);
}

/* berth's own program is static: an image needs nothing else. */
static int make_tree(struct probe_places *places, struct err *err)
{
    char path[SPEC_PATH_MAX + 16];
    if (mkdir(places->tree, 0755) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "make a probe image", places->tree, NULL);
    snprintf(path, sizeof path, "%s/probe", places->tree);
    _cleanup_fd_ int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    _cleanup_fd_ int to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0755);
    if (from < 0 || to < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "make a probe image", path, NULL);
    for (;;) {
        ssize_t n = copy_file_range(from, NULL, to, NULL, 1 << 30, 0);
        if (n == 0)
            break;
        if (n > 0)
            continue;
        char block[65536];
        while ((n = read(from, block, sizeof block)) > 0)
            if (io_write_full(to, block, (size_t)n) < 0)
                return err_set(err, ERR_UNAVAILABLE, errno, "make a probe image", path, NULL);
        break;
    }
    struct stat st;
    if (fchmod(to, 0755) < 0 || fstat(to, &st) < 0 || st.st_size == 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "make a probe image", path, NULL);
    return 0;
}

static void make_workspace(struct probe_places *places, const struct runtime_facts *facts)
{
    struct stat st;
    if ((mkdir(facts->state_dir, 0700) < 0 && errno != EEXIST) ||
        mkdir(places->workspace, 0700) < 0 || stat(places->workspace, &st) < 0)
        err_set(&places->err, ERR_UNAVAILABLE, errno, "make a directory", places->workspace,
                "Set BERTH_STATE_DIR to a directory that you can write.");
    else
        places->owner = st.st_uid;
}

int probe_places_make(struct probe_places *places, const struct runtime_facts *facts,
                      struct err *err)
{
    char id[sizeof places->id];
    sweep(facts);
    int r = id_random("probe-", id, sizeof id);
    if (r < 0)
        return err_set(err, ERR_INTERNAL, -r, "make an id", NULL, NULL);
    name_places(places, facts, id);
    r = make_tree(places, err);
    if (r == 0) {
        places->lock = lock_tree(places->tree);
        if (places->lock < 0)
            r = err_set(err, ERR_UNAVAILABLE, -places->lock, "lock", places->tree, NULL);
    }
    if (r == 0)
        make_workspace(places, facts);
    else
        probe_places_remove(places);
    return r;
}
