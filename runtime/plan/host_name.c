/* This file knows what a host name is (NET-2); it never resolves one. */
#include "runtime/plan/host_name.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { HOST_BYTES_MAX = 253, LABEL_BYTES_MAX = 63 };

static int __attribute__((format(printf, 2, 3)))
refuse(char ret_why[HOST_WHY_MAX], const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(ret_why, HOST_WHY_MAX, fmt, ap);
    va_end(ap);
    return -EINVAL;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f');
}

/* Resolvers read "127.1", "0x7f.1" and "2130706433" as IPv4 addresses: whatever ends in a number is
 * one (WHATWG URL, "ends in a number"). */
static bool ends_in_number(const char *host)
{
    const char *dot = strrchr(host, '.');
    const char *p = dot ? dot + 1 : host;
    bool hex = p[0] == '0' && p[1] == 'x';
    for (p += hex ? 2 : 0; *p; p++)
        if (hex ? !is_hex(*p) : !is_digit(*p))
            return false;
    return true;
}

/* Mistakes that have a better answer than "bad character". */
static int refuse_lookalikes(const char *text, char ret_why[HOST_WHY_MAX])
{
    unsigned char address[16];
    char shown[64];
    snprintf(shown, sizeof shown, "%.63s", text);
    if (!*text)
        return refuse(ret_why, "The name is empty.");
    if (strstr(text, "://"))
        return refuse(ret_why, "\"%s\" is a URL. Only the name of the host goes here.", shown);
    if (inet_pton(AF_INET6, text, address) == 1 || text[0] == '[')
        return refuse(ret_why, "\"%s\" is an IP address, not a name. Use {\"cidr\": …} for it.",
                      shown);
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p > 0x7f)
            return refuse(ret_why,
                          "\"%s\" is not ASCII. Write an international name in its A-label form, "
                          "which begins with \"xn--\".",
                          shown);
    if (strchr(text, '/'))
        return refuse(ret_why,
                      "\"%s\" has a \"/\". A network is {\"cidr\": …}; a name has no path.", shown);
    if (strchr(text, ':'))
        return refuse(ret_why, "\"%s\" has a port. Ports go into \"ports\": [443].", shown);
    return 0;
}

static int check_label(const char *label, size_t length, const char *shown,
                       char ret_why[HOST_WHY_MAX])
{
    if (length == 0)
        return refuse(ret_why, "\"%.63s\" has an empty label (two dots, or one at its begin).",
                      shown);
    if (length > LABEL_BYTES_MAX)
        return refuse(ret_why, "A label of \"%.63s\" has %zu bytes; %d are the most.", shown,
                      length, LABEL_BYTES_MAX);
    if (label[0] == '-' || label[length - 1] == '-')
        return refuse(ret_why, "A label of \"%.63s\" begins or ends with \"-\".", shown);
    for (size_t i = 0; i < length; i++) {
        char c = label[i];
        if (c == '*')
            return refuse(ret_why,
                          "\"%.63s\" has a \"*\" where none may be. A wildcard is \"*.\" once, at "
                          "the begin, before a name of two labels or more.",
                          shown);
        if (!(is_digit(c) || (c >= 'a' && c <= 'z') || c == '-' || c == '_'))
            return refuse(ret_why,
                          "\"%.63s\" has the character \"%c\". A name has letters, digits, \"-\" "
                          "and \".\" only.",
                          shown, c >= 0x20 && c < 0x7f ? c : '?');
    }
    return 0;
}

int host_canonical(const char *text, bool pattern, char ret_host[SPEC_HOST_MAX],
                   char ret_why[HOST_WHY_MAX])
{
    char host[SPEC_HOST_MAX] = {0};
    int e = refuse_lookalikes(text, ret_why);
    if (e < 0)
        return e;
    size_t length = strlen(text);
    if (length > 1 && text[length - 1] == '.')
        length--;
    if (length > HOST_BYTES_MAX)
        return refuse(ret_why, "The name has %zu bytes; %d are the most.", length, HOST_BYTES_MAX);
    for (size_t i = 0; i < length; i++)
        host[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] - 'A' + 'a' : text[i]);

    bool wildcard = pattern && strncmp(host, "*.", 2) == 0;
    const char *name = wildcard ? host + 2 : host;
    if (pattern && strcmp(host, "*") == 0)
        return refuse(ret_why, "\"*\" alone is every host. That is said by \"egress\": "
                               "\"public-only\".");
    unsigned labels = 0;
    for (const char *p = name;; labels++) {
        size_t n = strcspn(p, ".");
        e = check_label(p, n, host, ret_why);
        if (e < 0)
            return e;
        if (!p[n]) {
            labels++;
            break;
        }
        p += n + 1;
    }
    if (ends_in_number(name))
        return refuse(ret_why, "\"%.63s\" is an IP address, not a name. Use {\"cidr\": \"…/32\"}.",
                      host);
    if (wildcard && labels < 2)
        return refuse(ret_why,
                      "\"%.63s\" is too wide: after \"*.\" at least two labels must follow, as in "
                      "\"*.example.org\".",
                      host);
    const char *last = strrchr(name, '.');
    if (strcmp(last ? last + 1 : name, "localhost") == 0)
        return refuse(ret_why,
                      "\"%.63s\" is the session itself: its own loopback is always open "
                      "and never leaves it.",
                      host);
    memcpy(ret_host, host, sizeof host);
    return 0;
}

/* `name` ends in "." and `suffix`, with something before it. */
static bool is_below(const char *name, const char *suffix)
{
    size_t n = strlen(name), s = strlen(suffix);
    return n > s + 1 && name[n - s - 1] == '.' && strcmp(name + n - s, suffix) == 0;
}

bool host_covers(const char *wide, const char *narrow)
{
    if (strcmp(wide, narrow) == 0)
        return true;
    if (strncmp(wide, "*.", 2) != 0)
        return false;
    /* "*.a.x.y" is below "x.y" as "a.x.y" is, and "*.x.y" itself was equal. */
    return is_below(strncmp(narrow, "*.", 2) == 0 ? narrow + 2 : narrow, wide + 2);
}

bool host_matches(const char *pattern, const char *host)
{
    return host_covers(pattern, host);
}

bool host_overlaps(const char *one, const char *other)
{
    /* Two suffixes are nested or disjoint. */
    return host_covers(one, other) || host_covers(other, one);
}
