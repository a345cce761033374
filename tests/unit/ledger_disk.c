/* This file tests what a caller is told when the disk refuses a call of SQLite's own unix file
 * system: whichever call it was, and whichever of its numbers the system gave. What becomes of the
 * rows is tests/crash's.
 */
#include "ledger_fixture.h"
#include "provider/ledger_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <sys/syscall.h>

TestSuite(ledger_disk, .init = fixture_make_directory, .fini = fixture_fini);

enum refused { NOTHING, WRITE, SYNC, CREATE };

/* Read by the ledger's thread. */
static enum refused refused;
static int refused_errno, refused_count;

static bool refuses(enum refused call)
{
    if (__atomic_load_n(&refused, __ATOMIC_SEQ_CST) != call)
        return false;
    __atomic_fetch_add(&refused_count, 1, __ATOMIC_SEQ_CST);
    errno = refused_errno;
    return true;
}

static void disk_refuses(enum refused call, int number)
{
    refused_errno = number;
    __atomic_store_n(&refused_count, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&refused, call, __ATOMIC_SEQ_CST);
}

/* SQLite has no table entry for these two: the linker takes ours. */
int fdatasync(int fd)
{
    return refuses(SYNC) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    return refuses(SYNC) ? -1 : (int)syscall(SYS_fsync, fd);
}

static ssize_t refusing_write(int fd, const void *data, size_t length)
{
    return refuses(WRITE) ? -1 : write(fd, data, length);
}

static ssize_t refusing_pwrite(int fd, const void *data, size_t length, off_t offset)
{
    return refuses(WRITE) ? -1 : pwrite(fd, data, length, offset);
}

/* For the ledger and for SQLite. A file that is there can be opened. */
int open(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    bool unnamed = (flags & O_TMPFILE) == O_TMPFILE; /* it shares a bit with O_DIRECTORY */
    mode_t mode = unnamed || (flags & O_CREAT) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    bool makes = unnamed || ((flags & O_CREAT) && access(path, F_OK) != 0);
    if (makes && refuses(CREATE))
        return -1;
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

static int refusing_open(const char *path, int flags, int mode)
{
    return open(path, flags, (mode_t)mode);
}

static void come_between(void)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find("unix");
    cr_assert(vfs);
    /* Which of the writes is used was chosen when the library was built. */
    vfs->xSetSystemCall(vfs, "write", (sqlite3_syscall_ptr)refusing_write);
    vfs->xSetSystemCall(vfs, "pwrite", (sqlite3_syscall_ptr)refusing_pwrite);
    vfs->xSetSystemCall(vfs, "pwrite64", (sqlite3_syscall_ptr)refusing_pwrite);
    cr_assert_eq(vfs->xSetSystemCall(vfs, "open", (sqlite3_syscall_ptr)refusing_open), SQLITE_OK);
}

static int add(struct ledger_tx *tx, void *data, struct err *err)
{
    (void)data;
    return ledger_audit_add(tx, "w", "s", "who", "what", "", 0, err);
}

static int write_full(struct err *err, bool *ret_certain)
{
    struct ledger_job job = {.op = LEDGER_OP_VOLUME_CREATE, .apply = add};
    int r = ledger_run(fixture_ledger, &job, err);
    *ret_certain = job.certain;
    return r;
}

static const struct {
    enum refused call;
    int number;
    enum err_code told;
} refusals[] = {
    {WRITE, ENOSPC, ERR_INSUFFICIENT_STORAGE},
    {WRITE, EDQUOT, ERR_INSUFFICIENT_STORAGE},
    {SYNC, ENOSPC, ERR_INSUFFICIENT_STORAGE},
    {SYNC, EDQUOT, ERR_INSUFFICIENT_STORAGE},
    {WRITE, EIO, ERR_UNAVAILABLE},
    {SYNC, EIO, ERR_UNAVAILABLE},
};

