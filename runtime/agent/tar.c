/* This file reads and writes the headers of tar; it never touches a descriptor, believes no number
 * before it has been read as one, and takes no bit of 07000.
 */
#include "runtime/agent/tar.h"

#include "runtime/base/fd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* POSIX.1-2001, "ustar Interchange Format"; GNU tar's differs in `magic` and behind `minor`. */
struct header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100];
    char magic[8]; /* "ustar\0" "00"; GNU: "ustar  \0" */
    char user[32], group[32], major[8], minor[8], prefix[155], unused[12];
};
_Static_assert(sizeof(struct header) == TAR_BLOCK, "a header is a block");

static int refuse(const char **wrong, const char *what)
{
    *wrong = what;
    return -EPROTO;
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* Octal with blanks around it, or GNU's base 256, whose first bit is set. Empty is 0. */
static bool read_number(const char *field, size_t length, uint64_t *ret)
{
    uint64_t value = 0;
    size_t i = 0;
    if (field[0] & 0x80) {
        if (((unsigned char)field[0] & 0x7f) != 0)
            return false; /* negative, or more than 64 bits */
        for (i = 1; i < length; i++) {
            if (value >> 56)
                return false;
            value = value << 8 | (unsigned char)field[i];
        }
        *ret = value;
        return true;
    }
    while (i < length && field[i] == ' ')
        i++;
    for (; i < length && field[i] >= '0' && field[i] <= '7'; i++) {
        if (value >> 61)
            return false;
        value = value << 3 | (uint64_t)(field[i] - '0');
    }
    while (i < length && (field[i] == ' ' || field[i] == 0))
        i++;
    *ret = value;
    return i == length;
}

static bool read_decimal(const char *text, size_t length, uint64_t *ret)
{
    uint64_t value = 0;
    if (length == 0)
        return false;
    for (size_t i = 0; i < length; i++)
        if (text[i] < '0' || text[i] > '9' || __builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value))
            return false;
    *ret = value;
    return true;
}

/* "1700000000.25": a time before 1970 is taken for 1970. */
static bool read_time(const char *text, size_t length, int64_t *ret, uint32_t *ret_nsec)
{
    const char *point = memchr(text, '.', length);
    size_t whole = point ? (size_t)(point - text) : length;
    uint64_t seconds = 0, digits = 0;
    bool before = whole > 0 && text[0] == '-';
    uint32_t nsec = 0, unit = 100000000;
    if (!read_decimal(text + before, whole - before, &seconds) || seconds > INT64_MAX)
        return false;
    if (point && length > whole + 1 && !read_decimal(point + 1, 1, &digits))
        return false;
    for (size_t i = whole + 1; i < length; i++, unit /= 10) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        nsec += unit * (uint32_t)(text[i] - '0');
    }
    *ret = before ? 0 : (int64_t)seconds;
    *ret_nsec = before ? 0 : nsec;
    return true;
}

/* ---- paths ----------------------------------------------------------------------------------- */

/* In place: relative, without empty and "." parts. */
static const char *clean_path(char *path)
{
    char *to = path;
    if (path[0] == '/')
        return "its path is absolute";
    for (const char *at = path; *at;) {
        size_t n = strcspn(at, "/");
        const char *next = at + n + (at[n] == '/');
        if (n == 2 && at[0] == '.' && at[1] == '.')
            return "its path has a part \"..\"";
        if (n >= FILES_NAME_MAX)
            return "a part of its path is longer than a name can be";
        if (n > 0 && !(n == 1 && at[0] == '.')) {
            if (to > path)
                *to++ = '/';
            memmove(to, at, n);
            to += n;
        }
        at = next;
    }
    *to = 0;
    return NULL;
}

static void take_text(const char *field, size_t size, char *ret)
{
    size_t n = strnlen(field, size);
    memcpy(ret, field, n);
    ret[n] = 0;
}

static void take_name(const struct header *h, char ret[FILES_PATH_MAX])
{
    size_t n = 0;
    /* Only POSIX has a prefix; with GNU tar other things stand there. */
    if (memcmp(h->magic, "ustar\0", 6) == 0 && h->prefix[0]) {
        take_text(h->prefix, sizeof h->prefix, ret);
        n = strlen(ret);
        ret[n++] = '/';
    }
    take_text(h->name, sizeof h->name, ret + n);
}

/* ---- what says more -------------------------------------------------------------------------- */

static bool is(const char *key, size_t length, const char *name)
{
    return strlen(name) == length && memcmp(key, name, length) == 0;
}

