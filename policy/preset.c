/* This file carries the presets in the program, as the text of policy/presets; it never parses
 * them. The assembler reads the files: the Makefile makes this object depend on them.
 */
#include "policy/model.h"

#include <string.h>

#define EMBED(symbol, path)                                      \
    __asm__(".section .rodata\n"                                 \
            ".global preset_" #symbol "\n"                       \
            ".type preset_" #symbol ", @object\n"                \
            "preset_" #symbol ":\n"                              \
            ".incbin \"" path "\"\n"                             \
            ".byte 0\n"                                          \
            ".size preset_" #symbol ", . - preset_" #symbol "\n" \
            ".previous\n");                                      \
    extern const char preset_##symbol[]

EMBED(locked_down, "policy/presets/locked-down.jsonc");
EMBED(balanced, "policy/presets/balanced.jsonc");
EMBED(open, "policy/presets/open.jsonc");

static const struct {
    const char *name, *text;
} presets[] = {
    {"locked-down", preset_locked_down}, {"balanced", preset_balanced}, {"open", preset_open}};

int policy_presets(const char *const **ret_names)
{
    static const char *const names[] = {"locked-down", "balanced", "open", NULL};
    *ret_names = names;
    return 0;
}

const char *policy_preset_text(const char *name)
{
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++)
        if (strcmp(presets[i].name, name) == 0)
            return presets[i].text;
    return NULL;
}
