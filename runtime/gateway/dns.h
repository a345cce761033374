/* This file reads questions and writes answers of DNS (RFC 1035, EDNS0 of RFC 6891), as the gateway
 * needs them; it never sends one and keeps nothing. Strict and bounded: what is not a plain
 * question is answered with an error, or not at all when it is no question. Pure. Any process may
 * call.
 */
#pragma once

#include "runtime/plan/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DNS_QUESTION_MAX = 1024, /* bytes of a message that is read */
    DNS_ANSWER_MAX = 512,    /* bytes of a message that is written */
    DNS_NAME_MAX = 1024,     /* of a name as text, each byte escaped */
};

enum { DNS_TYPE_A = 1, DNS_TYPE_PTR = 12, DNS_TYPE_AAAA = 28, DNS_TYPE_OPT = 41 };
enum { DNS_CLASS_IN = 1 };
enum dns_code {
    DNS_NOERROR = 0,
    DNS_FORMERR = 1,
    DNS_NXDOMAIN = 3,
    DNS_NOTIMP = 4,
    DNS_REFUSED = 5,
    DNS_BADVERS = 16,
};

struct dns_question {
    uint16_t id, flags, type, class;
    uint16_t question_length; /* bytes from 12 on that are the question; 0: unreadable */
    bool edns;
    bool plain; /* the name has only bytes that a host name may have, and dots between labels */
    char name[DNS_NAME_MAX]; /* without the last dot; other bytes as \DDD */
};

/* DNS_NOERROR: a question to decide. Another code: answer with it. -1: nothing to answer. */
int dns_read(const void *bytes, size_t length, struct dns_question *ret);

/* A name at *at, which moves behind it. Pointers go backwards only. 0, or -1. */
int dns_read_name(const uint8_t *message, size_t length, size_t *at, char ret_name[DNS_NAME_MAX],
                  bool *ret_plain);

/* The answer to a question that dns_read() filled from `message`, with `address` (NULL: none).
 * Returns its length, always between 12 and DNS_ANSWER_MAX. */
size_t dns_write(const struct dns_question *question, const void *message, enum dns_code code,
                 const struct network_address *address, uint32_t ttl,
                 uint8_t ret_answer[DNS_ANSWER_MAX]);
