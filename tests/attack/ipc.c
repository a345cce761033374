/* This file is an attack program: it leaves marks in every kind of shared object, or looks for
 * those that another session left (row 15).
 *
 *     ipc put SECONDS     leaves them and stays
 *     ipc look [FILE]     looks for them; FILE: a file of the shared base to lock
 */
#include "try.h"

#include <fcntl.h>
#include <mqueue.h>
#include <stddef.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { KEY = 0x62727468 };

static int abstract_socket(struct sockaddr_un *address, socklen_t *length)
{
    static const char name[] = "berth-attack-ipc";
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path + 1, name, sizeof name - 1);
    *length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + sizeof name);
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int put(unsigned seconds)
{
    struct sockaddr_un address;
    socklen_t length;
    unsigned made = 0;
    int fd = open("/dev/shm/berth-attack", O_CREAT | O_RDWR | O_CLOEXEC, 0666);
    made += fd >= 0;
    fd = open("/tmp/berth-attack-ipc", O_CREAT | O_RDWR | O_CLOEXEC, 0666);
    made += fd >= 0;
    made += shmget(KEY, 4096, IPC_CREAT | 0666) >= 0;
    made += semget(KEY, 1, IPC_CREAT | 0666) >= 0;
    made += msgget(KEY, IPC_CREAT | 0666) >= 0;
    struct mq_attr attributes = {.mq_maxmsg = 1, .mq_msgsize = 16};
    made += mq_open("/berth-attack", O_CREAT | O_RDWR, 0666, &attributes) >= 0;
    fd = abstract_socket(&address, &length);
    made += fd >= 0 && bind(fd, (struct sockaddr *)&address, length) == 0 && listen(fd, 1) == 0;
    printf("put %u\n", made);
    fflush(stdout);
    sleep(seconds);
    shmctl(shmget(KEY, 0, 0), IPC_RMID, NULL);
    semctl(semget(KEY, 0, 0), 0, IPC_RMID);
    msgctl(msgget(KEY, 0), IPC_RMID, NULL);
    mq_unlink("/berth-attack");
    unlink("/dev/shm/berth-attack");
    unlink("/tmp/berth-attack-ipc");
    return 0;
}

static int look(const char *base)
{
    struct sockaddr_un address;
    socklen_t length;
    try_begin();
    try_result("shm_file", open("/dev/shm/berth-attack", O_RDONLY | O_CLOEXEC));
    try_result("tmp_file", open("/tmp/berth-attack-ipc", O_RDONLY | O_CLOEXEC));
    try_result("sysv_shm", shmget(KEY, 0, 0));
    try_result("sysv_sem", semget(KEY, 0, 0));
    try_result("sysv_msg", msgget(KEY, 0));
    try_result("posix_mq", mq_open("/berth-attack", O_RDONLY));
    int fd = abstract_socket(&address, &length);
    try_result("abstract", connect(fd, (struct sockaddr *)&address, length));
    if (base) {
        /* Row 15's documented exception: a lock on a file that sessions share is seen by both. */
        int file = open(base, O_RDONLY | O_CLOEXEC);
        printf("note flock on the shared base: %s\n",
               file >= 0 && flock(file, LOCK_EX | LOCK_NB) == 0 ? "possible" : "not possible");
        /* A write lease would make the host's own opens of the file wait. */
        try_result("lease_write", fcntl(file, F_SETLEASE, F_WRLCK));
        try_result("lease_read", fcntl(file, F_SETLEASE, F_RDLCK));
    }
    return try_end("ipc");
}

int main(int argc, char **argv)
{
    if (argc >= 3 && strcmp(argv[1], "put") == 0)
        return put((unsigned)strtoul(argv[2], NULL, 10));
    return look(argc >= 3 ? argv[2] : NULL);
}
