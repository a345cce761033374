/* This file finds the host that a TLS ClientHello names (RFC 8446, RFC 6066); it knows nothing else
 * of TLS and keeps nothing: the whole beginning of the stream is shown to it again each time more
 * of it has come. Pure. Any process may call.
 */
#pragma once

#include "runtime/spec.h"

#include <stddef.h>
#include <stdint.h>

/* More bytes than this are no ClientHello that anybody sends. */
enum { CLIENT_HELLO_MAX = 16384 };

enum client_hello {
    CLIENT_HELLO_OTHER = 1, /* not TLS: whatever it is, it names no host */
    CLIENT_HELLO_MORE,      /* so far it is one, but not whole */
    CLIENT_HELLO_NO_NAME,   /* whole, and names no host */
    CLIENT_HELLO_NAME,      /* ret_name: as it was sent, and it has no NUL within */
    CLIENT_HELLO_BROKEN,    /* TLS of a wrong shape, or too long */
};

enum client_hello client_hello_read(const void *data, size_t length,
                                    char ret_name[SPEC_HOST_MAX + 2]);