static bool keep_text(const char *value, size_t length, char ret[FILES_PATH_MAX])
{
    if (length == 0 || length >= FILES_PATH_MAX || memchr(value, 0, length))
        return false;
    memcpy(ret, value, length);
    ret[length] = 0;
    return true;
}

static int take_record(struct tar_reader *reader, const char *key, size_t key_length,
                       const char *value, size_t length, const char **wrong)
{
    bool global = reader->kind == 'g';
    if (key_length > 10 && memcmp(key, "GNU.sparse", 10) == 0)
        return refuse(wrong, "it is a sparse file; make the archive without --sparse");
    bool path = is(key, key_length, "path"), link = is(key, key_length, "linkpath"),
         size = is(key, key_length, "size"), modified = is(key, key_length, "mtime");
    if (global && (path || link || size))
        return refuse(wrong, "a global header gives paths or sizes to all entries");
    if (global)
        return 0; /* comments; times and owners for all are not kept */
    if ((path && !keep_text(value, length, reader->path)) ||
        (link && !keep_text(value, length, reader->link)))
        return refuse(wrong, "a path of an extended header is empty or too long");
    if (size && !read_decimal(value, length, &reader->size))
        return refuse(wrong, "the size of an extended header is no number");
    if (modified && !read_time(value, length, &reader->modified, &reader->modified_nsec))
        return refuse(wrong, "the time of an extended header is none");
    reader->has_path |= path;
    reader->has_link |= link;
    reader->has_size |= size;
    reader->has_modified |= modified;
    return 0; /* others say what is not kept: owners, other times, attributes */
}

/* "LENGTH KEY=VALUE\n", the length of all of it. */
static int take_records(struct tar_reader *reader, const char *data, size_t length,
                        const char **wrong)
{
    static const char broken[] = "a record of an extended header is malformed";
    for (size_t at = 0; at < length;) {
        size_t left = length - at;
        const char *record = data + at, *blank = memchr(record, ' ', left);
        uint64_t n = 0;
        if (!blank || !read_decimal(record, (size_t)(blank - record), &n) || n > left ||
            n < (uint64_t)(blank - record) + 3 || record[n - 1] != '\n')
            return refuse(wrong, broken);
        const char *key = blank + 1, *end = record + n - 1;
        const char *equals = memchr(key, '=', (size_t)(end - key));
        if (!equals || equals == key)
            return refuse(wrong, broken);
        int r = take_record(reader, key, (size_t)(equals - key), equals + 1,
                            (size_t)(end - equals) - 1, wrong);
        if (r < 0)
            return r;
        at += n;
    }
    return 0;
}

int tar_extend(struct tar_reader *reader, char *data, size_t length, const char **wrong)
{
    data[length] = 0;
    switch (reader->kind) {
    case 'L':
    case 'K':
        if (!keep_text(data, strlen(data), reader->kind == 'L' ? reader->path : reader->link))
            return refuse(wrong, "a long name is empty or too long");
        reader->has_path |= reader->kind == 'L';
        reader->has_link |= reader->kind == 'K';
        return 0;
    case 'x':
        return take_records(reader, data, length, wrong);
    default: {
        /* For all entries, or the label of a volume: no entry was announced by it. */
        int r = reader->kind == 'g' ? take_records(reader, data, length, wrong) : 0;
        reader->kind = 0;
        return r;
    }
    }
}

/* ---- headers --------------------------------------------------------------------------------- */

/* Some add the bytes up as signed ones. */
static bool sum_is_right(const struct header *h)
{
    const char *bytes = (const char *)h;
    uint64_t said;
    int64_t plain = 0, with_sign = 0;
    for (size_t i = 0; i < TAR_BLOCK; i++) {
        bool own = i >= offsetof(struct header, checksum) && i < offsetof(struct header, type);
        plain += own ? ' ' : (unsigned char)bytes[i];
        with_sign += own ? ' ' : (signed char)bytes[i];
    }
    return read_number(h->checksum, sizeof h->checksum, &said) &&
           ((int64_t)said == plain || (int64_t)said == with_sign);
}

static const char *not_tar(const unsigned char *block)
{
    static const struct {
        const char *begins;
        size_t length;
    } packed[] = {{"\x1f\x8b", 2},
                  {"BZh", 3},
                  {"\xfd"
                   "7zXZ",
                   5},
                  {"\x28\xb5\x2f\xfd", 4},
                  {"\x04\x22\x4d\x18", 4}};
    for (size_t i = 0; i < ARRAY_LENGTH(packed); i++)
        if (memcmp(block, packed[i].begins, packed[i].length) == 0)
            return "it is compressed; send it as it is before that";
    return "this is no header of tar";
}

