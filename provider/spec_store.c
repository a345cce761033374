/* This file packs and unpacks a spec; it never trusts what it unpacks: every length is checked
 * against what is left and against the field, and the whole must pass spec_check().
 *
 * Layout: magic, version, then the fields in the order of `walk()`. Numbers are little-endian base
 * 128, texts have their length before them, arrays their count. The same walk reads and writes, so
 * the two cannot disagree.
 */
#include "provider/spec_store.h"

#include <errno.h>
#include <string.h>

enum { VERSION = 2 };
static const unsigned char magic[4] = {'b', 's', 'p', 'c'};

struct tape {
    struct buf *out;         /* writing */
    const unsigned char *at; /* reading, when out is NULL */
    const unsigned char *end;
    bool bad;
};

static void raw(struct tape *t, void *data, size_t length)
{
    if (t->out) {
        buf_add(t->out, data, length);
    } else if (t->bad || (size_t)(t->end - t->at) < length) {
        t->bad = true;
    } else {
        memcpy(data, t->at, length);
        t->at += length;
    }
}

static uint64_t number(struct tape *t, uint64_t value)
{
    if (t->out) {
        uint64_t rest = value;
        for (; rest >= 0x80; rest >>= 7)
            buf_putc(t->out, (char)(rest | 0x80));
        buf_putc(t->out, (char)rest);
        return value;
    }
    uint64_t result = 0;
    for (unsigned shift = 0; shift < 64 && !t->bad; shift += 7) {
        unsigned char byte = 0;
        raw(t, &byte, 1);
        /* One form for each number: no bits that fall off the end, no empty last byte. */
        if ((shift == 63 && byte > 1) || (shift > 0 && byte == 0))
            break;
        result |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return result;
    }
    t->bad = true;
    return 0;
}

static void u64(struct tape *t, uint64_t *value)
{
    uint64_t v = number(t, t->out ? *value : 0);
    if (!t->out && !t->bad)
        *value = v;
}

static void u32(struct tape *t, uint32_t *value)
{
    uint64_t v = number(t, t->out ? *value : 0);
    if (!t->out && v > UINT32_MAX)
        t->bad = true;
    if (!t->out && !t->bad)
        *value = (uint32_t)v;
}

static void u16(struct tape *t, uint16_t *value)
{
    uint32_t v = *value;
    u32(t, &v);
    if (!t->out && v > UINT16_MAX)
        t->bad = true;
    if (!t->out && !t->bad)
        *value = (uint16_t)v;
}

static void u8(struct tape *t, uint8_t *value)
{
    raw(t, value, 1);
}

/* A text in an array of `size`: its bytes up to the NUL; the rest of the array is zero. */
static void text(struct tape *t, char *field, size_t size)
{
    uint64_t length = number(t, t->out ? strnlen(field, size) : 0);
    if (!t->out && length >= size)
        t->bad = true;
    if (t->out || !t->bad)
        raw(t, field, (size_t)length);
    if (!t->out && !t->bad && memchr(field, 0, (size_t)length))
        t->bad = true;
}

static void count(struct tape *t, uint32_t *value, uint32_t most)
{
    u32(t, value);
    if (!t->out && *value > most) {
        t->bad = true;
        *value = 0;
    }
}

static void rules(struct tape *t, uint32_t *n, struct spec_rule *rule)
{
    count(t, n, SPEC_RULES_MAX);
    for (uint32_t i = 0; i < *n && !t->bad; i++) {
        text(t, rule[i].host, sizeof rule[i].host);
        u8(t, &rule[i].family);
        u8(t, &rule[i].prefix);
        raw(t, rule[i].address, sizeof rule[i].address);
        u16(t, &rule[i].port_count);
        for (unsigned k = 0; k < SPEC_PORTS_MAX; k++)
            u16(t, &rule[i].ports[k]);
    }
}

