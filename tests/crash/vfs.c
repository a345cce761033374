/* This file is the file system of vfs.h; it never is part of a shipped program. */
#include "tests/crash/vfs.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NODES_MAX = 16, SECTOR = 512, STATUS_CUT = 99 };

struct change {
    struct change *next;
    sqlite3_int64 offset; /* of a write; -1: truncation to `length` */
    size_t length;
    unsigned char data[];
};

/* One file name: what is on the disk, and what is not yet. */
struct node {
    char name[512];
    bool exists;
    unsigned char *durable;
    size_t length;
    struct change *first, **end;
};

struct file {
    sqlite3_file base;
    struct node *node;
    int last_errno;     /* of this file, as the unix file system keeps it */
    sqlite3_file *real; /* follows in memory */
};

static sqlite3_vfs *real_vfs;
static struct node nodes[NODES_MAX];
static unsigned long cut_at, calls;
static unsigned cut_seed;
static char cut_directory[512];

static enum vfs_fault fault;
static unsigned long fault_nth, fault_times, fault_calls, refused;
static int last_errno;
static unsigned long open_nth, open_calls; /* EMFILE: opening comes after another failure */

/* ---- faults
 * -----------------------------------------------------------------------------------------*/

static bool fails(enum vfs_fault kind)
{
    if (fault != kind && !(fault == VFS_EMFILE && kind == VFS_EIO))
        return false;
    fault_calls++;
    bool now =
        fault_calls >= fault_nth && (fault_times == 0 || fault_calls < fault_nth + fault_times);
    refused += now;
    return now;
}

void vfs_fail(enum vfs_fault kind, unsigned long nth, unsigned long times)
{
    fault_nth = nth;
    fault_times = times;
    fault_calls = refused = open_calls = 0;
    open_nth = 1 + nth % 4;
    __atomic_store_n(&fault, kind, __ATOMIC_SEQ_CST);
}

void vfs_heal(void)
{
    __atomic_store_n(&fault, VFS_NONE, __ATOMIC_SEQ_CST);
}

unsigned long vfs_failed(void)
{
    return refused;
}

static sqlite3_mem_methods real_memory;

static void *fallible_malloc(int size)
{
    return fails(VFS_ENOMEM) ? NULL : real_memory.xMalloc(size);
}

static void *fallible_realloc(void *old, int size)
{
    return fails(VFS_ENOMEM) ? NULL : real_memory.xRealloc(old, size);
}

/* ---- what a disk holds
 * ---------------------------------------------------------------------------------*/

static struct node *node_of(const char *name)
{
    size_t i = 0;
    while (i < NODES_MAX && nodes[i].name[0] && strcmp(nodes[i].name, name) != 0)
        i++;
    if (i == NODES_MAX)
        abort();
    if (!nodes[i].name[0]) {
        snprintf(nodes[i].name, sizeof nodes[i].name, "%s", name);
        nodes[i].end = &nodes[i].first;
    }
    return &nodes[i];
}

static void durable_write(struct node *node, size_t offset, const void *data, size_t length)
{
    if (offset + length > node->length) {
        unsigned char *more = realloc(node->durable, offset + length);
        if (!more)
            abort();
        memset(more + node->length, 0, offset + length - node->length);
        node->durable = more;
        node->length = offset + length;
    }
    memcpy(node->durable + offset, data, length);
}

/* What a file had before this process is on the disk already. */
static void load(struct node *node)
{
    unsigned char buffer[65536];
    ssize_t n;
    int fd = open(node->name, O_RDONLY);
    if (fd < 0 || node->exists || node->first || node->length > 0) {
        if (fd >= 0)
            close(fd);
        return;
    }
    while ((n = read(fd, buffer, sizeof buffer)) > 0)
        durable_write(node, node->length, buffer, (size_t)n);
    node->exists = node->length > 0;
    close(fd);
}

static void apply(struct node *node, const struct change *change)
{
    if (change->offset >= 0)
        durable_write(node, (size_t)change->offset, change->data, change->length);
    else if (change->length < node->length)
        node->length = change->length;
}

/* A change that was under way when the power went: whole, absent, or some sectors of it. */
static void apply_torn(struct node *node, const struct change *change)
{
    unsigned luck = (unsigned)rand_r(&cut_seed) % 3;
    if (luck == 0)
        return;
    if (luck == 1 || change->offset < 0) {
        apply(node, change);
        return;
    }
    for (size_t at = 0; at < change->length; at += SECTOR) {
        size_t length = change->length - at < SECTOR ? change->length - at : SECTOR;
        if (rand_r(&cut_seed) % 2)
            durable_write(node, (size_t)change->offset + at, change->data + at, length);
    }
}

static void forget(struct node *node)
{
    for (struct change *next; node->first; node->first = next) {
        next = node->first->next;
        free(node->first);
    }
    node->end = &node->first;
}

