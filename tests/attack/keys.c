/* This file is an attack program: it tries the kernel's key management (row 14). It never reads a
 * key's contents.
 */
#include "try.h"

int main(void)
{
    try_begin();
    /* KEYCTL_GET_KEYRING_ID of the user, session and user-session keyrings */
    try_result("keyctl_user_keyring", syscall(SYS_keyctl, 0, -4, 0));
    try_result("keyctl_session_keyring", syscall(SYS_keyctl, 0, -3, 0));
    try_result("keyctl_join_session", syscall(SYS_keyctl, 1, "attack", 0, 0, 0));
    try_reach("keyctl_read", syscall(SYS_keyctl, 11, -3, NULL, 0, 0));
    try_result("add_key", syscall(SYS_add_key, "user", "berth-attack", "x", 1, -2));
    try_reach("request_key", syscall(SYS_request_key, "user", "berth-attack-none", NULL, 0));
    FILE *file = fopen("/proc/keys", "re");
    char line[256];
    if (!file)
        try_denied("read_proc_keys", errno);
    else if (!fgets(line, sizeof line, file))
        try_refused("read_proc_keys", "EMPTY");
    else
        try_succeeded("read_proc_keys", "%.60s", line);
    if (file)
        fclose(file);
    return try_end("keys");
}