static void filesystem(struct tape *t, struct spec *s)
{
    u32(t, &s->image.kind);
    text(t, s->image.path, sizeof s->image.path);
    u32(t, &s->workspace.kind);
    u8(t, &s->workspace.read_only);
    u8(t, &s->workspace.exclusive);
    u8(t, &s->workspace.allow_root_owned);
    u8(t, &s->workspace.reserved);
    u64(t, &s->workspace.size_bytes);
    text(t, s->workspace.path, sizeof s->workspace.path);
    text(t, s->workspace.volume, sizeof s->workspace.volume);
    text(t, s->workspace.mount_path, sizeof s->workspace.mount_path);
    count(t, &s->mount_count, SPEC_MOUNTS_MAX);
    for (uint32_t i = 0; i < s->mount_count && !t->bad; i++) {
        text(t, s->mounts[i].source, sizeof s->mounts[i].source);
        text(t, s->mounts[i].target, sizeof s->mounts[i].target);
        u8(t, &s->mounts[i].read_only);
        raw(t, s->mounts[i].reserved, sizeof s->mounts[i].reserved);
    }
    count(t, &s->protect_count, SPEC_PROTECT_MAX);
    for (uint32_t i = 0; i < s->protect_count && !t->bad; i++) {
        text(t, s->protect[i].path, sizeof s->protect[i].path);
        u8(t, &s->protect[i].is_default);
        u8(t, &s->protect[i].home);
        u8(t, &s->protect[i].home_sign);
        raw(t, s->protect[i].reserved, sizeof s->protect[i].reserved);
    }
}

static void process(struct tape *t, struct spec *s)
{
    u32(t, &s->process.uid);
    u32(t, &s->process.gid);
    u32(t, &s->process.seccomp);
    count(t, &s->process.seccomp_allow_count, SPEC_SECCOMP_ALLOW_MAX);
    for (uint32_t i = 0; i < SPEC_SECCOMP_ALLOW_MAX && !t->bad; i++)
        u32(t, &s->process.seccomp_allow[i]);
    u8(t, &s->process.explain_syscalls);
    raw(t, s->process.reserved, sizeof s->process.reserved);
    count(t, &s->process.env_bytes, SPEC_ENV_MAX);
    u32(t, &s->process.env_count);
    if (!t->bad)
        raw(t, s->process.env, s->process.env_bytes);
}

static void limits(struct tape *t, struct spec_limits *l)
{
    u64(t, &l->memory_bytes);
    u64(t, &l->scratch_bytes);
    u64(t, &l->scratch_inodes);
    u64(t, &l->cpu_millis);
    u64(t, &l->pids);
    u64(t, &l->open_files);
    u64(t, &l->output_bytes);
    u64(t, &l->exec_timeout_ms);
    u32(t, &l->asked);
    u32(t, &l->reserved);
}

/* A field that is added to struct spec belongs here, with a new VERSION. */
_Static_assert(sizeof(struct spec) == 267984, "a field of struct spec has no line in walk()");

static void walk(struct tape *t, struct spec *s)
{
    text(t, s->workspace_id, sizeof s->workspace_id);
    text(t, s->session_id, sizeof s->session_id);
    filesystem(t, s);
    u32(t, &s->network.egress);
    u8(t, &s->network.sni_match);
    u8(t, &s->network.allow_private);
    u16(t, &s->network.reserved);
    rules(t, &s->network.allow_count, s->network.allow);
    rules(t, &s->network.deny_count, s->network.deny);
    count(t, &s->network.publish_count, SPEC_PUBLISH_MAX);
    for (uint32_t i = 0; i < s->network.publish_count && !t->bad; i++) {
        u16(t, &s->network.publish[i].host_port);
        u16(t, &s->network.publish[i].port);
    }
    process(t, s);
    limits(t, &s->limits);
    u64(t, &s->requires_mask[0]);
    u64(t, &s->requires_mask[1]);
}

void spec_store_write(const struct spec *spec, struct buf *out)
{
    struct tape tape = {.out = out};
    buf_add(out, magic, sizeof magic);
    number(&tape, VERSION);
    /* The walk is one for both ways; writing changes nothing of what it walks over. */
    walk(&tape, (struct spec *)(uintptr_t)spec);
}

int spec_store_read(const void *data, size_t length, struct spec *ret, struct err *err)
{
    struct tape tape = {.at = data, .end = (const unsigned char *)data + length};
    unsigned char found[4] = {0};
    raw(&tape, found, sizeof found);
    if (tape.bad || memcmp(found, magic, sizeof magic) != 0)
        return err_set(err, ERR_INTERNAL, EPROTO, "read a stored spec", NULL,
                       "It does not begin as one.");
    if (number(&tape, 0) != VERSION || tape.bad)
        return err_set(err, ERR_INTERNAL, EPROTO, "read a stored spec", NULL,
                       "It was written by another version of berth.");
    spec_clear(ret);
    walk(&tape, ret);
    if (tape.bad || tape.at != tape.end)
        return err_set(err, ERR_INTERNAL, EPROTO, "read a stored spec", NULL,
                       "It is torn or damaged.");
    return spec_check(ret, err) < 0 ? -EPROTO : 0;
}
