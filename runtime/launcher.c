/* This file proves the shape of the frames between front and launcher; it never believes a length
 * or a string that it did not look at. Pure.
 */
#include "runtime/launcher.h"

#include "runtime/base/units.h"

#include <string.h>

static const struct {
    const char *name;
    unsigned fewest, most;
} requests[LAUNCHER_REQUEST_END] = {
#define X(symbol, text, least, greatest) \
    [LAUNCHER_##symbol] = {.name = text, .fewest = least, .most = greatest},
    LAUNCHER_REQUESTS(X)
#undef X
};

const char *launcher_request_name(unsigned type)
{
    return type > LAUNCHER_REQUEST_NONE && type < LAUNCHER_REQUEST_END ? requests[type].name
                                                                       : "none";
}

static bool terminated(const char *text, size_t size)
{
    return memchr(text, 0, size) != NULL;
}

static bool is_zero(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (text[i])
            return false;
    return true;
}

static bool is_instance(const char *text)
{
    return text[0] && text[strspn(text, "0123456789abcdef")] == 0;
}

static bool of_a_volume(unsigned type)
{
    return type == LAUNCHER_VOLUME_REMOVE || type == LAUNCHER_VOLUME_MEASURE;
}

static const char *check_strings(const struct launcher_request *request)
{
    if (!terminated(request->instance, sizeof request->instance) || !is_instance(request->instance))
        return "the instance is not hexadecimal";
    if (!terminated(request->identity.boot_id, sizeof request->identity.boot_id))
        return "the boot id is not terminated";
    if (!of_a_volume(request->type))
        return is_zero(request->workspace_id, sizeof request->workspace_id) &&
                       is_zero(request->volume, sizeof request->volume)
                   ? NULL
                   : "a volume is named where none is meant";
    if (!terminated(request->workspace_id, sizeof request->workspace_id) ||
        !id_valid(request->workspace_id))
        return "the workspace id is not an id";
    if (!terminated(request->volume, sizeof request->volume) || !id_valid(request->volume))
        return "the volume's name is not an id";
    return NULL;
}

const char *launcher_request_check(const struct launcher_request *request, size_t length,
                                   unsigned fd_count)
{
    if (length != sizeof *request)
        return "it has another size";
    if (request->magic != LAUNCHER_MAGIC)
        return "it has another magic number";
    if (request->version != LAUNCHER_VERSION)
        return "it is of another version";
    unsigned type = request->type;
    if (type <= LAUNCHER_REQUEST_NONE || type >= LAUNCHER_REQUEST_END)
        return "there is no such request";
    if (fd_count < requests[type].fewest || fd_count > requests[type].most)
        return "it has another number of descriptors";
    if (request->ticket == 0)
        return "it has no ticket";
    int64_t least = type == LAUNCHER_LIST || type == LAUNCHER_CANCEL || of_a_volume(type) ? 0 : 1;
    if (request->row < least || request->incarnation < least)
        return "row or incarnation is out of range";
    bool numbered = type == LAUNCHER_LAUNCH || type == LAUNCHER_NETWORK;
    if (numbered ? request->generation == 0 : request->generation != 0)
        return "the revision of its network is out of place";
    if (request->read_only > 1)
        return "read_only is neither 0 nor 1";
    return check_strings(request);
}

static const char *check_launched(const struct launcher_reply *reply)
{
    const struct launcher_effective *effective = &reply->launched.effective;
    if (!terminated(effective->seccomp_hash, sizeof effective->seccomp_hash) ||
        !terminated(effective->spec_hash, sizeof effective->spec_hash))
        return "a hash is not terminated";
    if (reply->launched.note_count > LAUNCHER_NOTES_MAX)
        return "it has too many notes";
    if (reply->launched.last.taken > (reply->type == LAUNCHER_END))
        return "its last reading is out of place";
    for (uint32_t i = 0; i < reply->launched.note_count; i++) {
        const struct launcher_note *note = &reply->launched.notes[i];
        if (!terminated(note->key, sizeof note->key) || !terminated(note->text, sizeof note->text))
            return "a note is not terminated";
    }
    return NULL;
}

static const char *check_ports(const struct launcher_reply *reply)
{
    return reply->network.published.count > SPEC_PUBLISH_MAX ? "it has too many ports" : NULL;
}

static const char *check_list(const struct launcher_reply *reply)
{
    if (reply->list.count > LAUNCHER_LIST_MAX)
        return "it has too many names";
    for (uint32_t i = 0; i < reply->list.count; i++)
        if (reply->list.names[i].row <= 0 || reply->list.names[i].incarnation <= 0)
            return "a name is out of range";
    return NULL;
}

const char *launcher_reply_check(const struct launcher_reply *reply, size_t length)
{
    if (length != sizeof *reply)
        return "it has another size";
    if (reply->magic != LAUNCHER_MAGIC)
        return "it has another magic number";
    if (reply->version != LAUNCHER_VERSION)
        return "it is of another version";
    if (reply->type <= LAUNCHER_REQUEST_NONE || reply->type > LAUNCHER_REQUEST_END)
        return "there is no such request";
    bool died = reply->type == LAUNCHER_REQUEST_END;
    if (died ? reply->ticket != 0 : reply->ticket == 0)
        return "its ticket does not fit its type";
    if (died && (reply->row <= 0 || reply->incarnation <= 0))
        return "nobody has died";
    if (reply->result > 0)
        return "its result is positive";
    if (reply->found > SESSION_FOUND_OTHER)
        return "there is no such finding";
    if (!terminated(reply->err.step, sizeof reply->err.step) ||
        !terminated(reply->err.subject, sizeof reply->err.subject) ||
        !terminated(reply->err.detail, sizeof reply->err.detail) ||
        !terminated(reply->identity.boot_id, sizeof reply->identity.boot_id))
        return "a text is not terminated";
    if (reply->result < 0 && (reply->err.code == ERR_NONE || reply->err.code >= ERR_CODE_COUNT))
        return "its error has no code";
    if (reply->type == LAUNCHER_LAUNCH || reply->type == LAUNCHER_END)
        return check_launched(reply);
    if (reply->type == LAUNCHER_NETWORK || reply->type == LAUNCHER_PORTS)
        return check_ports(reply);
    return reply->type == LAUNCHER_LIST ? check_list(reply) : NULL;
}
