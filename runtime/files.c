/* This file checks requests, answers and entries of the file worker and turns a request into argv
 * and back; it never touches a file. Pure.
 */
#include "runtime/files.h"

#include "runtime/base/fd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(struct files_result) <= PIPE_BUF, "a result is one atomic write");
_Static_assert(sizeof(struct files_begin) <= PIPE_BUF, "so is what comes before the data");
_Static_assert(sizeof(struct files_begin) % 8 == 0 && sizeof(struct files_entry) % 8 == 0 &&
                   sizeof(struct files_output) % 8 == 0,
               "no byte of padding at the end");

static const char *const names[] = {
#define X(symbol, name, in, out) [FILES_##symbol] = (name),
    FILES_OPERATIONS(X)
#undef X
};

static const struct {
    bool in, out;
} data[] = {
#define X(symbol, name, data_in, data_out) [FILES_##symbol] = {data_in, data_out},
    FILES_OPERATIONS(X)
#undef X
};

const char *files_operation_name(unsigned operation)
{
    return operation > FILES_NONE && operation < FILES_OPERATION_END ? names[operation] : "unknown";
}

bool files_operation_has_in(unsigned operation)
{
    return operation < FILES_OPERATION_END && data[operation].in;
}

bool files_operation_has_out(unsigned operation)
{
    return operation < FILES_OPERATION_END && data[operation].out;
}

bool files_operation_changes(unsigned operation)
{
    switch (operation) {
    case FILES_PROBE:
    case FILES_READ:
    case FILES_STAT:
    case FILES_LIST:
    case FILES_TREE_READ:
    case FILES_TAR_READ:
    case FILES_COLLECT:
    case FILES_WATCH:
        return false;
    default:
        return true;
    }
}

void files_request_init(struct files_request *request, enum files_operation operation)
{
    memset(request, 0, sizeof *request);
    request->magic = FILES_MAGIC;
    request->version = FILES_VERSION;
    request->operation = operation;
}

/* ---- requests -------------------------------------------------------------------------------- */

/* Which fields an operation has. */
enum {
    HAS_MODE = 1 << 0,
    HAS_RANGE = 1 << 1,
    HAS_SIZE = 1 << 2,   /* has_length and length */
    HAS_MAX = 1 << 3,    /* size_max */
    HAS_PAGE = 1 << 4,   /* depth, limit, path2 as the entry to go on after */
    HAS_TARGET = 1 << 5, /* path2 as a path */
    HAS_RECURSIVE = 1 << 6,
    NO_PATH = 1 << 7,
    HAS_MATCH = 1 << 8,
    HAS_SHA256 = 1 << 9,
};

static const unsigned fields[FILES_OPERATION_END] = {
    [FILES_PROBE] = NO_PATH,
    [FILES_READ] = HAS_RANGE | HAS_MATCH,
    [FILES_WRITE] = HAS_MODE | HAS_SIZE | HAS_MAX | HAS_MATCH | HAS_SHA256,
    [FILES_STAT] = 0,
    [FILES_LIST] = HAS_PAGE,
    [FILES_MKDIR] = HAS_MODE,
    [FILES_MOVE] = HAS_TARGET,
    [FILES_REMOVE] = HAS_RECURSIVE | HAS_MATCH,
    [FILES_CHMOD] = HAS_MODE,
    [FILES_TREE_READ] = 0,
    [FILES_TREE_WRITE] = HAS_MAX,
    [FILES_TAR_READ] = 0,
    [FILES_TAR_WRITE] = HAS_MAX,
    [FILES_UPLOAD] = HAS_SIZE | HAS_SHA256,
    [FILES_COLLECT] = 0,
    [FILES_WATCH] = HAS_RECURSIVE,
};

const char *files_entry_path_check(const char *path, size_t length)
{
    if (length == 0 || length >= FILES_PATH_MAX)
        return "the path of an entry is empty or too long";
    for (size_t at = 0; at <= length;) {
        const char *part = path + at, *end = memchr(part, '/', length - at);
        size_t n = end ? (size_t)(end - part) : length - at;
        if (n == 0 || n >= FILES_NAME_MAX || memchr(part, 0, n))
            return "the path of an entry has a part that is no name";
        if (part[0] == '.' && (n == 1 || (n == 2 && part[1] == '.')))
            return "the path of an entry has a part \".\" or \"..\"";
        at += n + 1;
    }
    return NULL;
}