static void remember(struct node *node, sqlite3_int64 offset, const void *data, size_t length)
{
    struct change *change = malloc(sizeof *change + (offset >= 0 ? length : 0));
    if (!change)
        abort();
    *change = (struct change){.offset = offset, .length = length};
    if (offset >= 0)
        memcpy(change->data, data, length);
    *node->end = change;
    node->end = &change->next;
}

static void cut(void)
{
    for (size_t i = 0; i < NODES_MAX && nodes[i].name[0]; i++) {
        struct node *node = &nodes[i];
        char path[1100];
        for (struct change *change = node->first; change; change = change->next)
            apply_torn(node, change);
        if (!node->exists)
            continue;
        const char *base = strrchr(node->name, '/');
        if (snprintf(path, sizeof path, "%s/%s", cut_directory, base ? base + 1 : node->name) >=
            (int)sizeof path)
            abort();
        int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
        if (fd < 0 || write(fd, node->durable, node->length) != (ssize_t)node->length)
            abort();
        close(fd);
    }
    _exit(STATUS_CUT);
}

static void count_call(void)
{
    if (cut_at > 0 && ++calls >= cut_at)
        cut();
}

void vfs_cut_power(unsigned long nth, unsigned seed, const char *directory)
{
    snprintf(cut_directory, sizeof cut_directory, "%s", directory);
    cut_seed = seed;
    calls = 0;
    cut_at = nth;
}

/* ---- the methods of a file
 * ------------------------------------------------------------------------------*/

static sqlite3_file *real_of(sqlite3_file *file)
{
    return ((struct file *)file)->real;
}

static int on_close(sqlite3_file *file)
{
    return real_of(file)->pMethods->xClose(real_of(file));
}

static int on_read(sqlite3_file *file, void *data, int length, sqlite3_int64 offset)
{
    return real_of(file)->pMethods->xRead(real_of(file), data, length, offset);
}

static int refuse(sqlite3_file *file, int number, int code)
{
    last_errno = number;
    ((struct file *)file)->last_errno = code == SQLITE_FULL ? 0 : number;
    return code;
}

static int on_write(sqlite3_file *file, const void *data, int length, sqlite3_int64 offset)
{
    /* The unix file system has a code of its own for a full disk, and none for a quota. */
    if (fails(VFS_ENOSPC))
        return fault_calls % 2 ? refuse(file, ENOSPC, SQLITE_FULL)
                               : refuse(file, EDQUOT, SQLITE_IOERR_WRITE);
    if (fails(VFS_EIO))
        return refuse(file, EIO, SQLITE_IOERR_WRITE);
    int rc = real_of(file)->pMethods->xWrite(real_of(file), data, length, offset);
    if (rc == SQLITE_OK && cut_directory[0])
        remember(((struct file *)file)->node, offset, data, (size_t)length);
    count_call();
    return rc;
}

static int on_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    if (fails(VFS_EIO))
        return refuse(file, EIO, SQLITE_IOERR_TRUNCATE);
    int rc = real_of(file)->pMethods->xTruncate(real_of(file), size);
    if (rc == SQLITE_OK && cut_directory[0])
        remember(((struct file *)file)->node, -1, NULL, (size_t)size);
    count_call();
    return rc;
}

static int on_sync(sqlite3_file *file, int flags)
{
    struct node *node = ((struct file *)file)->node;
    count_call(); /* the power may go before anything of this sync was done */
    if (fails(VFS_EIO))
        return refuse(file, EIO, SQLITE_IOERR_FSYNC);
    if (fails(VFS_ENOSPC)) /* a file system may find out this late */
        return refuse(file, ENOSPC, SQLITE_IOERR_FSYNC);
    for (struct change *change = node->first; change; change = change->next)
        apply(node, change);
    forget(node);
    node->exists = true;
    /* What the real one would sync matters to no test here, and costs. */
    (void)flags;
    return SQLITE_OK;
}

static int on_size(sqlite3_file *file, sqlite3_int64 *ret)
{
    return real_of(file)->pMethods->xFileSize(real_of(file), ret);
}

static int on_lock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xLock(real_of(file), level);
}

static int on_unlock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xUnlock(real_of(file), level);
}

static int on_check_lock(sqlite3_file *file, int *ret)
{
    return real_of(file)->pMethods->xCheckReservedLock(real_of(file), ret);
}

static int on_control(sqlite3_file *file, int op, void *argument)
{
    if (op == SQLITE_FCNTL_LAST_ERRNO && ((struct file *)file)->last_errno != 0) {
        *(int *)argument = ((struct file *)file)->last_errno;
        return SQLITE_OK;
    }
    return real_of(file)->pMethods->xFileControl(real_of(file), op, argument);
}

static int on_sector_size(sqlite3_file *file)
{
    (void)file;
    return SECTOR;
}

/* Nothing is promised: not even that a write beyond the end leaves the rest alone. */
static int on_characteristics(sqlite3_file *file)
{
    (void)file;
    return 0;
}

