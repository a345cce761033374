/* This file tests the checks of the frames between front and launcher: each field that is wrong is
 * seen, and a frame that is right passes. */
#include "runtime/launcher.h"

#include <criterion/criterion.h>
#include <string.h>

static struct launcher_request good(unsigned type)
{
    struct launcher_request r = {.magic = LAUNCHER_MAGIC,
                                 .version = LAUNCHER_VERSION,
                                 .type = (uint16_t)type,
                                 .ticket = 1,
                                 .row = 0x7f3a,
                                 .incarnation = 2};
    strcpy(r.instance, "0123456789abcdef");
    r.generation = type == LAUNCHER_LAUNCH || type == LAUNCHER_NETWORK;
    if (type == LAUNCHER_VOLUME_REMOVE || type == LAUNCHER_VOLUME_MEASURE) {
        strcpy(r.workspace_id, "local");
        strcpy(r.volume, "data");
    }
    return r;
}

static const unsigned fewest[] = {
#define X(symbol, name, least, most) [LAUNCHER_##symbol] = least,
    LAUNCHER_REQUESTS(X)
#undef X
};
static const unsigned most_of[] = {
#define X(symbol, name, least, most) [LAUNCHER_##symbol] = most,
    LAUNCHER_REQUESTS(X)
#undef X
};

#define PASSES(r, fds)  cr_expect_null(launcher_request_check(&(r), sizeof(r), (fds)))
#define REFUSED(r, fds) cr_expect_not_null(launcher_request_check(&(r), sizeof(r), (fds)))

Test(launcher_frames, every_request_passes_with_its_number_of_descriptors_and_no_other)
{
    for (unsigned type = 1; type < LAUNCHER_REQUEST_END; type++) {
        struct launcher_request r = good(type);
        for (unsigned fds = 0; fds <= LAUNCHER_FDS_MAX + 1; fds++)
            cr_expect_eq(launcher_request_check(&r, sizeof r, fds) == NULL,
                         fds >= fewest[type] && fds <= most_of[type], "%s with %u",
                         launcher_request_name(type), fds);
    }
}

Test(launcher_frames, a_frame_of_another_size_magic_version_type_or_ticket_is_refused)
{
    struct launcher_request r = good(LAUNCHER_END);
    cr_expect_not_null(launcher_request_check(&r, sizeof r - 1, 0));
    cr_expect_not_null(launcher_request_check(&r, sizeof r + 1, 0));
    cr_expect_not_null(launcher_request_check(&r, 0, 0));
    r.magic++;
    REFUSED(r, 0);
    r = good(LAUNCHER_END);
    r.version++;
    REFUSED(r, 0);
    r = good(LAUNCHER_REQUEST_NONE);
    REFUSED(r, 0);
    r = good(LAUNCHER_REQUEST_END);
    REFUSED(r, 0);
    r = good(0xffff);
    REFUSED(r, 0);
    r = good(LAUNCHER_END);
    r.ticket = 0;
    REFUSED(r, 0);
}

Test(launcher_frames, rows_and_incarnations_that_name_nothing_are_refused)
{
    struct launcher_request r = good(LAUNCHER_END);
    r.row = 0;
    REFUSED(r, 0);
    r.row = INT64_MIN;
    REFUSED(r, 0);
    r = good(LAUNCHER_END);
    r.incarnation = -1;
    REFUSED(r, 0);
    r = good(LAUNCHER_LIST);
    r.row = r.incarnation = 0;
    PASSES(r, 0);
    r.row = -1;
    REFUSED(r, 0);
}

Test(launcher_frames, strings_that_do_not_end_or_are_no_ids_are_refused)
{
    struct launcher_request r = good(LAUNCHER_END);
    memset(r.instance, 'a', sizeof r.instance);
    REFUSED(r, 0);
    r = good(LAUNCHER_END);
    r.instance[0] = 0;
    REFUSED(r, 0);
    strcpy(r.instance, "../x");
    REFUSED(r, 0);
    r = good(LAUNCHER_LOOK);
    memset(r.identity.boot_id, 'b', sizeof r.identity.boot_id);
    REFUSED(r, 0);
    r = good(LAUNCHER_VOLUME_REMOVE);
    memset(r.volume, 'v', sizeof r.volume);
    REFUSED(r, 0);
    r = good(LAUNCHER_VOLUME_REMOVE);
    strcpy(r.volume, "..");
    REFUSED(r, 0);
    r = good(LAUNCHER_VOLUME_MEASURE);
    strcpy(r.workspace_id, "a/b");
    REFUSED(r, 0);
    r.workspace_id[0] = 0;
    REFUSED(r, 0);
    r = good(LAUNCHER_END);
    strcpy(r.volume, "data");
    REFUSED(r, 0);
    r = good(LAUNCHER_FILES);
    r.read_only = 2;
    REFUSED(r, 2);
}