Test(ledger_disk, a_commit_that_the_disk_refuses_tells_a_full_disk_from_a_failing_one)
{
    come_between();
    fixture_options.retry_ms = 60000; /* what the commit said, not a probe after it */
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        struct err err = {0};
        bool certain;
        fixture_open();
        fixture_must(write_full(&err, &certain), &err);
        disk_refuses(refusals[i].call, refusals[i].number);
        cr_assert_lt(write_full(&err, &certain), 0);
        cr_expect_eq(err.code, refusals[i].told, "row %zu: %d, %s", i, err.code, err.detail);
        cr_expect_gt(refused_count, 0);
        /* The next one is refused before it is tried, for the same reason. */
        err = (struct err){0};
        cr_assert_lt(write_full(&err, &certain), 0);
        cr_expect(certain);
        cr_expect_eq(err.code, refusals[i].told, "row %zu: %d, %s", i, err.code, err.detail);
        disk_refuses(NOTHING, 0);
        ledger_close(fixture_ledger);
        fixture_ledger = NULL;
    }
}

Test(ledger_disk, a_probe_that_the_disk_refuses_tells_a_full_disk_from_a_failing_one)
{
    come_between();
    fixture_options.retry_ms = 1;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        struct err err = {0};
        bool certain;
        fixture_open();
        fixture_must(write_full(&err, &certain), &err);
        disk_refuses(refusals[i].call, refusals[i].number);
        for (int n = 0; n < 5; n++) {
            err = (struct err){0};
            cr_assert_lt(write_full(&err, &certain), 0);
            cr_expect_eq(err.code, refusals[i].told, "row %zu: %d, %s", i, err.code, err.detail);
            usleep(20000);
        }
        disk_refuses(NOTHING, 0);
        int r = -1;
        for (int n = 0; r < 0 && n < 2000; n++) {
            r = write_full(&err, &certain);
            usleep(1000);
        }
        fixture_must(r, &err);
        ledger_close(fixture_ledger);
        fixture_ledger = NULL;
    }
}

Test(ledger_disk, a_new_ledger_that_the_disk_refuses_tells_a_full_disk_from_another_failure)
{
    static const struct {
        enum refused call;
        int number;
        enum err_code told;
    } rows[] = {{CREATE, ENOSPC, ERR_INSUFFICIENT_STORAGE},
                {CREATE, EDQUOT, ERR_INSUFFICIENT_STORAGE},
                {CREATE, EMFILE, ERR_UNAVAILABLE},
                {CREATE, EACCES, ERR_UNAVAILABLE},
                {WRITE, ENOSPC, ERR_INSUFFICIENT_STORAGE},
                {WRITE, EDQUOT, ERR_INSUFFICIENT_STORAGE},
                {WRITE, EIO, ERR_UNAVAILABLE},
                {SYNC, ENOSPC, ERR_INSUFFICIENT_STORAGE},
                {SYNC, EIO, ERR_UNAVAILABLE}};
    come_between();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err err = {0};
        disk_refuses(rows[i].call, rows[i].number);
        cr_assert_lt(ledger_open(&fixture_ledger, &fixture_options, &err), 0);
        cr_expect_eq(err.code, rows[i].told, "row %zu: %d, %s", i, err.code, err.detail);
        cr_expect_gt(refused_count, 0);
        disk_refuses(NOTHING, 0);
    }
    fixture_open();
}

/* The directory can be read, and the log that a clean end removed cannot be made again. */
Test(ledger_disk, a_log_that_cannot_be_made_on_a_full_disk_is_told_as_such)
{
    struct err err = {0};
    come_between();
    fixture_open();
    ledger_close(fixture_ledger);
    fixture_ledger = NULL;
    disk_refuses(CREATE, ENOSPC);
    cr_assert_lt(ledger_open(&fixture_ledger, &fixture_options, &err), 0);
    cr_expect_eq(err.code, ERR_INSUFFICIENT_STORAGE, "%d, %s", err.code, err.detail);
    cr_expect_gt(refused_count, 0);
    disk_refuses(NOTHING, 0);
    fixture_open();
}
