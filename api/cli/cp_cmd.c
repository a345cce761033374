/* This file is `berth cp`: its words, and which of the two ways they mean; it never copies itself.
 */
#include "api/cli/cp.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/units.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPT_MAX_ENTRIES, OPT_MAX_BYTES };
static const struct cli_option options[] = {
    {"max-entries", "N", "Make at most so many files and directories here. Default: 1000000.",
     OPT_MAX_ENTRIES, 0},
    {"max-bytes", "SIZE", "Write at most so much here. Default: 64GiB.", OPT_MAX_BYTES, 0},
};

static const struct verb_spec spec = {
    .name = "cp",
    .example = "Examples: berth cp ./src build:/workspace/src\n"
               "          berth cp build:dist ./dist\n"
               "          berth cp build:result.json -\n"
               "          berth cp build:dist - | zstd > dist.tar.zst\n",
    .usage = "berth cp SRC DST [options]",
    .text = "Copies a file or a directory; one of the two is SESSION:PATH, - is a standard\n"
            "stream: of a directory as a tar archive, and into one (DST is a directory there,\n"
            "or ends with /) from one. A path in a session that is not absolute begins in the\n"
            "workspace. What has a colon and is here is written ./a:b. A file appears whole or\n"
            "not at all, with its mode, in a directory also its time. Links and special files\n"
            "are not copied, and named; a stream has links.\n\n"
            "Exit status: 0; 1 when something was left out.",
    .options = options,
    .option_count = ARRAY_LENGTH(options),
    .words_min = 2,
    .words_max = 2,
};

int cp_word(const char *word, struct buf *ret_session, const char **ret_path, struct err *err)
{
    size_t n = strcspn(word, ":/");
    *ret_path = word;
    if (word[n] != ':')
        return 0;
    buf_add(ret_session, word, n);
    int r = verb_check_id("cp", buf_text(ret_session), err);
    if (r < 0) {
        err_add(err, "For a file here whose name has a colon, write ./%.100s.", word);
        return r;
    }
    *ret_path = word + n + 1;
    return CP_REMOTE;
}

void cp_path(const char *cwd, const char *path, struct buf *out)
{
    const char *parts[] = {path[0] == '/' ? "" : cwd, path};
    size_t begin = out->length;
    for (size_t i = 0; i < ARRAY_LENGTH(parts); i++)
        for (const char *at = parts[i]; *at;) {
            size_t n = strcspn(at, "/");
            if (n > 0 && !(n == 1 && at[0] == '.')) {
                buf_putc(out, '/');
                buf_add(out, at, n);
            }
            at += n + (at[n] == '/');
        }
    if (out->length == begin)
        buf_putc(out, '/');
}

const char *cp_leaf(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int copy(struct cp *cp, struct err *err)
{
    _cleanup_buf_ struct buf from = {0}, to = {0}, cwd = {0}, path = {0};
    const char *source, *target;
    int down = cp_word(cp->verb->word[0], &from, &source, err);
    int up = down < 0 ? down : cp_word(cp->verb->word[1], &to, &target, err);
    if (up < 0)
        return up;
    if ((down == CP_REMOTE) == (up == CP_REMOTE))
        return err_set(err, ERR_USAGE, 0, "cp", cp->verb->word[0],
                       "One of the two is SESSION:PATH, and only one. Write: %s.", spec.usage);
    const char *remote = down ? source : target;
    cp->verb->word[0] = buf_text(down ? &from : &to);
    verb_session_path(cp->verb, "", &cp->base);
    int r = remote[0] == '/' ? 0 : cp_remote_cwd(cp, &cwd, err);
    if (r < 0)
        return r;
    cp_path(buf_text(&cwd), remote, &path);
    bool into = remote[0] && remote[strlen(remote) - 1] == '/';
    if (buf_failed(&path) || buf_failed(&cp->base))
        return err_set(err, ERR_INTERNAL, ENOMEM, "cp", NULL, NULL);
    return down ? cp_down(cp, buf_text(&path), target, err)
                : cp_up(cp, source, buf_text(&path), into, err);
}

static int take(void *own, const struct cli_option *option, const char *value, struct err *err)
{
    struct cp *cp = own;
    bool entries = option->id == OPT_MAX_ENTRIES;
    int r = entries ? units_parse_u64(value, &cp->entries_max)
                    : units_parse_size(value, &cp->bytes_max);
    return r < 0 ? err_set(err, ERR_USAGE, 0, entries ? "--max-entries" : "--max-bytes", value,
                           entries ? "Allowed: a number." : "Allowed: a size like 200GiB.")
                 : 0;
}

int cli_cp(int argc, char **argv)
{
    _cleanup_verb_ struct verb verb;
    _cleanup_buf_ struct buf out = {0};
    struct err err;
    int status;
    struct cp cp = {
        .verb = &verb, .mask = umask(077), .entries_max = 1000000, .bytes_max = UINT64_C(64) << 30};
    umask(cp.mask);
    if (!verb_begin(&verb, &spec, argc, argv, take, &cp, &status))
        return status;
    int r = copy(&cp, &err);
    buf_fini(&cp.base);
    cp_left_out_end(&cp);
    if (cp.lines.length > 0)
        (void)io_write_full(STDERR_FILENO, buf_text(&cp.lines), cp.lines.length);
    buf_fini(&cp.lines);
    if (r < 0)
        return verb_fail(&verb, &err);
    buf_printf(&out,
               "{\"files\": %" PRIu64 ", \"directories\": %" PRIu64 ", \"bytes\": %" PRIu64
               ", \"left_out\": %" PRIu64 "}\n",
               cp.files, cp.directories, cp.bytes, cp.left_out);
    /* Where the copy itself is on stdout, the record is not. */
    if (verb.json && cli_print(strcmp(verb.word[1], "-") == 0 ? 2 : 1, &out))
        return CLI_EXIT_BERTH;
    return cp.left_out ? CLI_EXIT_NO : CLI_EXIT_OK;
}
