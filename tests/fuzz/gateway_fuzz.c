/* This file feeds arbitrary bytes to everything of the gateway that reads what others wrote: DNS,
 * ClientHellos, the kernel's log with a session's packet in it, requests (libFuzzer). The first
 * byte chooses. It stops the process when a promise of a header does not hold.
 */
#include "runtime/gateway/client_hello.h"
#include "runtime/gateway/dns.h"
#include "runtime/gateway/gateway.h"
#include "runtime/gateway/nflog.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool holds)
{
    if (!holds)
        abort();
}

static void check_dns(const uint8_t *data, size_t size)
{
    static struct dns_question q, again;
    struct network_address address = {.family = 6};
    uint8_t out[DNS_ANSWER_MAX];
    int code = dns_read(data, size, &q);
    if (code < 0)
        return;
    demand(strlen(q.name) < sizeof q.name && q.question_length <= 255 + 4);
    size_t n = dns_write(&q, data, (enum dns_code)code, &address, 60, out);
    demand(n >= 12 && n <= sizeof out);
    /* An answer is no question, and what is asked is asked back. */
    demand(dns_read(out, n, &again) == -1);
    demand(memcmp(out, data, 2) == 0);
    demand(q.question_length == 0 || memcmp(out + 12, data + 12, q.question_length) == 0);
}

static void check_hello(const uint8_t *data, size_t size)
{
    char name[SPEC_HOST_MAX + 2], longer[SPEC_HOST_MAX + 2];
    enum client_hello what = client_hello_read(data, size, name);
    if (what == CLIENT_HELLO_NAME)
        demand(strlen(name) > 0 && strlen(name) <= SPEC_HOST_MAX);
    /* What was decided is decided the same when it is not cut short. */
    for (size_t part = size / 2; part < size; part += size / 4 + 1) {
        enum client_hello before = client_hello_read(data, part, longer);
        if (before == CLIENT_HELLO_NAME)
            demand(what == before && strcmp(name, longer) == 0);
        if (before == CLIENT_HELLO_NO_NAME || before == CLIENT_HELLO_BROKEN)
            demand(what == before);
    }
}

static void check_log(const uint8_t *data, size_t size)
{
    struct nflog_packet packet;
    size_t at = 0;
    for (int r = 0; r >= 0;) {
        size_t before = at;
        r = nflog_next(data, size, &at, &packet);
        demand(r < 0 || (at > before && at <= size));
        demand(r != 1 || packet.to.family == 4 || packet.to.family == 6);
    }
}

static void check_messages(const uint8_t *data, size_t size)
{
    static struct gateway_request request;
    static struct gateway_reply reply;
    static struct gateway_event event;
    static struct network_record record;
    memcpy(&request, data, size < sizeof request ? size : sizeof request);
    if (!gateway_request_check(&request, size, 1))
        demand(request.port_count <= GATEWAY_PUBLISH_MAX);
    memcpy(&reply, data, size < sizeof reply ? size : sizeof reply);
    (void)gateway_reply_check(&reply, size);
    memcpy(&event, data, size < sizeof event ? size : sizeof event);
    if (!gateway_event_check(&event, size))
        demand(strlen(event.host) < sizeof event.host);
    memcpy(&record, data, size < sizeof record ? size : sizeof record);
    record.magic = GATEWAY_MAGIC;
    record.version = GATEWAY_VERSION;
    (void)gateway_record_check(&record, sizeof record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const checks[])(const uint8_t *data, size_t size) = {check_dns, check_hello,
                                                                       check_log, check_messages};
    if (size < 1)
        return 0;
    checks[data[0] % 4](data + 1, size - 1);
    return 0;
}