Test(launcher_frames, a_revision_of_the_network_comes_with_its_rules_and_with_nothing_else)
{
    for (unsigned type = 1; type < LAUNCHER_REQUEST_END; type++) {
        struct launcher_request r = good(type);
        r.generation = !r.generation;
        REFUSED(r, fewest[type]);
    }
    struct launcher_request r = good(LAUNCHER_NETWORK);
    r.generation = UINT64_MAX;
    PASSES(r, 1);
}

static struct launcher_reply reply(unsigned type)
{
    return (struct launcher_reply){.magic = LAUNCHER_MAGIC,
                                   .version = LAUNCHER_VERSION,
                                   .type = (uint16_t)type,
                                   .ticket = type == LAUNCHER_REQUEST_END ? 0 : 1,
                                   .row = 1,
                                   .incarnation = 1};
}

Test(launcher_frames, a_reply_has_no_more_published_ports_than_there_is_room_for)
{
    for (unsigned i = 0; i < 2; i++) {
        struct launcher_reply r = reply(i ? LAUNCHER_PORTS : LAUNCHER_NETWORK);
        r.network.published.count = SPEC_PUBLISH_MAX;
        cr_expect_null(launcher_reply_check(&r, sizeof r));
        r.network.published.count++;
        cr_expect_not_null(launcher_reply_check(&r, sizeof r));
    }
}

#define SEEN(r) cr_expect_not_null(launcher_reply_check(&(r), sizeof(r)))

Test(launcher_frames, every_reply_passes_and_one_that_would_be_read_out_of_bounds_does_not)
{
    struct launcher_reply r;
    for (unsigned type = 1; type <= LAUNCHER_REQUEST_END; type++) {
        r = reply(type);
        cr_expect_null(launcher_reply_check(&r, sizeof r), "%u", type);
        cr_expect_not_null(launcher_reply_check(&r, sizeof r - 1));
    }
    r = reply(LAUNCHER_REQUEST_END + 1);
    SEEN(r);
    r = reply(LAUNCHER_REQUEST_END);
    r.ticket = 1;
    SEEN(r);
    r = reply(LAUNCHER_LAUNCH);
    r.launched.note_count = LAUNCHER_NOTES_MAX + 1;
    SEEN(r);
    r = reply(LAUNCHER_END);
    r.launched.note_count = 1;
    memset(r.launched.notes[0].text, 'x', sizeof r.launched.notes[0].text);
    SEEN(r);
    r = reply(LAUNCHER_END);
    r.launched.last.taken = 1;
    cr_expect_null(launcher_reply_check(&r, sizeof r));
    r.launched.last.taken = 2;
    SEEN(r);
    r = reply(LAUNCHER_LAUNCH);
    r.launched.last.taken = 1;
    SEEN(r);
    r = reply(LAUNCHER_LAUNCH);
    memset(r.launched.effective.spec_hash, 'f', sizeof r.launched.effective.spec_hash);
    SEEN(r);
    r = reply(LAUNCHER_LIST);
    r.list.count = LAUNCHER_LIST_MAX + 1;
    SEEN(r);
    r.list.count = 1;
    SEEN(r);
    r = reply(LAUNCHER_LOOK);
    r.found = SESSION_FOUND_OTHER + 1;
    SEEN(r);
    r = reply(LAUNCHER_LOOK);
    memset(r.err.detail, 'd', sizeof r.err.detail);
    SEEN(r);
    r = reply(LAUNCHER_LOOK);
    r.result = 1;
    SEEN(r);
    r.result = -5;
    SEEN(r); /* and no code */
}