static const char *take_type(char type, bool slash, enum tar_type *ret)
{
    switch (type) {
    case 0:
    case '0':
    case '7':
        *ret = slash ? TAR_DIRECTORY : TAR_FILE; /* a slash: as before 1988 */
        return NULL;
    case '1':
        *ret = TAR_HARDLINK;
        return NULL;
    case '2':
        *ret = TAR_SYMLINK;
        return NULL;
    case '5':
        *ret = TAR_DIRECTORY;
        return NULL;
    case '3':
    case '4':
        return "it is a device";
    case '6':
        return "it is a FIFO";
    case 'S':
        return "it is a sparse file; make the archive without --sparse";
    default:
        return "it is of a kind that berth does not unpack";
    }
}

static int take_links(struct tar_entry *entry, const char **wrong)
{
    if (entry->type == TAR_SYMLINK && entry->link[0] == 0)
        return refuse(wrong, "it is a link that says nothing");
    if (entry->type == TAR_HARDLINK && clean_path(entry->link))
        return refuse(wrong, "it is a hard link to what is outside the tree");
    if (entry->type == TAR_HARDLINK && entry->link[0] == 0)
        return refuse(wrong, "it is a hard link to nothing");
    return 0;
}

static int take_entry(struct tar_reader *reader, const struct header *h, struct tar_entry *ret,
                      const char **wrong)
{
    uint64_t mode, modified;
    if (reader->has_path)
        memcpy(ret->path, reader->path, sizeof ret->path);
    else
        take_name(h, ret->path);
    if (reader->has_link)
        memcpy(ret->link, reader->link, sizeof ret->link);
    else
        take_text(h->link, sizeof h->link, ret->link);
    size_t n = strlen(ret->path);
    const char *refused = take_type(h->type, n > 0 && ret->path[n - 1] == '/', &ret->type);
    if (!refused && n == 0)
        refused = "it has no name";
    if (!refused)
        refused = clean_path(ret->path);
    if (!refused && ret->path[0] == 0 && ret->type != TAR_DIRECTORY)
        refused = "it would stand in the place of the directory itself";
    if (refused)
        return refuse(wrong, refused);
    if (!read_number(h->mode, sizeof h->mode, &mode))
        return refuse(wrong, "the mode of its header is no number");
    if (!read_number(h->mtime, sizeof h->mtime, &modified) || modified > INT64_MAX)
        modified = 0; /* before 1970 */
    if (reader->has_size)
        ret->size = reader->size;
    ret->mode = (uint32_t)(mode & 0777);
    ret->modified = reader->has_modified ? reader->modified : (int64_t)modified;
    ret->modified_nsec = reader->has_modified ? reader->modified_nsec : 0;
    /* Readers disagree whether bytes follow. */
    if (ret->type == TAR_HARDLINK && ret->size > 0)
        return refuse(wrong, "it is a hard link with bytes of its own");
    if (ret->type == TAR_SYMLINK)
        ret->size = 0;
    if (ret->type == TAR_DIRECTORY && ret->size > 0)
        return refuse(wrong, "a directory has no bytes of its own");
    int r = take_links(ret, wrong);
    *reader = (struct tar_reader){0};
    return r < 0 ? r : TAR_ENTRY;
}

static bool is_zero(const unsigned char *block)
{
    for (size_t i = 0; i < TAR_BLOCK; i++)
        if (block[i])
            return false;
    return true;
}

int tar_read(struct tar_reader *reader, const unsigned char block[TAR_BLOCK], struct tar_entry *ret,
             const char **wrong)
{
    struct header h;
    memset(ret, 0, sizeof *ret);
    if (is_zero(block))
        return reader->kind ? refuse(wrong, "the archive ends before what it announced") : TAR_ZERO;
    memcpy(&h, block, sizeof h);
    if (!sum_is_right(&h))
        return refuse(wrong, not_tar(block));
    if (!read_number(h.size, sizeof h.size, &ret->size))
        return refuse(wrong, "its size is no number");
    if (!strchr("xgLKV", h.type) || h.type == 0)
        return take_entry(reader, &h, ret, wrong);
    if (ret->size > TAR_EXTENSION_MAX)
        return refuse(wrong, "an extended header is too long");
    reader->kind = h.type;
    return TAR_MORE;
}

/* ---- out ------------------------------------------------------------------------------------- */

static void put_octal(char *field, size_t size, uint64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%0*" PRIo64, (int)size - 1, value);
    memcpy(field, text, size);
}

