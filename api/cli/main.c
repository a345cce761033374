/* This file is the entry point of the `berth` program; all it does is in dispatch.c. */
#include "api/cli/cli.h"

int main(int argc, char **argv)
{
    cli_stdio_guard();
    return cli_main(argc, argv);
}
