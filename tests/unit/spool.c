/* This file tests spool files: what a writer put there, in the order and with the numbers that it
 * had (EXEC-2), what was dropped as one gap (EXEC-8), and files that no writer made. */
#include "runtime/agent/spool_writer.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/link/spool_reader.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static struct spool *spool;
static int file = -1;

static void stop(void)
{
    spool_writer_close(spool);
    spool = NULL;
    fd_replace(&file, -1);
}

TestSuite(spool, .fini = stop);

static void start(uint64_t head, uint64_t tail)
{
    const struct agent_spool_limits limits = {head, tail};
    const char *step = NULL;
    file = memfd_create("spool", MFD_CLOEXEC);
    int r = spool_writer_open(&spool, fcntl(file, F_DUPFD_CLOEXEC, 0), 7, &limits, &step);
    cr_assert_eq(r, 0, "%s: %d", step, r);
}

/* Bytes of an endless text in which each place is known. */
static unsigned char byte_at(uint64_t offset)
{
    return (unsigned char)(offset * 31 + (offset >> 8) * 7 + (offset >> 16));
}

static uint64_t written;

static void put(size_t length)
{
    static unsigned char bytes[1 << 20];
    for (size_t i = 0; i < length; i++)
        bytes[i] = byte_at(written + i);
    spool_writer_write(spool, AGENT_STDOUT, bytes, length);
    written += length;
}

static void put_exit(bool last)
{
    struct agent_exit exit = {.reason = AGENT_REASON_EXIT, .exit_code = 3, .output_bytes = written};
    spool_writer_exit(spool, &exit, last);
}

/* One pass of a reader, checked against the text. */
struct seen {
    uint64_t next_seq, offset; /* after what was seen */
    uint64_t data_bytes, gap_bytes, frames, gaps;
    uint64_t gap_from, gap_to;
    bool exited;
    int last; /* what the reader said at the end */
};

static void see(struct seen *seen, const struct spool_frame *frame)
{
    cr_assert_eq(frame->seq, seen->next_seq, "%lu instead of %lu", frame->seq, seen->next_seq);
    cr_assert_geq(frame->to_seq, frame->seq);
    seen->next_seq = frame->to_seq + 1;
    seen->frames++;
    if (frame->kind == SPOOL_GAP) {
        cr_assert_null(frame->data);
        seen->offset += frame->bytes;
        seen->gap_bytes += frame->bytes;
        seen->gaps++;
        seen->gap_from = frame->seq;
        seen->gap_to = frame->to_seq;
        return;
    }
    if (frame->kind == SPOOL_EXIT) {
        cr_assert_not(seen->exited);
        seen->exited = true;
        cr_assert_eq(((const struct agent_exit *)frame->data)->exit_code, 3);
        return;
    }
    cr_assert_eq(frame->kind, seen->exited ? SPOOL_BACKGROUND : SPOOL_STDOUT);
    for (uint64_t i = 0; i < frame->bytes; i++)
        if (((const unsigned char *)frame->data)[i] != byte_at(seen->offset + i))
            cr_assert_fail("a wrong byte at %lu", seen->offset + i);
    seen->offset += frame->bytes;
    seen->data_bytes += frame->bytes;
}

static struct seen read_on(struct spool_reader *reader, struct seen seen)
{
    struct spool_frame frame;
    struct err err = {0};
    while ((seen.last = spool_reader_next(reader, &frame, &err)) == 0)
        see(&seen, &frame);
    cr_assert_gt(seen.last, 0, "%s", err.detail);
    return seen;
}

static struct seen read_all(void)
{
    struct spool_reader *reader;
    struct err err;
    cr_assert_eq(spool_reader_new(&reader, file, 0, &err), 0);
    struct seen seen = read_on(reader, (struct seen){.next_seq = 1});
    spool_reader_free(reader);
    return seen;
}

/* A berth that is newer reads what an older init writes, so a sum is what it was: of no bytes, of
 * some that fill no lane, of whole lanes, of more. */
Test(spool, a_sum_is_what_it_was)
{
    unsigned char data[200];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 37 + 11);
    cr_assert_eq(spool_sum(0, data, 0), UINT64_C(0x8859e9aa3da67ecb));
    cr_assert_eq(spool_sum(1, data, 7), UINT64_C(0x5dd17d093e030428));
    cr_assert_eq(spool_sum(2, data, 32), UINT64_C(0x14f26e02233b8e9c));
    cr_assert_eq(spool_sum(3, data, 33), UINT64_C(0x28876ddd999c4930));
    cr_assert_eq(spool_sum(4, data, 200), UINT64_C(0x48dfb89784958243));
}

