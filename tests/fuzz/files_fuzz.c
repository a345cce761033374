/* This file feeds arbitrary bytes to all that reads what a file worker says or is told (libFuzzer):
 * argv, results, beginnings, entries and paths. What passes must stand up to its own rules.
 *
 * The first byte says which; the rest is its bytes. argv: strings, each with its NUL.
 */
#include "runtime/files.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool holds)
{
    if (!holds)
        abort();
}

/* Its own allocation, so that a read past the end is seen. */
static void *copy_of(const uint8_t *data, size_t size)
{
    void *copy = malloc(size + 1);
    if (copy) {
        memcpy(copy, data, size);
        ((char *)copy)[size] = 0;
    }
    return copy;
}

static void fuzz_argv(const uint8_t *data, size_t size)
{
    static struct files_request request, again;
    static struct files_argv text;
    char *argv[FILES_ARGV_MAX + 2] = {0}, *copy = copy_of(data, size);
    int argc = 0;
    for (size_t at = 0; copy && at < size && argc <= FILES_ARGV_MAX;) {
        argv[argc++] = copy + at;
        at += strlen(copy + at) + 1;
    }
    if (copy && !files_request_from_argv(argc, argv, &request)) {
        demand(!files_request_check(&request));
        demand(files_request_to_argv(&request, &text) == 0);
        int count = 0;
        while (text.argv[count])
            count++;
        demand(count <= FILES_ARGV_MAX);
        demand(!files_request_from_argv(count, (char **)text.argv, &again));
        demand(memcmp(&request, &again, sizeof request) == 0);
    }
    free(copy);
}

static void fuzz_request(const uint8_t *data, size_t size)
{
    static struct files_request request, again;
    static struct files_argv text;
    memset(&request, 0, sizeof request);
    memcpy(&request, data, size < sizeof request ? size : sizeof request);
    if (files_request_to_argv(&request, &text) < 0)
        return;
    int count = 0;
    while (text.argv[count])
        count++;
    demand(!files_request_from_argv(count, (char **)text.argv, &again));
    demand(strcmp(request.path, again.path) == 0 && strcmp(request.path2, again.path2) == 0);
}

static void fuzz_answer(const uint8_t *data, size_t size)
{
    static struct files_result result;
    static struct files_begin begin;
    uint32_t magic = 0;
    if (size >= sizeof magic)
        memcpy(&magic, data, sizeof magic);
    size_t length = files_message_size(magic);
    if (length == sizeof result && size >= length) {
        memcpy(&result, data, length);
        if (!files_result_check(&result, length)) {
            demand(strlen(result.err.detail) < sizeof result.err.detail);
            demand(strlen(result.err.step) < sizeof result.err.step);
            demand(err_code_status((enum err_code)result.err.code) >= 0);
        }
    }
    if (length == sizeof begin && size >= length) {
        memcpy(&begin, data, length);
        if (!files_begin_check(&begin, length) && begin.bytes != UINT64_MAX)
            demand(begin.offset + begin.bytes <= begin.stat.size);
    }
}

/* As a reader of a stream does it. */
static void fuzz_tree(const uint8_t *data, size_t size)
{
    struct files_entry entry;
    for (size_t at = 0; size - at >= sizeof entry;) {
        memcpy(&entry, data + at, sizeof entry);
        at += sizeof entry;
        if (files_entry_check(&entry) || entry.stat.type == FILES_END ||
            entry.path_length > size - at)
            return;
        char *path = copy_of(data + at, entry.path_length);
        if (path && !files_entry_path_check(path, entry.path_length)) {
            demand(strlen(path) == entry.path_length && path[0] != '/');
            demand(!strstr(path, "//") && strcmp(path, "..") != 0);
            demand(strncmp(path, "../", 3) != 0 && !strstr(path, "/../"));
        }
        free(path);
        at += entry.path_length;
        if (entry.stat.type == FILES_DIRECTORY)
            continue;
        if (entry.stat.size > size - at)
            return;
        at += (size_t)entry.stat.size;
    }
}

static void fuzz_outputs(const uint8_t *data, size_t size)
{
    struct files_output output;
    for (size_t at = 0; size - at >= sizeof output;) {
        memcpy(&output, data + at, sizeof output);
        at += sizeof output;
        if (files_output_check(&output) || output.path_length > size - at)
            return;
        demand(strlen(output.sha256) == (output.stat.type == FILES_FILE ? 64 : 0));
        char *path = copy_of(data + at, output.path_length);
        if (path && !files_safe_path_check(path, output.path_length)) {
            demand(!files_entry_path_check(path, output.path_length));
            demand(!strpbrk(path, "\\\n\r\x1b\x7f") && !strstr(path, "/" FILES_TEMPORARY));
        }
        free(path);
        at += output.path_length;
    }
}

static void fuzz_changes(const uint8_t *data, size_t size)
{
    struct files_change change;
    for (size_t at = 0; size - at >= sizeof change;) {
        memcpy(&change, data + at, sizeof change);
        at += sizeof change;
        if (files_change_check(&change) || change.path_length > size - at)
            return;
        demand(change.kind < FILES_CHANGE_END && change.path_length < FILES_PATH_MAX);
        at += change.path_length;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const fuzzers[])(const uint8_t *, size_t) = {
        fuzz_argv, fuzz_request, fuzz_answer, fuzz_tree, fuzz_outputs, fuzz_changes};
    if (size > 0)
        fuzzers[data[0] % 6](data + 1, size - 1);
    return 0;
}
