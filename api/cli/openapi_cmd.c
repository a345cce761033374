/* This file is `berth openapi`: it prints the document that describes the HTTP interface; it never
 * asks a service. */
#include "api/openapi/openapi.h"

#include "api/cli/cli.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static const struct cli_option table[] = {
    {"help", NULL, "Show this help.", 0, 'h'},
};

static int help(void)
{
    _cleanup_buf_ struct buf out = {0};
    cli_option_help(&out, "Example:  berth openapi > berth.json\n", "berth openapi",
                    "Prints the OpenAPI document of the HTTP interface of `berth serve`: what\n"
                    "GET /v1/openapi.json answers.",
                    table, 1);
    return cli_print(STDOUT_FILENO, &out);
}

int cli_openapi(int argc, char **argv)
{
    _cleanup_buf_ struct buf out = {0};
    struct cli_cursor cursor = {.argc = argc, .at = 1, .argv = argv};
    struct err err;
    for (;;) {
        const struct cli_option *option;
        const char *value;
        int r = cli_option_next(&cursor, table, 1, &option, &value, &err);
        if (r < 0)
            return cli_fail(&err);
        if (r == CLI_OPTION_WORDS)
            break;
        return help();
    }
    if (cursor.at < argc) {
        err_set(&err, ERR_USAGE, 0, "unexpected word", argv[cursor.at],
                "`berth openapi` takes none.");
        return cli_fail(&err);
    }
    int r = openapi_document(&out);
    if (r == 0)
        return cli_print(STDOUT_FILENO, &out);
    err_set(&err, ERR_INTERNAL, -r, "write the document", NULL, NULL);
    return cli_fail(&err);
}