Test(spool, EXEC_2_what_was_written_is_read_and_the_exit_is_last)
{
    start(1 << 20, 1 << 20);
    cr_assert_eq(read_all().last, SPOOL_NONE);
    for (size_t i = 1; i < 300; i++)
        put(i * 7);
    struct seen seen = read_all();
    cr_assert_eq(seen.last, SPOOL_NONE);
    cr_assert_eq(seen.data_bytes, written);
    cr_assert_eq(seen.frames, 299);
    put_exit(true);
    seen = read_all();
    cr_assert_eq(seen.last, SPOOL_END);
    cr_assert(seen.exited);
    cr_assert_eq(seen.gaps, 0);
    struct spool_status status;
    struct err err;
    cr_assert_eq(spool_status(file, &status, &err), 0);
    cr_assert_eq(status.last_seq, 300);
    cr_assert_eq(status.output_bytes, written);
    cr_assert_eq(status.dropped_bytes, 0);
    cr_assert(status.ended);
}

Test(spool, EXEC_8_head_and_tail_are_kept_and_the_middle_is_one_gap)
{
    start(100000, 200000);
    for (int i = 0; i < 300; i++)
        put(33333);
    put_exit(true);
    struct seen seen = read_all();
    cr_assert_eq(seen.last, SPOOL_END);
    cr_assert_eq(seen.gaps, 1);
    cr_assert_eq(seen.offset, written);
    cr_assert_geq(seen.data_bytes, 300000);
    cr_assert_leq(seen.data_bytes, 330000);
    struct spool_status status;
    struct err err;
    cr_assert_eq(spool_status(file, &status, &err), 0);
    cr_assert_eq(status.dropped_bytes, seen.gap_bytes);
    struct stat st;
    fstat(file, &st);
    cr_assert_leq(st.st_blocks * 512, 2 * 300000, "%ld", (long)st.st_blocks * 512);
}

Test(spool, EXEC_8_output_up_to_the_limit_is_never_dropped_however_small_its_pieces)
{
    start(40000, 40000);
    while (written < 80000)
        put(40);
    put_exit(true);
    struct seen seen = read_all();
    cr_assert_eq(seen.gaps, 0);
    cr_assert_eq(seen.data_bytes, 80000);
}

Test(spool, EXEC_8_the_file_never_grows_past_its_places)
{
    start(10000, 0);
    for (int i = 0; i < 200000; i++)
        put(1 + (size_t)i % 3);
    for (int i = 0; i < 100; i++)
        put(500000);
    struct stat st;
    fstat(file, &st);
    cr_assert_leq(st.st_size, 4096 + 24096 + 9 * 20480);
    struct seen seen = read_all();
    cr_assert_eq(seen.offset, written);
    cr_assert_eq(seen.gaps, 1);
}

Test(spool, EXEC_8_a_follower_that_keeps_up_gets_everything)
{
    start(5000, 5000);
    struct spool_reader *reader;
    struct err err;
    cr_assert_eq(spool_reader_new(&reader, file, 0, &err), 0);
    struct seen seen = {.next_seq = 1};
    for (int i = 0; i < 3000; i++) {
        put((size_t)(i * 97 % 9000) + 1);
        seen = read_on(reader, seen);
    }
    put_exit(false);
    spool_writer_write(spool, AGENT_BACKGROUND, (unsigned char[]){byte_at(written)}, 1);
    seen = read_on(reader, seen);
    cr_assert_eq(seen.last, SPOOL_NONE);
    cr_assert(seen.exited);
    cr_assert_eq(seen.gaps, 0);
    cr_assert_eq(seen.data_bytes, written + 1);
    spool_writer_close(spool);
    spool = NULL;
    cr_assert_eq(read_on(reader, seen).last, SPOOL_END);
    spool_reader_free(reader);
}

Test(spool, EXEC_8_a_follower_that_falls_behind_gets_one_gap_of_the_right_size)
{
    start(5000, 50000);
    struct spool_reader *reader;
    struct err err;
    cr_assert_eq(spool_reader_new(&reader, file, 0, &err), 0);
    struct seen seen = {.next_seq = 1};
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < round * 10; i++)
            put(700);
        uint64_t gaps = seen.gaps;
        seen = read_on(reader, seen);
        cr_assert_leq(seen.gaps, gaps + 1);
        cr_assert_eq(seen.offset, written);
    }
    cr_assert_gt(seen.gaps, 0);
    spool_reader_free(reader);
}