/* Version 1: no shared memory. The ledger works without, or not at all. */
static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = on_close,
    .xRead = on_read,
    .xWrite = on_write,
    .xTruncate = on_truncate,
    .xSync = on_sync,
    .xFileSize = on_size,
    .xLock = on_lock,
    .xUnlock = on_unlock,
    .xCheckReservedLock = on_check_lock,
    .xFileControl = on_control,
    .xSectorSize = on_sector_size,
    .xDeviceCharacteristics = on_characteristics,
};

static int on_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *base, int flags, int *ret)
{
    struct file *file = (struct file *)base;
    (void)vfs;
    memset(file, 0, sizeof *file);
    if (fault == VFS_EMFILE && ++open_calls >= open_nth && open_calls < open_nth + 2) {
        refused++;
        return SQLITE_CANTOPEN;
    }
    file->real = (sqlite3_file *)(file + 1);
    int rc = real_vfs->xOpen(real_vfs, name, file->real, flags, ret);
    if (rc != SQLITE_OK)
        return rc;
    file->node = node_of(name ? name : "temporary");
    if (name && cut_directory[0])
        load(file->node);
    base->pMethods = &methods;
    return SQLITE_OK;
}

static int on_delete(sqlite3_vfs *vfs, const char *name, int sync_directory)
{
    (void)vfs;
    if (fails(VFS_EIO))
        return SQLITE_IOERR_DELETE;
    int rc = real_vfs->xDelete(real_vfs, name, sync_directory);
    if (rc == SQLITE_OK && cut_directory[0]) {
        struct node *node = node_of(name);
        forget(node);
        /* Without a sync of the directory the name may come back with what it had. */
        if (sync_directory || rand_r(&cut_seed) % 2) {
            node->exists = false;
            node->length = 0;
        }
    }
    return rc;
}

static int on_access(sqlite3_vfs *vfs, const char *name, int flags, int *ret)
{
    (void)vfs;
    return real_vfs->xAccess(real_vfs, name, flags, ret);
}

static int on_full_name(sqlite3_vfs *vfs, const char *name, int size, char *ret)
{
    (void)vfs;
    return real_vfs->xFullPathname(real_vfs, name, size, ret);
}

static int on_random(sqlite3_vfs *vfs, int size, char *ret)
{
    (void)vfs;
    return real_vfs->xRandomness(real_vfs, size, ret);
}

static int on_sleep(sqlite3_vfs *vfs, int us)
{
    (void)vfs;
    return real_vfs->xSleep(real_vfs, us);
}

static int on_time(sqlite3_vfs *vfs, double *ret)
{
    (void)vfs;
    return real_vfs->xCurrentTime(real_vfs, ret);
}

static int on_last_error(sqlite3_vfs *vfs, int size, char *ret)
{
    (void)vfs;
    (void)size;
    (void)ret;
    return last_errno;
}

void vfs_init(void)
{
    static sqlite3_vfs crash = {
        .iVersion = 1,
        .zName = "crash",
        .xOpen = on_open,
        .xDelete = on_delete,
        .xAccess = on_access,
        .xFullPathname = on_full_name,
        .xRandomness = on_random,
        .xSleep = on_sleep,
        .xCurrentTime = on_time,
        .xGetLastError = on_last_error,
    };
    sqlite3_mem_methods memory;
    sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real_memory);
    memory = real_memory;
    memory.xMalloc = fallible_malloc;
    memory.xRealloc = fallible_realloc;
    sqlite3_config(SQLITE_CONFIG_MALLOC, &memory);
    real_vfs = sqlite3_vfs_find(NULL);
    crash.szOsFile = (int)sizeof(struct file) + real_vfs->szOsFile;
    crash.mxPathname = real_vfs->mxPathname;
    sqlite3_vfs_register(&crash, 0);
}

const char *vfs_integrity(const char *path)
{
    static char answer[512];
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    snprintf(answer, sizeof answer, "cannot be read");
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
        sqlite3_exec(db, "PRAGMA locking_mode=EXCLUSIVE", NULL, NULL, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &s, NULL) == SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW)
        snprintf(answer, sizeof answer, "%s", (const char *)sqlite3_column_text(s, 0));
    sqlite3_finalize(s);
    s = NULL;
    if (strcmp(answer, "ok") == 0 &&
        sqlite3_prepare_v2(db, "PRAGMA foreign_key_check", -1, &s, NULL) == SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW)
        snprintf(answer, sizeof answer, "a row refers to one that is not there");
    sqlite3_finalize(s);
    sqlite3_close(db);
    return answer;
}

int64_t vfs_number(const char *path, const char *sql)
{
    int64_t number = -1;
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
        sqlite3_exec(db, "PRAGMA locking_mode=EXCLUSIVE", NULL, NULL, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
        number = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return number;
}
