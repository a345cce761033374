/* This file is `berth ledger`: a copy of a running berth's ledger, and one that is to come back. It
 * never opens a database: front makes the copy, and front takes one that comes back, at its next
 * start (provider/ledger_restore.c).
 *
 * backup speaks to a service; restore is refused while there is one, and needs who owns the state
 * directory. What it leaves there it made itself, through descriptors: the directory is front's.
 */
#include "api/cli/serve.h"
#include "api/cli/verb.h"
#include "provider/ledger_file.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPT_CONFIG };

static const struct cli_option restore_options[] = {
    {"config", "FILE", "That of `berth serve`. Default for root: /etc/berth/berth.jsonc.",
     OPT_CONFIG, 0},
};
static const struct verb_spec backup_spec = {
    .name = "ledger backup",
    .example = "Example:  berth ledger backup /var/backups/berth.ledger\n",
    .usage = "berth ledger backup FILE [options]",
    .text = "Copies the ledger of a berth while it serves: what it knows of sessions, commands,\n"
            "events and tokens' hashes. FILE gets mode 0600 and is replaced when the copy is\n"
            "whole and on the disk. Workspaces and output are not in it.",
    .words_min = 1,
    .words_max = 1,
};
static const struct verb_spec restore_spec = {
    .name = "ledger restore",
    .example = "Example:  berth ledger restore /var/backups/berth.ledger\n",
    .usage = "berth ledger restore FILE [options]",
    .text = "Has the next `berth serve` go on with a copy of its ledger; the one that is there is\n"
            "kept beside it. Refused while it serves. Sessions that live then are parked, those\n"
            "that the copy does not know are ended, and every token is over.",
    .options = restore_options,
    .option_count = ARRAY_LENGTH(restore_options),
    .words_min = 1,
    .words_max = 1,
};

static int failed(struct err *err, const char *step, const char *path)
{
    return err_set(
        err, errno == ENOSPC || errno == EDQUOT ? ERR_INSUFFICIENT_STORAGE : ERR_INVALID_REQUEST,
        errno, step, path, "%s",
        errno == ENOENT || errno == ENOTDIR ? "Name one that is there, or make it first." : "");
}

/* ---- what a file is -------------------------------------------------------------------------- */