Test(spool, EXEC_2_reading_again_from_any_number_gives_the_same_frames)
{
    struct one {
        struct spool_frame frame;
        uint64_t sum;
    } *all = calloc(10000, sizeof *all);
    start(20000, 90000);
    for (int i = 0; i < 1200; i++)
        put((size_t)(i * 13 % 700) + 1);
    put_exit(false);
    for (int i = 0; i < 20; i++) {
        spool_writer_write(spool, AGENT_BACKGROUND, "background", 10);
    }
    struct spool_reader *reader;
    struct err err;
    struct spool_frame frame;
    size_t count = 0;
    cr_assert_eq(spool_reader_new(&reader, file, 0, &err), 0);
    while (spool_reader_next(reader, &frame, &err) == 0)
        all[count++] = (struct one){frame, frame.data ? spool_sum(0, frame.data, frame.bytes) : 0};
    spool_reader_free(reader);
    size_t at = 0;
    for (uint64_t from = 1; from <= all[count - 1].frame.to_seq; from++) {
        while (all[at].frame.to_seq < from)
            at++;
        cr_assert_eq(spool_reader_new(&reader, file, from, &err), 0);
        for (size_t i = at; i < count; i++) {
            cr_assert_eq(spool_reader_next(reader, &frame, &err), 0, "from %lu", from);
            const struct spool_frame *want = &all[i].frame;
            cr_assert(frame.seq == want->seq && frame.to_seq == want->to_seq &&
                          frame.kind == want->kind && frame.bytes == want->bytes &&
                          frame.time_ms == want->time_ms,
                      "from %lu: frame %lu", from, want->seq);
            cr_assert_eq(frame.data ? spool_sum(0, frame.data, frame.bytes) : 0, all[i].sum);
        }
        cr_assert_eq(spool_reader_next(reader, &frame, &err), SPOOL_NONE);
        spool_reader_free(reader);
    }
    free(all);
}

/* Who comes back near the end of a large output must not hold up whoever else is served. */
Test(spool, EXEC_2_a_call_passes_over_a_bounded_part_of_what_nobody_asked_for)
{
    start(8 << 20, 8 << 20);
    for (int i = 0; i < 10000; i++)
        put(600);
    struct spool_reader *reader;
    struct err err;
    struct spool_frame frame;
    unsigned more = 0;
    cr_assert_eq(spool_reader_new(&reader, file, 9990, &err), 0);
    int r;
    while ((r = spool_reader_next(reader, &frame, &err)) == SPOOL_MORE)
        more++;
    cr_assert_eq(r, 0);
    cr_expect_eq(frame.seq, 9990);
    cr_expect_eq(((const unsigned char *)frame.data)[0], byte_at(9989 * 600));
    cr_expect_geq(more, 5, "%u", more);
    spool_reader_free(reader);
}

Test(spool, EXEC_2_a_reader_beside_the_writer_sees_every_number_once)
{
    start(1 << 16, 1 << 18);
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 20000; i++)
            put((size_t)(i * 61 % 5000) + 1);
        put_exit(true);
        _exit(0);
    }
    struct spool_reader *reader;
    struct err err;
    cr_assert_eq(spool_reader_new(&reader, file, 0, &err), 0);
    struct seen seen = {.next_seq = 1};
    do
        seen = read_on(reader, seen);
    while (seen.last == SPOOL_NONE);
    spool_reader_free(reader);
    int status;
    waitpid(pid, &status, 0);
    cr_assert_eq(status, 0);
    uint64_t total = 0;
    for (int i = 0; i < 20000; i++)
        total += (uint64_t)(i * 61 % 5000) + 1;
    cr_assert_eq(seen.offset, total);
    cr_assert(seen.exited);
}

/* A disk that is full, as far as a process can make one: EFBIG. */
Test(spool, a_full_disk_costs_output_and_is_told_as_a_gap)
{
    char name[] = "/tmp/berth-spool-XXXXXX";
    const struct agent_spool_limits limits = {1 << 20, 1 << 20};
    const char *step;
    file = mkstemp(name);
    unlink(name);
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(spool_writer_open(&spool, fcntl(file, F_DUPFD_CLOEXEC, 0), 7, &limits, &step), 0);
    put(3000);
    struct rlimit before, full = {20000, RLIM_INFINITY};
    getrlimit(RLIMIT_FSIZE, &before);
    full.rlim_max = before.rlim_max;
    setrlimit(RLIMIT_FSIZE, &full);
    for (int i = 0; i < 10; i++)
        put(3000);
    setrlimit(RLIMIT_FSIZE, &before);
    struct seen seen = read_all();
    uint64_t before_gap = seen.data_bytes;
    cr_assert_lt(before_gap, written);
    put(5000);
    seen = read_all();
    cr_assert_eq(seen.gaps, 1);
    cr_assert_eq(seen.offset, written);
    setrlimit(RLIMIT_FSIZE, &full);
    put(7000);
    put_exit(true);
    setrlimit(RLIMIT_FSIZE, &before);
    seen = read_all();
    cr_assert_eq(seen.last, SPOOL_END);
    cr_assert(seen.exited);
    cr_assert_eq(seen.gaps, 2);
    cr_assert_eq(seen.offset, written);
}

