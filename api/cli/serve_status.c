/* This file makes the page on which the supervisor counts what it sees and which front reads; front
 * can never write it.
 */
#include "api/cli/serve.h"

#include "runtime/base/fd.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

int serve_status_open(struct serve_status **ret, int *ret_memfd, struct err *err)
{
    static const char step[] = "make the page of what is counted";
    struct timespec now;
    _cleanup_fd_ int memfd = memfd_create("berth-status", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memfd < 0 || ftruncate(memfd, sizeof **ret) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, step, NULL, NULL);
    void *page = mmap(NULL, sizeof **ret, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    if (page == MAP_FAILED)
        return err_set(err, ERR_UNAVAILABLE, errno, step, NULL, NULL);
    if (fcntl(memfd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE) <
        0) {
        int r = err_set(err, ERR_UNAVAILABLE, errno, step, NULL, NULL);
        munmap(page, sizeof **ret);
        return r;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    *ret = page; /* as long as the process */
    (*ret)->started_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    *ret_memfd = take_fd(&memfd);
    return 0;
}

void serve_status_restarted(struct serve_status *status, enum serve_process process)
{
    if (status)
        __atomic_fetch_add(&status->restarts[process], 1, __ATOMIC_RELAXED);
}
