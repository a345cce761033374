/* This file keeps the rows of execs; it never makes a system call. */
#include "runtime/agent/table.h"

#include <string.h>

unsigned table_index(const struct table *table, const struct row *row)
{
    return (unsigned)(row - table->rows);
}

struct row *table_find(struct table *table, uint64_t number)
{
    for (unsigned i = 0; i < table->used; i++)
        if (table->numbers[i] == number)
            return &table->rows[i];
    return NULL;
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

struct row *table_add(struct table *table, uint64_t number)
{
    struct row *row = NULL;
    if (table->used < TABLE_ROWS)
        row = &table->rows[table->used++];
    else if (!table->frozen)
        row = give_away(table);
    if (!row)
        return NULL;
    memset(row, 0, sizeof *row);
    row->number = number;
    row->state = ROW_STARTING;
    row->cgroup = row->error = row->stream[0] = row->stream[1] = -1;
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
}