static void seal(struct header *h)
{
    unsigned sum = 0;
    memset(h->checksum, ' ', sizeof h->checksum);
    for (size_t i = 0; i < TAR_BLOCK; i++)
        sum += ((const unsigned char *)h)[i];
    char text[16];
    snprintf(text, sizeof text, "%06o", sum);
    memcpy(h->checksum, text, 7);
}

static struct header begin(char type, uint64_t size, uint32_t mode)
{
    struct header h = {.type = type};
    put_octal(h.mode, sizeof h.mode, mode);
    put_octal(h.uid, sizeof h.uid, 0);
    put_octal(h.gid, sizeof h.gid, 0);
    put_octal(h.size, sizeof h.size, size);
    put_octal(h.mtime, sizeof h.mtime, 0);
    memcpy(h.magic,
           "ustar\0"
           "00",
           sizeof h.magic);
    return h;
}

/* The length counts itself. */
static size_t put_record(char *to, const char *key, const char *value)
{
    size_t rest = strlen(key) + strlen(value) + 3, all = rest + 1;
    char digits[24];
    while ((size_t)snprintf(digits, sizeof digits, "%zu", all) + rest != all)
        all = (size_t)snprintf(digits, sizeof digits, "%zu", all) + rest;
    return (size_t)snprintf(to, FILES_PATH_MAX + 64, "%zu %s=%s\n", all, key, value);
}

static size_t put_number_record(char *to, const char *key, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    return put_record(to, key, text);
}

enum { ID_MAX = 07777777, NAME_SIZE = 100, LINK_SIZE = 100 };
static const uint64_t number_max = 077777777777; /* 8 GiB, and the year 2242 */

static bool is_ascii(const char *text)
{
    for (; *text; text++)
        if (*text & 0x80)
            return false;
    return true;
}

/* What does not fit the header. */
static size_t put_records(const struct files_stat *stat, const char *path, const char *link,
                          uint64_t size, char *to)
{
    size_t n = 0;
    bool long_path = strlen(path) > NAME_SIZE, long_link = strlen(link) > LINK_SIZE;
    /* Without it a reader may take the bytes for UTF-8 and refuse them. */
    if ((long_path && !is_ascii(path)) || (long_link && !is_ascii(link)))
        n += put_record(to + n, "hdrcharset", "BINARY");
    if (long_path)
        n += put_record(to + n, "path", path);
    if (long_link)
        n += put_record(to + n, "linkpath", link);
    if (size > number_max)
        n += put_number_record(to + n, "size", size);
    if (stat->uid > ID_MAX)
        n += put_number_record(to + n, "uid", stat->uid);
    if (stat->gid > ID_MAX)
        n += put_number_record(to + n, "gid", stat->gid);
    if (stat->modified_ns / 1000000000 > number_max)
        n += put_number_record(to + n, "mtime", stat->modified_ns / 1000000000);
    return n;
}

static void put_text(char *field, size_t size, const char *text)
{
    size_t n = strlen(text);
    memcpy(field, text, n < size ? n : size);
}

static void put_capped(char *field, size_t size, uint64_t value, uint64_t most)
{
    put_octal(field, size, value > most ? 0 : value);
}

size_t tar_write(const struct files_stat *stat, const char *path, const char *link,
                 char ret[TAR_HEADER_MAX])
{
    uint64_t size = stat->type == FILES_FILE ? stat->size : 0;
    char type = stat->type == FILES_DIRECTORY ? '5' : stat->type == FILES_SYMLINK ? '2' : '0';
    size_t at = 0, records = put_records(stat, path, link, size, ret + TAR_BLOCK);
    if (records > 0) {
        struct header more = begin('x', records, 0644);
        put_text(more.name, sizeof more.name, "PaxHeaders/entry");
        seal(&more);
        memcpy(ret, &more, sizeof more);
        memset(ret + TAR_BLOCK + records, 0, tar_padding(records));
        at = TAR_BLOCK + records + tar_padding(records);
    }
    struct header h = begin(type, 0, stat->mode & 0777);
    put_text(h.name, sizeof h.name, path);
    put_text(h.link, sizeof h.link, link);
    put_capped(h.size, sizeof h.size, size, number_max);
    put_capped(h.uid, sizeof h.uid, stat->uid, ID_MAX);
    put_capped(h.gid, sizeof h.gid, stat->gid, ID_MAX);
    put_capped(h.mtime, sizeof h.mtime, stat->modified_ns / 1000000000, number_max);
    seal(&h);
    memcpy(ret + at, &h, sizeof h);
    return at + TAR_BLOCK;
}
