/* This file says what init may say: the order of its frames, the numbers that they name, and how
 * many of them there may be. It never looks at what a frame tells, and ends nothing itself: who is
 * not believed is ended by provider_seat.c, and only his session is.
 *
 * The shape of a frame was proven before (runtime/agent/protocol.c). What is checked here costs
 * memory, ledger or time when it is believed without end: front serves all sessions.
 */
#include "provider/provider_exec.h"

/* init tells of a spool at most every 5 ms, and of anything else once. Rows that it only says to
 * have count up to BACKGROUND_MOST. */
enum {
    FRAMES_A_ROW = 250, /* in a second */
    ROWS_ALWAYS = 16,
    BACKGROUND_MOST = 256,
    FRAMES_SAVED = 16384, /* and as much more for each row as it may say in FRAMES_SAVED_S */
    FRAMES_SAVED_S = 4,
    FRAMES_OF_A_COMMAND = 8,
};

static uint64_t rows_of(const struct seat *seat)
{
    uint64_t rows = ROWS_ALWAYS + seat->files_running;
    for (const struct exec *exec = seat->execs; exec; exec = exec->next)
        rows++;
    return rows + (seat->background_count < BACKGROUND_MOST ? seat->background_count
                                                            : (size_t)BACKGROUND_MOST);
}

/* What is not said is saved up to a bound: who was asleep finds all of it at once. */
static void earn(struct seat *seat)
{
    uint64_t now = loop_now_ms(seat->p->loop), passed = now - seat->credit_ms;
    if (passed == 0)
        return;
    uint64_t rows = rows_of(seat), most = FRAMES_SAVED + rows * FRAMES_A_ROW * FRAMES_SAVED_S;
    uint64_t earned = passed < 60000 ? passed * rows * FRAMES_A_ROW / 1000 : most;
    seat->credit =
        most - seat->credit > earned && seat->credit < most ? seat->credit + earned : most;
    seat->credit_ms = now;
}

void trust_begin(struct seat *seat)
{
    seat->greeted = false;
    denied_begin(seat);
    seat->credit = FRAMES_SAVED;
    seat->credit_ms = loop_now_ms(seat->p->loop);
    for (struct exec *exec = seat->execs; exec; exec = exec->next)
        exec->told_started = false;
}

void trust_more(struct seat *seat)
{
    seat->credit += FRAMES_OF_A_COMMAND;
    denied_more(seat);
}

/* A number up to those that were sent, or the one of its maker. */
static bool was_sent(const struct seat *seat, uint64_t number)
{
    return number >> NUMBER_ORDER_SHIFT <= seat->last_number >> NUMBER_ORDER_SHIFT ||
           number == AGENT_EXEC_PROBE;
}

static bool told_before(struct seat *seat, uint64_t number)
{
    struct exec *exec = number_is_files(number) ? NULL : exec_of_number(seat, number);
    bool before = exec && exec->told_started;
    if (exec)
        exec->told_started = true;
    return before;
}

bool trust_frame(struct seat *seat, const struct agent_frame *frame, const void *payload)
{
    struct agent_table_row row;
    earn(seat);
    if (seat->credit == 0)
        return false;
    seat->credit--;
    if (seat->greeted == (frame->type == AGENT_FRAME_HELLO))
        return false;
    switch ((enum agent_frame_type)frame->type) {
    case AGENT_FRAME_HELLO:
        seat->greeted = true;
        return frame->seq <= AGENT_TABLE_MAX;
    case AGENT_FRAME_TABLE:
        memcpy(&row, payload, sizeof row);
        return was_sent(seat, frame->exec) &&
               (seat->table_left > 0 || row.state != AGENT_ROW_RUNNING);
    case AGENT_FRAME_STARTED:
        return was_sent(seat, frame->exec) && !told_before(seat, frame->exec);
    case AGENT_FRAME_START_FAILED:
    case AGENT_FRAME_EXIT:
    case AGENT_FRAME_SPOOL:
    case AGENT_FRAME_STDIN:
    case AGENT_FRAME_DENIED:
        return was_sent(seat, frame->exec);
    case AGENT_FRAME_INTERRUPTED:
    case AGENT_FRAME_PONG:
        return true;
    case AGENT_FRAME_READY: /* those are its maker's */
    case AGENT_FRAME_FAILED:
    case AGENT_FRAME_DATA:
    case AGENT_FRAME_TYPE_END:
        break;
    }
    return false;
}
