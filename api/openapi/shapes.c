/* This file is the members of the documents that front makes by itself, of files and of streams, as
 * tables; it never makes one.
 */
#include "api/openapi/openapi.h"

#include "runtime/base/fd.h"

#include <stddef.h>

#define SHAPE(symbol_, name_, help_)                        \
    const struct document_shape openapi_shape_##symbol_ = { \
        .name = name_, .help = help_, .members = symbol_##_members}
#define MEMBER(name_, kind_, ...)                            \
    {                                                        \
        .name = name_, .kind = DOCUMENT_##kind_, __VA_ARGS__ \
    }
#define END          \
    {                \
        .name = NULL \
    }

static const char *type_choice(unsigned index)
{
    static const char *const names[] = {"file", "directory", "symlink", "other"};
    return index < ARRAY_LENGTH(names) ? names[index] : NULL;
}

static const char *stream_choice(unsigned index)
{
    static const char *const names[] = {"stdout", "stderr", "tty", "background"};
    return index < ARRAY_LENGTH(names) ? names[index] : NULL;
}

static const char *closed_choice(unsigned index)
{
    static const char *const names[] = {"port_in_use", "forbidden", "unavailable"};
    return index < ARRAY_LENGTH(names) ? names[index] : NULL;
}

/* A text that is not UTF-8 comes under another name, as base64. */
#define BYTES(name_)                             \
    MEMBER(name_, TEXT, .may = DOCUMENT_ABSENT), \
        MEMBER(name_ "_base64", BASE64, .may = DOCUMENT_ABSENT, .help = "What is no UTF-8.")

static const struct document_member stdin_members[] = {
    MEMBER("bytes", COUNT, .help = "That went in by this request."),
    MEMBER("offset", COUNT, .help = "That have gone in by all."),
    END,
};
SHAPE(stdin, "StdinWritten", "What has gone into a command's standard input.");

static const struct document_member file_members[] = {
    BYTES("path"),
    MEMBER("size", COUNT),
    MEMBER("mode", TEXT, .help = "Four octal digits."),
    MEMBER("type", TEXT, .choice = type_choice),
    MEMBER("modified_at", TIME),
    END,
};
SHAPE(file, "FileInfo", "A file as it is now.");

static const struct document_member removed_members[] = {
    BYTES("path"),
    MEMBER("removed", FLAG),
    END,
};
SHAPE(removed, "FileRemoved", "What was removed.");

static const struct document_member unpacked_members[] = {
    BYTES("path"),
    MEMBER("entries", COUNT, .help = "Files, directories and links that were made or replaced."),
    MEMBER("bytes", COUNT, .help = "Of files."),
    END,
};
SHAPE(unpacked, "Unpacked", "What came out of an archive.");

static const struct document_member uploaded_members[] = {
    MEMBER("path", TEXT, .help = "As the session sees it."),
    MEMBER("size", COUNT),
    MEMBER("sha256", TEXT),
    MEMBER("mode", TEXT, .help = "Four octal digits."),
    MEMBER("modified_at", TIME),
    END,
};
SHAPE(uploaded, "Uploaded", "A file that a session only reads.");

static const struct document_member collected_members[] = {
    MEMBER("name", TEXT, .help = "Beneath the collection's `path`."),
    MEMBER("size", COUNT),
    MEMBER("sha256", TEXT),
    MEMBER("etag", TEXT, .help = "For If-Match of the request that reads it."),
    MEMBER("mode", TEXT, .help = "Four octal digits."),
    MEMBER("modified_at", TIME),
    END,
};
static SHAPE(collected, "Collected", "A file of a collection.");

static const struct document_member left_out_members[] = {
    MEMBER("name", TEXT),
    MEMBER("type", TEXT, .choice = type_choice),
    END,
};
static SHAPE(left_out, "LeftOut", "What is no regular file.");

static const struct document_member collection_members[] = {
    BYTES("path"),
    MEMBER("files", LIST, .of = &openapi_shape_collected, .help = "In the order of their names."),
    MEMBER("bytes", COUNT, .help = "Of all files."),
    MEMBER("left_out", LIST, .of = &openapi_shape_left_out, .help = "The first 20."),
    MEMBER("left_out_count", COUNT),
    END,
};
SHAPE(collection, "Collection", "What a session leaves in a directory, all of it or nothing.");

