/* This file lays out tables for people; it never knows what is in them. */
#include "api/cli/verb.h"

#include <string.h>

void table_clean(struct buf *out, const char *text, size_t length)
{
    const unsigned char *p = (const unsigned char *)text;
    for (size_t i = 0; i < length;) {
        size_t n = json_utf8_length(p + i, length - i);
        bool c1 = n == 2 && p[i] == 0xc2 && p[i + 1] < 0xa0;
        /* Marks that turn the direction of a line move what stands beside them. */
        bool turns = n == 3 && p[i] == 0xe2 &&
                     ((p[i + 1] == 0x80 && p[i + 2] >= 0xaa && p[i + 2] <= 0xae) ||
                      (p[i + 1] == 0x81 && p[i + 2] >= 0xa6 && p[i + 2] <= 0xa9));
        if (n == 0 || (n == 1 && (p[i] < 0x20 || p[i] == 0x7f)) || c1 || turns) {
            for (size_t end = i + (n ? n : 1); i < end; i++)
                buf_printf(out, "\\x%02x", p[i]);
            continue;
        }
        buf_add(out, text + i, n);
        i += n;
    }
}

void table_time(struct buf *out, const char *time)
{
    bool known = strlen(time) >= 20 && time[10] == 'T' && time[strlen(time) - 1] == 'Z';
    if (!known) {
        buf_puts(out, time[0] ? time : "-");
        return;
    }
    buf_add(out, time, 10);
    buf_putc(out, ' ');
    buf_add(out, time + 11, 8);
}

static size_t characters(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

void table_init(struct table *table, const char *const *heads)
{
    *table = (struct table){0};
    while (heads[table->columns] && table->columns < TABLE_COLUMNS_MAX)
        table->columns++;
    for (unsigned i = 0; i < table->columns; i++) {
        table->right[i] = heads[i][0] == '>';
        table_text(table, heads[i] + table->right[i]);
    }
}

void table_fini(struct table *table)
{
    buf_fini(&table->cells);
}

void table_cell(struct table *table, const char *text, size_t length)
{
    size_t at = table->cells.length;
    if (length == 0)
        buf_putc(&table->cells, '-');
    table_clean(&table->cells, text, length);
    buf_putc(&table->cells, 0);
    if (buf_failed(&table->cells))
        return;
    size_t width = characters(table->cells.data + at);
    if (width > table->width[table->at])
        table->width[table->at] = width;
    table->at = (table->at + 1) % table->columns;
    table->rows += table->at == 0;
}

void table_text(struct table *table, const char *text)
{
    table_cell(table, text, strlen(text));
}

void table_print(const struct table *table, struct buf *out)
{
    const char *cell = buf_text(&table->cells);
    out->failed |= table->cells.failed;
    for (unsigned row = 0; row < table->rows && !out->failed; row++) {
        for (unsigned i = 0; i < table->columns; i++) {
            size_t room = table->width[i] - characters(cell);
            bool last = i + 1 == table->columns;
            if (table->right[i])
                buf_printf(out, "%*s", (int)room, "");
            buf_puts(out, cell);
            if (!table->right[i] && !last)
                buf_printf(out, "%*s", (int)room, "");
            buf_puts(out, last ? "\n" : "  ");
            cell += strlen(cell) + 1;
        }
    }
}
