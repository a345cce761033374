/* This file closes descriptors by the range; it never closes 0, 1 or 2. */
#include "runtime/base/fd.h"

#include <sys/syscall.h>

int fd_keep_only(const int *kept, unsigned count)
{
    for (unsigned from = 3;;) {
        unsigned next = ~0u;
        for (unsigned i = 0; i < count; i++)
            if (kept[i] >= (int)from && (unsigned)kept[i] < next)
                next = (unsigned)kept[i];
        /* By number: musl 1.2.3 has no close_range(). */
        if (next > from && syscall(SYS_close_range, from, next == ~0u ? next : next - 1, 0u) < 0)
            return -errno;
        if (next == ~0u)
            return 0;
        from = next + 1;
    }
}