static const struct document_member entry_members[] = {
    BYTES("name"),
    BYTES("path"),
    MEMBER("type", TEXT, .choice = type_choice),
    MEMBER("size", COUNT),
    MEMBER("mode", TEXT, .help = "Four octal digits."),
    MEMBER("uid", COUNT),
    MEMBER("gid", COUNT),
    MEMBER("modified_at", TIME),
    END,
};
static SHAPE(entry, "FileEntry", "One name of a directory; of a link, the link's own.");

static const struct document_member file_list_members[] = {
    MEMBER("entries", LIST, .of = &openapi_shape_entry),
    MEMBER("next", TEXT, .may = DOCUMENT_NULL | DOCUMENT_ABSENT,
           .help = "What `after` is for the rest; null: there is none."),
    MEMBER("next_base64", BASE64, .may = DOCUMENT_ABSENT),
    MEMBER("skipped", COUNT, .help = "Directories that may not be read."),
    END,
};
SHAPE(file_list, "FileList", "Names in the order of their bytes.");

static const struct document_member change_members[] = {
    BYTES("path"),
    BYTES("name"),
    MEMBER("type", TEXT, .choice = type_choice, .may = DOCUMENT_NULL,
           .help = "null where it is not known any more, or none is meant."),
    END,
};
SHAPE(change, "FileChange", "What happened, by the event's name, to what.");

static const struct document_member watch_end_members[] = {
    MEMBER("code", TEXT, .may = DOCUMENT_NULL, .help = "Of a problem; null: there is none."),
    MEMBER("detail", TEXT),
    END,
};
SHAPE(watch_end, "WatchEnd", "Why nothing more is told.");

static const struct document_member output_members[] = {
    MEMBER("seq", COUNT),
    MEMBER("stream", TEXT, .choice = stream_choice),
    MEMBER("time", TIME),
    BYTES("data"),
    END,
};
SHAPE(output, "OutputFrame", "A piece of what a command printed.");

static const struct document_member gap_members[] = {
    MEMBER("from_seq", COUNT),
    MEMBER("to_seq", COUNT),
    MEMBER("bytes", COUNT),
    END,
};
SHAPE(gap, "OutputGap", "Output that is not kept any more.");

static const struct document_member network_members[] = {
    MEMBER("revision", COUNT, .help = "Of the rules, from 1."),
    MEMBER("network", OBJECT, .help = "As a policy's."),
    MEMBER("connections_cut", COUNT, .help = "That the rules of before allowed."),
    END,
};
SHAPE(network, "NetworkInForce", "What a session may reach now.");

static const struct document_member port_members[] = {
    MEMBER("host_port", COUNT, .help = "The one that was had."),
    MEMBER("port", COUNT, .help = "Inside."),
    MEMBER("addresses", LIST, .help = "Of the host."),
    MEMBER("open", FLAG, .help = "false: it could not be had again, which is tried further."),
    MEMBER("reason", TEXT, .may = DOCUMENT_NULL, .choice = closed_choice,
           .help = "Why it is not open; null where it is."),
    END,
};
static SHAPE(port, "PublishedPort", "A port of the host that leads into a session.");

static const struct document_member port_list_members[] = {
    MEMBER("ports", LIST, .of = &openapi_shape_port,
           .help = "In the order of `publish`; none where nothing lives."),
    END,
};
SHAPE(port_list, "PublishedPortList", "What of the host's loopback leads into a session now.");

const struct document_shape *const openapi_shapes[] = {
    &openapi_shape_stdin,     &openapi_shape_file,      &openapi_shape_removed,
    &openapi_shape_file_list, &openapi_shape_entry,     &openapi_shape_output,
    &openapi_shape_gap,       &openapi_shape_network,   &openapi_shape_port,
    &openapi_shape_port_list, &openapi_shape_unpacked,  &openapi_shape_uploaded,
    &openapi_shape_collected, &openapi_shape_left_out,  &openapi_shape_collection,
    &openapi_shape_change,    &openapi_shape_watch_end, NULL,
};