/* Length of the character at `p`, of at most `room` bytes; 0: it is none. */
static size_t utf8_length(const unsigned char *p, size_t room)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = p[0] < 0x80           ? 1
               : (p[0] >> 5) == 0x06 ? 2
               : (p[0] >> 4) == 0x0e ? 3
               : (p[0] >> 3) == 0x1e ? 4
                                     : 0;
    uint32_t code = n == 1 ? p[0] : p[0] & (0xffu >> (n + 1));
    if (n == 0 || n > room)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (p[i] & 0x3fu);
    }
    return code < least[n] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff) ? 0 : n;
}

const char *files_safe_path_check(const char *path, size_t length)
{
    const char *wrong = files_entry_path_check(path, length);
    for (size_t at = 0; !wrong && at < length;) {
        unsigned char c = (unsigned char)path[at];
        size_t n = utf8_length((const unsigned char *)path + at, length - at);
        bool begins = at == 0 || path[at - 1] == '/';
        if (n == 0)
            return "the name is no UTF-8";
        if (c < 0x20 || c == 0x7f || c == '\\')
            return "the name has a control character or a backslash";
        if (begins && length - at >= sizeof FILES_TEMPORARY - 1 &&
            memcmp(path + at, FILES_TEMPORARY, sizeof FILES_TEMPORARY - 1) == 0)
            return "the name is that of a file that is being written";
        at += n;
    }
    return wrong;
}

/* A name beneath FILES_UPLOADS. */
static const char *check_upload(const struct files_request *request)
{
    static const char top[] = FILES_UPLOADS "/";
    const char *name = request->path + sizeof top - 1;
    if (strncmp(request->path, top, sizeof top - 1) != 0)
        return "the path is not beneath " FILES_UPLOADS;
    if (!request->has_length || !request->sha256[0])
        return "an upload says its length and its SHA-256";
    return files_safe_path_check(name, strlen(name));
}

static const char *check_paths(const struct files_request *request, unsigned has)
{
    if (!memchr(request->path, 0, sizeof request->path) ||
        !memchr(request->path2, 0, sizeof request->path2))
        return "a path is not terminated";
    if (has & NO_PATH)
        return request->path[0] || request->path2[0] ? "this operation has no path" : NULL;
    if (request->path[0] != '/')
        return "the path is not absolute";
    if (request->operation == FILES_UPLOAD && !request->path2[0])
        return check_upload(request);
    if (has & HAS_TARGET)
        return request->path2[0] != '/' ? "the second path is not absolute" : NULL;
    if (!request->path2[0])
        return NULL;
    return has & HAS_PAGE ? files_entry_path_check(request->path2, strlen(request->path2))
                          : "this operation has no second path";
}

/* "*", "-", or what files_etag() can have written. */
static const char *check_conditions(const struct files_request *request, unsigned has)
{
    static const char hex[] = "0123456789abcdef";
    const char *match = request->match;
    if (!memchr(match, 0, sizeof request->match) ||
        !memchr(request->sha256, 0, sizeof request->sha256))
        return "a condition is not terminated";
    if ((match[0] && !(has & HAS_MATCH)) || (request->sha256[0] && !(has & HAS_SHA256)))
        return "a condition is set that this operation does not have";
    if (strcmp(match, "*") != 0 && match[strspn(match, "0123456789abcdef-")] != 0)
        return "a condition is none";
    if (request->sha256[0] && (strspn(request->sha256, hex) != 64 || strlen(request->sha256) != 64))
        return "a SHA-256 is 64 hexadecimal digits";
    return NULL;
}

const char *files_request_check(const struct files_request *request)
{
    static const uint8_t nothing[sizeof request->reserved];
    if (request->magic != FILES_MAGIC || request->version != FILES_VERSION)
        return "not a request of this version";
    if (request->operation <= FILES_NONE || request->operation >= FILES_OPERATION_END)
        return "no such operation";
    unsigned has = fields[request->operation];
    if (request->mode & ~0777u)
        return "a mode has permission bits only";
    if (request->recursive > 1 || request->has_length > 1 ||
        memcmp(request->reserved, nothing, sizeof nothing) != 0)
        return "a flag is neither 0 nor 1";
    if ((!(has & HAS_MODE) && request->mode) || (!(has & HAS_RANGE) && request->offset) ||
        (!(has & HAS_RANGE) && !request->has_length && request->length) ||
        (!(has & HAS_SIZE) && request->has_length) || (!(has & HAS_MAX) && request->size_max) ||
        (!(has & HAS_PAGE) && (request->depth || request->limit)) ||
        (!(has & HAS_RECURSIVE) && request->recursive))
        return "a field is set that this operation does not have";
    if (request->depth > FILES_DEPTH_MAX || request->limit > FILES_LIST_MAX)
        return "a list is too deep or too long";
    const char *wrong = check_conditions(request, has);
    return wrong ? wrong : check_paths(request, has);
}

