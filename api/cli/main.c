/* This file is the entry point of the `berth` program; all it does is in dispatch.c. */
#include "api/cli/cli.h"
#include "runtime/runtime.h"

#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    static const char refused[] =
        "berth: forbidden: start: berth has a setuid, setgid or capability bit and would act with "
        "rights that its caller does not have. Remove the bit: berth needs none.\n";
    /* Before a byte of the caller's is read: options, variables and files are his. */
    if (getauxval(AT_SECURE) || getuid() != geteuid() || getgid() != getegid()) {
        ssize_t n = write(STDERR_FILENO, refused, sizeof refused - 1);
        (void)n; /* whoever has closed his standard error gets the status alone */
        return CLI_EXIT_BERTH;
    }
    if (argc == 1 && strcmp(argv[0], RUNTIME_REAPER_ARGUMENT) == 0)
        return runtime_reaper_main();
    /* Dispositions outlive execve(): a caller that ignores its children would have the kernel reap
     * ours, and a file size limit must be an error to report and no death. */
    sigaction(SIGCHLD, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    cli_stdio_guard();
    return cli_main(argc, argv);
}
