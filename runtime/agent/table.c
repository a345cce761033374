/* This file keeps the rows of execs; it never makes a system call. */
#include "runtime/agent/table.h"

#include <string.h>

unsigned table_index(const struct table *table, const struct row *row)
{
    return (unsigned)(row - table->rows);
}

struct row *table_find(struct table *table, uint64_t number)
{
    for (unsigned i = 0; number > 0 && i < table->used; i++)
        if (table->numbers[i] == number)
            return &table->rows[i];
    return NULL;
}

unsigned table_count(const struct table *table)
{
    return table->used - table->free_count;
}

bool table_had(const struct table *table, uint64_t number)
{
    if (number <= table->forgotten)
        return true;
    for (unsigned i = 0; i < TABLE_GONE; i++)
        if (table->gone[i] == number)
            return true;
    return false;
}

static void remember_gone(struct table *table, uint64_t number)
{
    uint64_t *place = &table->gone[table->gone_next];
    if (*place > table->forgotten)
        table->forgotten = *place;
    *place = number;
    table->gone_next = (table->gone_next + 1) % TABLE_GONE;
}

static void free_row(struct table *table, struct row *row)
{
    unsigned index = table_index(table, row);
    if (row->number != AGENT_EXEC_PROBE) /* higher than all others: they would be refused */
        remember_gone(table, row->number);
    row->state = ROW_FREE;
    row->number = table->numbers[index] = 0;
    table->free_count++;
    while (table->used > 0 && table->rows[table->used - 1].state == ROW_FREE) {
        table->used--;
        table->free_count--;
    }
}

void table_record(struct table *table, struct row *row)
{
    if (row->state != ROW_ENDED && row->state != ROW_BACKGROUND)
        return;
    row->recorded = true;
    if (row->state == ROW_ENDED && !table->frozen)
        free_row(table, row);
}

void table_thaw(struct table *table)
{
    table->frozen = false;
    for (unsigned i = table->used; i-- > 0;)
        if (i < table->used && table->rows[i].state == ROW_ENDED && table->rows[i].recorded)
            free_row(table, &table->rows[i]);
}

/* The ended row with the lowest number, whose number is never accepted again. */
static struct row *give_away(struct table *table)
{
    struct row *lowest = NULL;
    for (unsigned i = 0; i < table->used; i++) {
        struct row *row = &table->rows[i];
        if (row->state == ROW_ENDED && (!lowest || row->number < lowest->number))
            lowest = row;
    }
    if (lowest && lowest->number > table->forgotten)
        table->forgotten = lowest->number;
    return lowest;
}

/* The first one, so that a session touches few pages. */
static struct row *free_place(struct table *table)
{
    if (table->free_count == 0)
        return table->used < TABLE_ROWS ? &table->rows[table->used++] : NULL;
    struct row *row = table->rows;
    while (row->state != ROW_FREE)
        row++;
    table->free_count--;
    return row;
}

struct row *table_add(struct table *table, uint64_t number)
{
    struct row *row = free_place(table);
    if (!row && !table->frozen && !table->keeps)
        row = give_away(table);
    if (!row)
        return NULL;
    memset(row, 0, sizeof *row);
    row->number = number;
    row->state = ROW_STARTING;
    row->cgroup = row->error = row->listener = row->stream[0] = row->stream[1] = -1;
    row->input[0] = row->input[1] = row->feed = -1;
    row->exit.exit_code = -1;
    unsigned index = table_index(table, row);
    table->numbers[index] = number;
    table->live[table->live_count++] = (uint16_t)index;
    return row;
}

void table_end(struct table *table, struct row *row)
{
    uint16_t index = (uint16_t)table_index(table, row);
    for (unsigned i = 0; i < table->live_count; i++) {
        if (table->live[i] == index) {
            table->live[i] = table->live[--table->live_count];
            break;
        }
    }
    row->state = ROW_ENDED;
    if (row->recorded && !table->frozen)
        free_row(table, row);
}