/* ---- answers --------------------------------------------------------------------------------- */

size_t files_message_size(uint32_t magic)
{
    return magic == FILES_MAGIC         ? sizeof(struct files_result)
           : magic == FILES_BEGIN_MAGIC ? sizeof(struct files_begin)
                                        : 0;
}

static const char *stat_check(const struct files_stat *stat, uint32_t least)
{
    if (stat->type < least || stat->type >= FILES_END)
        return "no such type of file";
    return stat->mode & ~0777u ? "a mode has permission bits only" : NULL;
}

const char *files_begin_check(const struct files_begin *begin, size_t length)
{
    if (length != sizeof *begin || begin->magic != FILES_BEGIN_MAGIC ||
        begin->version != FILES_VERSION)
        return "not the beginning of an answer of this version";
    if (begin->bytes != UINT64_MAX &&
        (begin->offset > begin->stat.size || begin->bytes > begin->stat.size - begin->offset))
        return "more bytes than there are";
    return stat_check(&begin->stat, FILES_FILE);
}

const char *files_result_check(const struct files_result *result, size_t length)
{
    const struct err *err = &result->err;
    if (length != sizeof *result || result->magic != FILES_MAGIC ||
        result->version != FILES_VERSION)
        return "not a result of this version";
    if (result->result > 0 || result->result < -4095 || result->more > 1)
        return "a result is out of range";
    if (err->code >= ERR_CODE_COUNT || (result->result < 0) != (err->code != ERR_NONE))
        return "an error without a code, or the other way round";
    if (!memchr(err->step, 0, sizeof err->step) || !memchr(err->subject, 0, sizeof err->subject) ||
        !memchr(err->detail, 0, sizeof err->detail))
        return "a text is not terminated";
    if (result->left_out_length > sizeof result->left_out ||
        (result->left_out_length > 0 && result->left_out[result->left_out_length - 1] != 0))
        return "what was left out is not terminated";
    return stat_check(&result->stat, 0);
}

const char *files_entry_check(const struct files_entry *entry)
{
    if (entry->magic != FILES_MAGIC)
        return "not an entry";
    if (entry->stat.type == FILES_END)
        return entry->path_length ? "the end has no path" : NULL;
    if (entry->path_length == 0 || entry->path_length >= FILES_PATH_MAX)
        return "the path of an entry is empty or too long";
    if (entry->stat.type == FILES_SYMLINK && entry->stat.size >= FILES_PATH_MAX)
        return "a symbolic link is too long";
    return stat_check(&entry->stat, FILES_FILE);
}

const char *files_output_check(const struct files_output *output)
{
    static const char hex[] = "0123456789abcdef";
    bool file = output->stat.type == FILES_FILE;
    if (output->magic != FILES_MAGIC || !memchr(output->sha256, 0, sizeof output->sha256))
        return "not an output";
    if (output->path_length == 0 || output->path_length >= FILES_PATH_MAX)
        return "the path of an output is empty or too long";
    if (strspn(output->sha256, hex) != strlen(output->sha256) ||
        strlen(output->sha256) != (file ? 64 : 0))
        return "a file has a SHA-256, and nothing else has";
    if (file && output->stat.size > FILES_OUTPUT_BYTES_MAX)
        return "an output is too large";
    return stat_check(&output->stat, FILES_FILE);
}

const char *files_change_check(const struct files_change *change)
{
    bool named = change->kind >= FILES_CREATED && change->kind <= FILES_RENAMED;
    if (change->magic != FILES_MAGIC || change->kind == FILES_NO_CHANGE ||
        change->kind >= FILES_CHANGE_END)
        return "not a change";
    if (change->path_length >= FILES_PATH_MAX || (change->path_length > 0) != named)
        return "the path of a change is too long, or where none belongs";
    return change->type >= FILES_END ? "no such type of file" : NULL;
}

/* The kernel sets the time of a change by itself: a program that writes in place and sets the other
 * time back is seen too. What else than a file has a size means nothing. */
void files_etag(const struct files_stat *stat, char ret_etag[FILES_ETAG_MAX])
{
    snprintf(ret_etag, FILES_ETAG_MAX, "%" PRIx64 "-%" PRIx64 "-%" PRIx64 "-%" PRIx64 "-%" PRIx64,
             stat->device, stat->inode, stat->type == FILES_FILE ? stat->size : 0,
             stat->modified_ns, stat->changed_ns);
}

