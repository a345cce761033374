/* This file reads questions and writes answers of DNS; it never sends one. Pure. */
#include "runtime/gateway/dns.h"

#include <stdio.h>
#include <string.h>

enum {
    HEADER = 12,
    LABEL_MAX = 63,
    WIRE_NAME_MAX = 255,
    OPT_BYTES = 11,
    EDNS_SIZE = 1232, /* what is said to be taken; answers are far below 512 */
};

enum {
    FLAG_RESPONSE = 0x8000,
    FLAG_OPCODE = 0x7800,
    FLAG_TRUNCATED = 0x0200,
    FLAG_RECURSION_DESIRED = 0x0100,
    FLAG_RECURSION_AVAILABLE = 0x0080,
    FLAG_CHECKING_DISABLED = 0x0010,
};

static uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static uint8_t *put16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
    return at + 2;
}

static uint8_t *put32(uint8_t *at, uint32_t value)
{
    return put16(put16(at, value >> 16), value & 0xffff);
}

/* ---- names ----------------------------------------------------------------------------------- */

static bool is_plain(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

/* One label as text; false when there is no room. */
static bool put_label(const uint8_t *label, size_t length, char *name, size_t *used, bool *plain)
{
    if (*used > 0) {
        if (*used + 1 >= DNS_NAME_MAX)
            return false;
        name[(*used)++] = '.';
    }
    for (size_t i = 0; i < length; i++) {
        if (*used + 4 >= DNS_NAME_MAX)
            return false;
        if (is_plain(label[i])) {
            name[(*used)++] = (char)label[i];
        } else {
            *plain = false;
            *used += (size_t)snprintf(name + *used, 5, "\\%03u", label[i]);
        }
    }
    return true;
}

int dns_read_name(const uint8_t *message, size_t length, size_t *at, char ret_name[DNS_NAME_MAX],
                  bool *ret_plain)
{
    char name[DNS_NAME_MAX];
    size_t used = 0, wire = 0, here = *at, behind = 0;
    bool plain = true;
    for (;;) {
        if (here >= length)
            return -1;
        uint8_t size = message[here];
        if ((size & 0xc0) == 0xc0) {
            if (here + 2 > length)
                return -1;
            size_t to = (size_t)(get16(message + here) & 0x3fff);
            /* Backwards from where this name began or was pointed to: it ends. */
            if (to < HEADER || to >= (behind ? here : *at) || to >= here)
                return -1;
            behind = behind ? behind : here + 2;
            here = to;
            wire += 1;
        } else if (size > LABEL_MAX) {
            return -1;
        } else {
            wire += 1u + size;
            if (wire > WIRE_NAME_MAX || here + 1 + size > length)
                return -1;
            here += 1;
            if (size == 0)
                break;
            if (!put_label(message + here, size, name, &used, &plain))
                return -1;
            here += size;
        }
    }
    name[used] = 0;
    memcpy(ret_name, name, used + 1);
    *ret_plain = plain && used > 0;
    *at = behind ? behind : here;
    return 0;
}

/* ---- questions ------------------------------------------------------------------------------- */

/* The OPT record that a question may end with. */
static enum dns_code read_additional(const uint8_t *message, size_t length, size_t at,
                                     struct dns_question *question)
{
    if (get16(message + 10) == 0)
        return at == length ? DNS_NOERROR : DNS_FORMERR;
    if (get16(message + 10) != 1 || at + OPT_BYTES > length || message[at] != 0 ||
        get16(message + at + 1) != DNS_TYPE_OPT)
        return DNS_FORMERR;
    unsigned version = message[at + 6];
    if (at + OPT_BYTES + get16(message + at + 9) != length)
        return DNS_FORMERR;
    question->edns = true;
    return version == 0 ? DNS_NOERROR : DNS_BADVERS;
}

int dns_read(const void *bytes, size_t length, struct dns_question *ret)
{
    const uint8_t *message = bytes;
    ret->question_length = 0;
    ret->edns = ret->plain = false;
    ret->name[0] = 0;
    ret->type = ret->class = 0;
    if (length < HEADER)
        return -1;
    ret->id = get16(message);
    ret->flags = get16(message + 2);
    /* Who answers an answer makes a loop. */
    if (ret->flags & FLAG_RESPONSE)
        return -1;
    if (length > DNS_QUESTION_MAX || (ret->flags & FLAG_TRUNCATED))
        return DNS_FORMERR;
    if (ret->flags & FLAG_OPCODE)
        return DNS_NOTIMP;
    if (get16(message + 4) != 1 || get16(message + 6) != 0 || get16(message + 8) != 0)
        return DNS_FORMERR;
    size_t at = HEADER;
    if (dns_read_name(message, length, &at, ret->name, &ret->plain) < 0 || at + 4 > length)
        return DNS_FORMERR;
    ret->type = get16(message + at);
    ret->class = get16(message + at + 2);
    at += 4;
    ret->question_length = (uint16_t)(at - HEADER);
    return (int)read_additional(message, length, at, ret);
}

/* ---- answers --------------------------------------------------------------------------------- */

size_t dns_write(const struct dns_question *question, const void *message, enum dns_code code,
                 const struct network_address *address, uint32_t ttl,
                 uint8_t ret_answer[DNS_ANSWER_MAX])
{
    unsigned kept =
        question->flags & (FLAG_OPCODE | FLAG_RECURSION_DESIRED | FLAG_CHECKING_DISABLED);
    bool answers = address && code == DNS_NOERROR && question->question_length > 0;
    uint8_t *at = put16(ret_answer, question->id);
    at = put16(at, FLAG_RESPONSE | FLAG_RECURSION_AVAILABLE | kept | ((unsigned)code & 15));
    at = put16(at, question->question_length > 0);
    at = put16(at, answers);
    at = put16(at, 0);
    at = put16(at, question->edns);
    memcpy(at, (const uint8_t *)message + HEADER, question->question_length);
    at += question->question_length;
    if (answers) {
        unsigned size = address->family == 4 ? 4 : 16;
        at = put16(at, 0xc000 | HEADER); /* the name of the question */
        at = put16(at, address->family == 4 ? DNS_TYPE_A : DNS_TYPE_AAAA);
        at = put16(at, DNS_CLASS_IN);
        at = put32(at, ttl);
        at = put16(at, size);
        memcpy(at, address->bytes, size);
        at += size;
    }
    if (question->edns) {
        *at++ = 0;
        at = put16(at, DNS_TYPE_OPT);
        at = put16(at, EDNS_SIZE);
        at = put32(at, (uint32_t)code >> 4 << 24);
        at = put16(at, 0);
    }
    return (size_t)(at - ret_answer);
}