Test(spool, a_file_that_is_cut_off_anywhere_ends_or_is_no_spool)
{
    start(20000, 20000);
    for (int i = 0; i < 200; i++)
        put(600);
    put_exit(true);
    struct stat st;
    fstat(file, &st);
    for (off_t size = st.st_size - 1; size >= 0; size -= size > 5000 ? 997 : 61) {
        int cut = memfd_create("cut", MFD_CLOEXEC);
        _cleanup_free_ char *bytes = malloc((size_t)st.st_size);
        cr_assert_eq(pread(file, bytes, (size_t)size, 0), size);
        cr_assert_eq(pwrite(cut, bytes, (size_t)size, 0), size);
        struct spool_reader *reader;
        struct spool_frame frame;
        struct err err = {0};
        cr_assert_eq(spool_reader_new(&reader, cut, 0, &err), 0);
        struct seen seen = {.next_seq = 1};
        int r;
        while ((r = spool_reader_next(reader, &frame, &err)) == 0)
            see(&seen, &frame);
        cr_assert(r == SPOOL_END || (r == SPOOL_NONE && size == 0) || (r == -EPROTO && size < 4096),
                  "%d at %ld", r, (long)size);
        if (r == SPOOL_END)
            cr_assert_eq(seen.offset, written);
        spool_reader_free(reader);
        close(cut);
    }
}

Test(spool, what_no_writer_made_is_no_spool)
{
    file = memfd_create("spool", MFD_CLOEXEC);
    char text[8192];
    memset(text, 'x', sizeof text);
    cr_assert_eq(io_write_full(file, text, sizeof text), 0);
    struct spool_reader *reader;
    struct spool_frame frame;
    struct spool_status status;
    struct err err = {0};
    cr_assert_eq(spool_reader_new(&reader, file, 0, &err), 0);
    cr_assert_eq(spool_reader_next(reader, &frame, &err), -EPROTO);
    cr_assert_eq(spool_reader_next(reader, &frame, &err), -EPROTO);
    cr_assert_eq(spool_status(file, &status, &err), -EPROTO);
    spool_reader_free(reader);
}

Test(spool, every_damaged_byte_of_header_and_records_is_noticed)
{
    start(4000, 0);
    for (int i = 0; i < 20; i++)
        put(100);
    put_exit(true);
    for (off_t at = 0; at < SPOOL_REGIONS_AT + 20 * 140; at += at < SPOOL_REGIONS_AT ? 1 : 3) {
        unsigned char byte, other;
        cr_assert_eq(pread(file, &byte, 1, at), 1);
        other = byte ^ 0x10;
        cr_assert_eq(pwrite(file, &other, 1, at), 1);
        struct spool_reader *reader;
        struct spool_frame frame;
        struct err err = {0};
        cr_assert_eq(spool_reader_new(&reader, file, 0, &err), 0);
        struct seen seen = {.next_seq = 1};
        int r;
        while ((r = spool_reader_next(reader, &frame, &err)) == 0)
            see(&seen, &frame);
        cr_assert(r == SPOOL_END || r == SPOOL_NONE || (r == -EPROTO && at < SPOOL_REGIONS_AT));
        if (at >= SPOOL_REGIONS_AT)
            cr_assert(seen.gaps == 1 && r == SPOOL_END, "at %ld", (long)at);
        spool_reader_free(reader);
        cr_assert_eq(pwrite(file, &byte, 1, at), 1);
    }
}

Test(spool, only_an_empty_file_that_can_be_written_becomes_a_spool)
{
    const struct agent_spool_limits limits = {1, 1};
    const char *step;
    int ends[2];
    file = memfd_create("spool", MFD_CLOEXEC);
    cr_assert_eq(write(file, "x", 1), 1);
    cr_assert_eq(spool_writer_open(&spool, fcntl(file, F_DUPFD_CLOEXEC, 0), 7, &limits, &step),
                 -EEXIST);
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    cr_assert_eq(spool_writer_open(&spool, ends[1], 7, &limits, &step), -EINVAL);
    close(ends[0]);
    char name[] = "/tmp/berth-spool-XXXXXX";
    close(mkstemp(name));
    const int flags[] = {O_RDONLY, O_WRONLY | O_APPEND, O_PATH};
    for (size_t i = 0; i < ARRAY_LENGTH(flags); i++)
        cr_assert_lt(spool_writer_open(&spool, open(name, flags[i] | O_CLOEXEC), 7, &limits, &step),
                     0);
    unlink(name);
}