/* ---- argv ------------------------------------------------------------------------------------ */

enum {
    ARGUMENT_PROGRAM,
    ARGUMENT_OPERATION,
    ARGUMENT_NUMBERS,
    ARGUMENT_PATH,
    ARGUMENT_PATH2,
    ARGUMENT_MATCH,
    ARGUMENT_SHA256,
    ARGUMENT_COUNT
};

_Static_assert((int)ARGUMENT_COUNT <= (int)FILES_ARGV_MAX, "the arguments fit their array");

enum { NUMBER_COUNT = 8 };

static char *put(char *to, const char *text, const char **ret_argument)
{
    size_t n = strlen(text) + 1;
    memcpy(to, text, n);
    *ret_argument = to;
    return to + n;
}

int files_request_to_argv(const struct files_request *request, struct files_argv *ret)
{
    char numbers[256];
    if (files_request_check(request))
        return -EINVAL;
    snprintf(numbers, sizeof numbers,
             "%" PRIu32 ":%" PRIu64 ":%" PRIu64 ":%" PRIu64 ":%" PRIu32 ":%" PRIu32 ":%u:%u",
             request->mode, request->offset, request->length, request->size_max, request->depth,
             request->limit, request->recursive, request->has_length);
    const char *texts[ARGUMENT_COUNT] = {"berth-files",  names[request->operation],
                                         numbers,        request->path,
                                         request->path2, request->match,
                                         request->sha256};
    char *to = ret->strings;
    memset(ret->argv, 0, sizeof ret->argv);
    for (unsigned i = 0; i < ARGUMENT_COUNT; i++)
        to = put(to, texts[i], &ret->argv[i]);
    return 0;
}

static bool read_numbers(const char *text, uint64_t ret[NUMBER_COUNT])
{
    for (unsigned i = 0; i < NUMBER_COUNT; i++) {
        uint64_t value = 0;
        size_t n = strspn(text, "0123456789");
        if (n == 0 || (n > 1 && text[0] == '0') || text[n] != (i + 1 < NUMBER_COUNT ? ':' : 0))
            return false;
        for (size_t k = 0; k < n; k++)
            if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
                __builtin_add_overflow(value, (uint64_t)(text[k] - '0'), &value))
                return false;
        ret[i] = value;
        text += n + 1;
    }
    return true;
}

const char *files_request_from_argv(int argc, char **argv, struct files_request *ret)
{
    uint64_t n[NUMBER_COUNT];
    if (argc != ARGUMENT_COUNT)
        return "not as many arguments as a request has";
    unsigned operation = FILES_NONE + 1;
    while (operation < FILES_OPERATION_END &&
           strcmp(argv[ARGUMENT_OPERATION], names[operation]) != 0)
        operation++;
    if (operation == FILES_OPERATION_END)
        return "no such operation";
    if (!read_numbers(argv[ARGUMENT_NUMBERS], n) || n[0] > UINT32_MAX || n[4] > UINT32_MAX ||
        n[5] > UINT32_MAX || n[6] > 1 || n[7] > 1)
        return "the numbers of a request are malformed";
    if (strlen(argv[ARGUMENT_PATH]) >= FILES_PATH_MAX ||
        strlen(argv[ARGUMENT_PATH2]) >= FILES_PATH_MAX)
        return "a path is too long";
    if (strlen(argv[ARGUMENT_MATCH]) >= FILES_ETAG_MAX ||
        strlen(argv[ARGUMENT_SHA256]) >= FILES_SHA256_MAX)
        return "a condition is too long";
    files_request_init(ret, (enum files_operation)operation);
    ret->mode = (uint32_t)n[0];
    ret->offset = n[1];
    ret->length = n[2];
    ret->size_max = n[3];
    ret->depth = (uint32_t)n[4];
    ret->limit = (uint32_t)n[5];
    ret->recursive = (uint8_t)n[6];
    ret->has_length = (uint8_t)n[7];
    snprintf(ret->path, sizeof ret->path, "%s", argv[ARGUMENT_PATH]);
    snprintf(ret->path2, sizeof ret->path2, "%s", argv[ARGUMENT_PATH2]);
    snprintf(ret->match, sizeof ret->match, "%s", argv[ARGUMENT_MATCH]);
    snprintf(ret->sha256, sizeof ret->sha256, "%s", argv[ARGUMENT_SHA256]);
    return files_request_check(ret);
}