static uint32_t big_endian(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static int check_header(int fd, const char *path, struct err *err)
{
    unsigned char header[LEDGER_HEADER_SIZE];
    ssize_t n = pread(fd, header, sizeof header, 0);
    if (n != (ssize_t)sizeof header || memcmp(header, LEDGER_MAGIC, sizeof LEDGER_MAGIC) != 0 ||
        big_endian(header + LEDGER_AT_APPLICATION) != LEDGER_APPLICATION_ID)
        return err_set(err, ERR_INVALID_REQUEST, 0, "read the copy", path,
                       "It is not a copy of a ledger of berth.");
    uint32_t version = big_endian(header + LEDGER_AT_VERSION);
    if (version == 0 || version > LEDGER_SCHEMA_LATEST)
        return err_set(err, ERR_INVALID_REQUEST, 0, "read the copy", path,
                       "A newer berth made it: its ledger is of version %u, and this berth knows "
                       "up to %d. Install that berth first.",
                       (unsigned)version, LEDGER_SCHEMA_LATEST);
    return 0;
}

/* ---- backup ---------------------------------------------------------------------------------- */

static int receive(struct verb *verb, int fd, const char *path, struct err *err)
{
    const struct client_request request = {.method = "GET", .path = "/v1/ledger"};
    struct client_stream *stream = NULL;
    const char *piece;
    size_t length;
    int r = client_stream_open(verb->client, &request, &stream, err);
    while (r == 0) {
        r = client_stream_wait(stream, &piece, &length, err);
        if (r == 0 && io_write_full(fd, piece, length) < 0)
            r = failed(err, "write the copy", path);
    }
    client_stream_free(stream);
    if (r == CLIENT_STREAM_END)
        r = check_header(fd, path, err);
    return r == 0 && fsync(fd) < 0 ? failed(err, "write the copy", path) : r;
}

static int backup_to(struct verb *verb, const char *path, struct err *err)
{
    char directory[SPEC_PATH_MAX], temporary[32];
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    int n = slash ? (int)(slash - path) : 0;
    if (n >= (int)sizeof directory || !name[0])
        return err_set(err, ERR_USAGE, 0, "name of the copy", path, "Write the name of a file.");
    snprintf(directory, sizeof directory, "%.*s", n ? n : 1, n ? path : slash ? "/" : ".");
    int r = id_random(".berth-ledger-", temporary, sizeof temporary);
    if (r < 0)
        return err_set(err, ERR_INTERNAL, -r, "make a name", NULL, NULL);
    _cleanup_fd_ int at = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (at < 0)
        return failed(err, "open the directory", directory);
    _cleanup_fd_ int fd =
        openat(at, temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return failed(err, "make a file in", directory);
    r = receive(verb, fd, path, err);
    if (r == 0 && (renameat(at, temporary, at, name) < 0 || fsync(at) < 0))
        r = failed(err, "write the copy", path);
    if (r < 0)
        unlinkat(at, temporary, 0);
    return r;
}

static int backup(int argc, char **argv)
{
    _cleanup_verb_ struct verb verb;
    struct err err;
    int status;
    if (!verb_begin(&verb, &backup_spec, argc, argv, NULL, NULL, &status))
        return status;
    return backup_to(&verb, verb.word[0], &err) < 0 ? verb_fail(&verb, &err) : CLI_EXIT_OK;
}

/* ---- restore --------------------------------------------------------------------------------- */

static struct serve_plan the_plan;

static int copy(int from, int to, const char *path, struct err *err)
{
    static char piece[1 << 16];
    for (;;) {
        ssize_t n = read(from, piece, sizeof piece);
        if (n == 0)
            return 0;
        if (n < 0 || io_write_full(to, piece, (size_t)n) < 0)
            return failed(err, "copy", path);
    }
}

/* Whole and on the disk, and the service's own, before it has the name that the next start looks
 * for. */
static int place(int from, const char *path, int directory, struct err *err)
{
    static const char temporary[] = LEDGER_NAME_RESTORE ".new";
    unlinkat(directory, temporary, 0); /* of one that was killed */
    _cleanup_fd_ int fd =
        openat(directory, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    struct stat st;
    if (fd < 0 || fstat(directory, &st) < 0)
        return failed(err, "make a file in", "the ledger's directory");
    int r = copy(from, fd, path, err);
    if (r == 0 && (fchown(fd, st.st_uid, st.st_gid) < 0 || fsync(fd) < 0))
        r = failed(err, "copy", path);
    /* An older one that waits goes first, and its log after it: neither is whole without the other.
     */
    if (r == 0) {
        unlinkat(directory, LEDGER_NAME_RESTORE, 0);
        unlinkat(directory, LEDGER_NAME_RESTORE "-wal", 0);
    }
    if (r == 0 && (renameat(directory, temporary, directory, LEDGER_NAME_RESTORE) < 0 ||
                   fsync(directory) < 0))
        r = failed(err, "copy", path);
    if (r < 0)
        unlinkat(directory, temporary, 0);
    return r;
}

/* Half of a ledger may stand in the log beside it, and only this file would be copied. */
static int check_no_log(const char *path, struct err *err)
{
    char log[PATH_MAX];
    struct stat st;
    int n = snprintf(log, sizeof log, "%s-wal", path);
    if (n < 0 || (size_t)n >= sizeof log || stat(log, &st) < 0 || st.st_size == 0)
        return 0;
    return err_set(err, ERR_INVALID_REQUEST, 0, "bring back", path,
                   "It has a log beside it (%s), without which it is not whole. Write it into the "
                   "file first: sqlite3 FILE 'PRAGMA wal_checkpoint(TRUNCATE)'",
                   log);
}

static int restore_from(const struct serve_options *options, const char *path, struct err *err)
{
    struct serve_place here = {.state_lock = -1, .runtime_lock = -1, .listen = -1};
    _cleanup_fd_ int ledger = -1, from = open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0)
        return failed(err, "open the copy", path);
    int r = check_header(from, path, err);
    if (r == 0)
        r = check_no_log(path, err);
    if (r == 0)
        r = serve_config_all(options, &the_plan, err);
    if (r == 0)
        r = serve_place_ledger(&here, &the_plan, &ledger, err);
    if (r == 0)
        r = place(from, path, ledger, err);
    serve_place_close(&here);
    buf_fini(&the_plan.ceiling);
    return r;
}

static int take(void *own, const struct cli_option *option, const char *value, struct err *err)
{
    struct serve_options *options = own;
    (void)option;
    (void)err;
    options->config = value;
    return 0;
}

static int restore(int argc, char **argv)
{
    static const char told[] =
        "berth: the next `berth serve` goes on with it; the ledger of now is kept as "
        "ledger/" LEDGER_NAME_REPLACED "\n";
    struct serve_options options = {0};
    _cleanup_buf_ struct buf help = {0};
    struct verb verb = {0};
    struct err err;
    int r = verb_parse(&verb, &restore_spec, argc, argv, take, &options, &err);
    if (r == VERB_HELP) {
        verb_help(&restore_spec, &help);
        return cli_print(STDOUT_FILENO, &help);
    }
    if (r == 0 && verb.host)
        r = err_set(&err, ERR_USAGE, 0, "ledger restore", "--host",
                    "It is done where the ledger is, while nobody serves it.");
    if (r == 0)
        r = serve_config_path(&options, options.config_path, &err);
    if (r == 0)
        r = restore_from(&options, verb.word[0], &err);
    if (r < 0)
        return cli_fail_json(&err, verb.json);
    if (!verb.quiet)
        (void)io_write_full(STDERR_FILENO, told, sizeof told - 1);
    return CLI_EXIT_OK;
}

static const struct verb_group group = {
    .name = "ledger",
    .example = "Examples: berth ledger backup /var/backups/berth.ledger\n"
               "          berth ledger restore /var/backups/berth.ledger\n",
    .text = "The ledger is what a berth knows of its sessions, commands, events and tokens.",
    .verbs =
        {
            {"backup", backup, "Copy it, while the service runs."},
            {"restore", restore, "Go on with a copy, from the next start."},
        },
};

int cli_ledger(int argc, char **argv)
{
    return verb_group_run(&group, argc, argv);
}
