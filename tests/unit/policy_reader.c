/* This file tests what the reader of policies refuses (POL-1): each row of the table is a file with
 * a mistake, the place where it is, and words that the message must hold. "@" marks the place and
 * is taken out before reading.
 */
#include "policy/json.h"
#include "policy/policy.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mistake {
    const char *text; /* with "@" where the error is */
    const char *path; /* the key's path that the message names, "" for none */
    const char *says; /* part of the sentence */
};

#define V "{\"version\": 1, "

static const struct mistake mistakes[] = {
    /* ---- the text ---- */
    {"@", "", "The text is empty"},
    {"  \n // only a comment\n@", "", "The text is empty"},
    {"@\xef\xbb\xbf{}", "", "byte order mark"},
    {"{\"a\": \"@\xff\"}", "", "0xff here is not UTF-8"},
    {"{\"a\": \"x@\x93\"}", "", "0x93 here is not UTF-8"}, /* found by the fuzzer */
    {"{\"a\": \"\xe2\x82\xac@\x80\"}", "", "0x80 here is not UTF-8"},
    {"{\"a\": \"@\xc0\xaf\"}", "", "not UTF-8"},
    {"{\"a\": \"@\xed\xa0\x80\"}", "", "not UTF-8"},
    {"{\"a\": \"@\xf4\x90\x80\x80\"}", "", "not UTF-8"},
    {"// @\xe2\x28\xa1\n{}", "", "not UTF-8"},
    {"{\"a\": \"x@\x01\"}", "", "write it as \\u0001"},
    {"{\"a\":@\x7f 1}", "", "control character"},
    {"{\"a\": \"@\t\"}", "a", "A tab in a string is written \\t"},
    {V "\"requires\": []} @true", "", "more text after the end"},
    {V "\"requires\": []}@}", "", "more text after the end"},
    {"@[1]", "", "A policy is an object"},
    {"@\"balanced\"", "", "A policy is an object"},
    {"@{\"extends\": \"open\"}", "version", "\"version\": 1"},
    /* ---- strings ---- */
    {"{@'version': 1}", "", "\"double quotes\""},
    {V "\"extends\": @'open'}", "extends", "\"double quotes\""},
    {V "\"extends\": @\"open}\n", "extends", "not closed on its line"},
    {V "\"extends\": @\"open\n\"}", "extends", "not closed on its line"},
    {V "\"extends\": \"@\\x41\"}", "extends", "\\x is not an escape"},
    {V "\"extends\": \"@\\u12\"}", "extends", "four hexadecimal digits"},
    {V "\"extends\": \"@\\ud800\"}", "extends", "half of a surrogate pair"},
    {V "\"extends\": \"@\\udc00\\ud800\"}", "extends", "half of a surrogate pair"},
    {V "\"extends\": \"@\\udc00\\udc00\"}", "extends", "half of a surrogate pair"},
    {V "\"extends\": \"@\\ud800\\u0041\"}", "extends", "half of a surrogate pair"},
    {V "\"extends\": \"a@\\u0000b\"}", "extends", "NUL"},
    /* ---- punctuation and words ---- */
    {"{@version: 1}", "", "double quotes: \"version\""},
    {V "\"limits\": {\"pids\": 5@,}}", "limits", "remove it"},
    {"{\"version\": 1@,}", "", "remove it"},
    {V "\"requires\": [\"limits.memory\"@,]}", "requires", "remove it"},
    {V "\"requires\": [@, ]}", "requires", "a value should be"},
    {V "\"requires\": [\"a\" @\"b\"]}", "requires", "A comma is missing"},
    {"{\"version\": 1 @\"extends\": \"open\"}", "", "A comma is missing"},
    {"{\"version\" @1}", "version", "a \":\" should be"},
    {"{\"version\" @= 1}", "version", "not by \"=\""},
    {V "\"limits\": {\"pids\": 5@", "limits", "The text ends inside an object"},
    {V "\"requires\": [@", "requires", "The text ends inside an array"},
    {V "\"limits\": {\"pids\": @}}", "limits.pids", "a value should be"},
    {V "\"process\": {\"explain_syscalls\": @True}}", "process.explain_syscalls", "Write true"},
    {V "\"process\": {\"explain_syscalls\": @yes}}", "process.explain_syscalls", "Write true"},
    {V "\"process\": {\"explain_syscalls\": @None}}", "process.explain_syscalls", "Write null"},
    {V "\"limits\": {\"cpus\": @NaN}}", "limits.cpus", "not a number"},
    {V "\"limits\": {\"cpus\": @-Infinity}}", "limits.cpus", "not numbers of JSON"},
    {V "\"extends\": @balanced}", "extends", "A string is written in double quotes"},
    {V "@# note\n\"extends\": \"open\"}", "", "begins with //"},
    {V "@/* note\n\"extends\": \"open\"}", "", "not closed"},
    {V "@/ note\n\"extends\": \"open\"}", "", "A comment is"},
    /* ---- numbers ---- */
    {V "\"limits\": {\"pids\": @18446744073709551616}}", "limits.pids", "does not fit 64 bits"},
    {V "\"limits\": {\"pids\": @99999999999999999999999}}", "limits.pids", "of limits.pids"},
    {V "\"limits\": {\"pids\": @-9223372036854775809}}", "limits.pids", "does not fit 64 bits"},
    {V "\"limits\": {\"pids\": @012}}", "limits.pids", "leading zero"},
    {V "\"limits\": {\"pids\": @0x10}}", "limits.pids", "Hexadecimal"},
    {V "\"limits\": {\"pids\": @+5}}", "limits.pids", "no \"+\""},
    {V "\"limits\": {\"cpus\": @.5}}", "limits.cpus", "write 0.5"},
    {V "\"limits\": {\"cpus\": @1.}}", "limits.cpus", "digit after its point"},
    {V "\"limits\": {\"cpus\": @1e}}", "limits.cpus", "exponent"},
    {V "\"limits\": {\"pids\": @-}}", "limits.pids", "followed by a number"},
    {V "\"limits\": {\"memory\": @2GiB}}", "limits.memory", "a string: \"2GiB\""},
    /* ---- structure ---- */
    {"{\"version\": 1,\n \"limits\": {\"memory\": 1},\n @\"limits\": {}}", "limits",
     "here twice; first at line 2, column 2"},
    {V "\"limits\": {\"pids\": 5, @\"pids\": 6}}", "limits.pids", "here twice"},
    {V "\"process\": {\"env\": {\"A\": \"1\", @\"A\": \"2\"}}}", "process.env.A", "here twice"},
    {V "\"process\": {\"env\": {\"A\": \"1\", @\"\\u0041\": \"2\"}}}", "process.env.A",
     "here twice"},
    {V "@\"limit\": {}}", "limit", "Did you mean \"limits\"?"},
    {V "\"limits\": {@\"memroy\": 1}}", "limits.memroy", "Did you mean \"memory\"?"},
    {V "\"limits\": {@\"scratch\": \"1GiB\"}}", "limits.scratch",
     "Did you mean \"filesystem.scratch\"?"},
    {V "@\"memory\": \"1GiB\"}", "memory", "Did you mean \"limits.memory\"?"},
    {V "\"network\": {@\"egres\": \"deny\"}}", "network.egres", "Did you mean \"egress\"?"},
    {V "\"process\": {@\"seccomp-allow\": []}}", "process.seccomp-allow",
     "Did you mean \"seccomp_allow\"?"},
    {V "\"filesystem\": {@\"zzz\": 1}}", "filesystem.zzz", "The keys of filesystem are: image,"},
    {V "@\"limits.memory\": \"1GiB\"}", "limits.memory", "no such key"},
    {V "@\"workspace\": {}}", "workspace", "chosen when a session is made"},
    {V "@\"\": 1}", "", "no such key"},
    {V "\"limits\": @[]}", "limits", "an object with keys"},
    {V "\"limits\": @null}", "limits", "an object with keys"},
    /* ---- types ---- */
    {"{\"version\": @2}", "version", "reads version 1"},
    {"{\"version\": @\"1\"}", "version", "the number 1"},
    {"{\"version\": @1.0}", "version", "the number 1"},
    {V "\"limits\": {\"pids\": @\"100\"}}", "limits.pids", "a whole number"},
    {V "\"limits\": {\"pids\": @1.5}}", "limits.pids", "a whole number"},
    {V "\"limits\": {\"pids\": @1e3}}", "limits.pids", "a whole number"},
    {V "\"limits\": {\"pids\": @true}}", "limits.pids", "The value is true"},
    {V "\"limits\": {\"pids\": @null}}", "limits.pids", "The value is null"},
    {V "\"limits\": {\"pids\": @[5]}}", "limits.pids", "The value is an array"},
    {V "\"limits\": {\"cpus\": @\"2\"}}", "limits.cpus", "a number such as 1.5"},
    {V "\"process\": {\"explain_syscalls\": @\"true\"}}", "process.explain_syscalls",
     "true or false"},
    {V "\"process\": {\"explain_syscalls\": @1}}", "process.explain_syscalls", "true or false"},
    {V "\"filesystem\": {\"read_only\": @\"/opt\"}}", "filesystem.read_only", "a list of absolute"},
    {V "\"process\": {\"env\": @[\"A=1\"]}}", "process.env", "an object of variables"},
    {V "\"requires\": [@1]}", "requires[0]", "This entry is a number"},
    {V "\"filesystem\": {\"protect\": [@{}]}}", "filesystem.protect[0]", "must be a string"},
    /* ---- ranges and units ---- */
    {V "\"limits\": {\"pids\": @0}}", "limits.pids", "or \"unlimited\""},
    {V "\"limits\": {\"pids\": @-1}}", "limits.pids", "is negative"},
    {V "\"limits\": {\"pids\": @4194305}}", "limits.pids", "is too large"},
    {V "\"limits\": {\"memory\": @\"1MiB\"}}", "limits.memory", "is too small"},
    {V "\"limits\": {\"memory\": @\"99999999999999999999GiB\"}}", "limits.memory", "is too large"},
    {V "\"limits\": {\"memory\": @\"2G\"}}", "limits.memory", "Did you mean \"2GiB\"?"},
    {V "\"limits\": {\"memory\": @\"2 GiB\"}}", "limits.memory", "Did you mean \"2GiB\"?"},
    {V "\"limits\": {\"memory\": @\"512mb\"}}", "limits.memory", "Did you mean \"512MB\"?"},
    {V "\"limits\": {\"memory\": @\"lots\"}}", "limits.memory", "is not a size"},
    {V "\"limits\": {\"memory\": @\"\"}}", "limits.memory", "is not a size"},
    {V "\"limits\": {\"memory\": @\"-1GiB\"}}", "limits.memory", "is negative"},
    {V "\"limits\": {\"exec_timeout\": @\"10min\"}}", "limits.exec_timeout",
     "Did you mean \"10m\"?"},
    {V "\"limits\": {\"exec_timeout\": @\"10sec\"}}", "limits.exec_timeout",
     "Did you mean \"10s\"?"},
    {V "\"limits\": {\"output\": @\"127KiB\"}}", "limits.output", "is too small"},
    {V "\"limits\": {\"exec_timeout\": @0}}", "limits.exec_timeout", "is too small"},
    {V "\"limits\": {\"cpus\": @0}}", "limits.cpus", "is too small"},
    {V "\"limits\": {\"cpus\": @0.0001}}", "limits.cpus", "at most three decimals"},
    {V "\"limits\": {\"open_files\": @\"unlimited\"}}", "limits.open_files", "from 16 to"},
    {V "\"filesystem\": {\"scratch\": @\"unlimited\"}}", "filesystem.scratch", "is not a size"},
    /* ---- words ---- */
    {V "\"network\": {\"egress\": @\"dney\"}}", "network.egress", "Did you mean \"deny\"?"},
    {V "\"network\": {\"egress\": @\"public_only\"}}", "network.egress",
     "Did you mean \"public-only\"?"},
    {V "\"network\": {\"sni\": @\"on\"}}", "network.sni", "\"match\" or \"off\""},
    {V "\"process\": {\"seccomp\": @\"none\"}}", "process.seccomp", "\"strict\", \"default\""},
    {V "\"process\": {\"user\": @\"admin\"}}", "process.user", "\"user\", \"root\""},
    {V "\"process\": {\"user\": @65533}}", "process.user", "from 0 to 65532"},
    {V "\"extends\": @\"balnced\"}", "extends", "Did you mean \"balanced\"?"},
    {V "\"extends\": @\"/etc/passwd\"}", "extends", "not relative"},
    {V "\"extends\": @\"\"}", "extends", "is empty"},
    {V "\"extends\": @\"./other.jsonc\"}", "extends", "Only a preset"},
    {V "\"filesystem\": {\"image\": @\"/srv/root\"}}", "filesystem.image", "\"dir:/srv/root\""},
    {V "\"filesystem\": {\"image\": @\"dir:srv\"}}", "filesystem.image", "is relative"},
    {V "\"filesystem\": {\"image\": @\"dir:/\"}}", "filesystem.image", "the whole host"},
    {V "\"filesystem\": {\"image\": @\"hosts\"}}", "filesystem.image", "Did you mean \"host\"?"},
    {V "\"requires\": [@\"limits.memroy\"]}", "requires[0]", "Did you mean \"limits.memory\"?"},
    {V "\"requires\": [\"gpu\", @\"gpu\"]}", "requires[1]", "in this list already"},
    {V "\"process\": {\"seccomp_allow\": [@\"opne\"]}}", "process.seccomp_allow[0]",
     "Did you mean \"open\"?"},
    {V "\"process\": {\"seccomp_allow\": [@\"mount\"]}}", "process.seccomp_allow[0]",
     "can't be allowed by a policy"},
    /* ---- paths ---- */
    {V "\"filesystem\": {\"read_only\": [@\"opt\"]}}", "filesystem.read_only[0]", "begin with"},
    {V "\"filesystem\": {\"read_only\": [@\"~/x\"]}}", "filesystem.read_only[0]", "not expanded"},
    {V "\"filesystem\": {\"read_only\": [\"/a\", @\"/a/../b\"]}}", "filesystem.read_only[1]",
     "\"..\" part"},
    {V "\"filesystem\": {\"read_only\": [@\"/a//b\"]}}", "filesystem.read_only[0]", "empty part"},
    {V "\"filesystem\": {\"read_only\": [@\"/a\\u000ab\"]}}", "filesystem.read_only[0]",
     "control character"},
    {V "\"filesystem\": {\"read_only\": [@\"/proc/1\"]}}", "filesystem.read_only[0]",
     "Nothing can be mounted"},
    {V "\"filesystem\": {\"read_only\": [@\"/\"]}}", "filesystem.read_only[0]", "filesystem.image"},
    {V "\"filesystem\": {\"read_write\": [@\"/usr\"]}}", "filesystem.read_write[0]",
     "gives the host away"},
    {V "\"filesystem\": {\"read_write\": [@\"/etc/\"]}}", "filesystem.read_write[0]",
     "gives the host away"},
    {V "\"filesystem\": {\"read_only\": [@{\"target\": \"/a\"}]}}", "filesystem.read_only[0]",
     "\"source\" is missing"},
    {V "\"filesystem\": {\"read_only\": [{\"source\": \"/a\", @\"dest\": \"/b\"}]}}",
     "filesystem.read_only[0].dest", "The keys are \"source\", \"target\""},
    {V "\"filesystem\": {\"read_only\": [\"/a\", @\"/a\"]}}", "filesystem.read_only[1]",
     "already, at line 1"},
    {V "\"filesystem\": {\"read_only\": [\"/a\"], \"read_write\": [@\"/a\"]}}",
     "filesystem.read_write", "one or the other"},
    {V "\"filesystem\": {\"protect\": [@\"/etc\"]}}", "filesystem.protect[0]", "is absolute"},
    {V "\"filesystem\": {\"protect\": [@\"../x\"]}}", "filesystem.protect[0]", "\"..\" part"},
    {V "\"filesystem\": {\"protect\": [@\".\"]}}", "filesystem.protect[0]", "whole workspace"},
    {V "\"filesystem\": {\"protect\": [@\"~\"]}}", "filesystem.protect[0]",
     "a \"~\" stands only in \"~/NAME\""},
    {V "\"filesystem\": {\"protect\": [@\"~alice/x\"]}}", "filesystem.protect[0]",
     "held when it is missing if the workspace is a home directory"},
    {V "\"filesystem\": {\"protect\": [@\"~/~/x\"]}}", "filesystem.protect[0]",
     "a \"~\" stands only in \"~/NAME\""},
    {V "\"filesystem\": {\"protect\": [@\"~/\"]}}", "filesystem.protect[0]", "whole workspace"},
    {V "\"filesystem\": {\"protect\": [@\"~/./\"]}}", "filesystem.protect[0]", "whole workspace"},
    {V "\"filesystem\": {\"protect\": [@\"~//x\"]}}", "filesystem.protect[0]", "empty part"},
    {V "\"filesystem\": {\"protect\": [@\"~/a/../x\"]}}", "filesystem.protect[0]", "\"..\" part"},
    {V "\"filesystem\": {\"protect\": [@\"~/.z*\"]}}", "filesystem.protect[0]", "a pattern"},
    {V "\"filesystem\": {\"protect\": [\"~/x\", @\"~/x/\"]}}", "filesystem.protect[1]",
     "in this list already"},
    {V "\"filesystem\": {\"protect\": [@\"**/.git\"]}}", "filesystem.protect[0]", "a pattern"},
    /* ---- environment ---- */
    {V "\"process\": {\"env\": {\"A\": @1}}}", "process.env.A", "is a string"},
    {V "\"process\": {\"env\": {\"1A\": @\"x\"}}}", "process.env.1A", "not a name of a variable"},
    {V "\"process\": {\"env\": {\"A=B\": @\"x\"}}}", "process.env.A=B", "no \"=\""},
    {V "\"process\": {\"env\": {\"\": @\"x\"}}}", "process.env.", "has no name"},
    /* ---- network ---- */
    {V "\"network\": {\"allow\": [@\"a.example.org\"]}}", "network.allow[0]",
     "{\"host\": \"a.example.org\"}"},
    {V "\"network\": {\"allow\": [@{}]}}", "network.allow[0]", "neither"},
    {V "\"network\": {\"allow\": [{\"host\": \"a.b\", \"cidr\": @\"10.0.0.0/8\"}]}}",
     "network.allow[0].cidr", "not both"},
    {V "\"network\": {\"allow\": [{@\"hosts\": \"a.b\"}]}}", "network.allow[0].hosts",
     "Did you mean \"host\"?"},
    {V "\"network\": {\"allow\": [{\"host\": @\"*.com\"}]}}", "network.allow[0].host", "too wide"},
    {V "\"network\": {\"allow\": [{\"host\": @\"*\"}]}}", "network.allow[0].host", "every host"},
    {V "\"network\": {\"allow\": [{\"host\": @\"a.*.org\"}]}}", "network.allow[0].host",
     "where none may be"},
    {V "\"network\": {\"allow\": [{\"host\": @\"*a.b.org\"}]}}", "network.allow[0].host",
     "where none may be"},
    {V "\"network\": {\"allow\": [{\"host\": @\"1.2.3.4\"}]}}", "network.allow[0].host",
     "is an IP address"},
    {V "\"network\": {\"allow\": [{\"host\": @\"0x7f.1\"}]}}", "network.allow[0].host",
     "is an IP address"},
    {V "\"network\": {\"allow\": [{\"host\": @\"::1\"}]}}", "network.allow[0].host",
     "is an IP address"},
    {V "\"network\": {\"allow\": [{\"host\": @\"https://example.org/\"}]}}",
     "network.allow[0].host", "is a URL"},
    {V "\"network\": {\"allow\": [{\"host\": @\"a.org:443\"}]}}", "network.allow[0].host",
     "Ports go into"},
    {V "\"network\": {\"allow\": [{\"host\": @\"b\xc3\xbc"
       "cher.example\"}]}}",
     "network.allow[0].host", "A-label"},
    {V "\"network\": {\"allow\": [{\"host\": @\"a..b\"}]}}", "network.allow[0].host",
     "empty label"},
    {V "\"network\": {\"allow\": [{\"host\": @\"-a.b\"}]}}", "network.allow[0].host",
     "begins or ends"},
    {V "\"network\": {\"allow\": [{\"host\": @\"a b.org\"}]}}", "network.allow[0].host",
     "the character"},
    {V "\"network\": {\"allow\": [{\"host\": @\"localhost\"}]}}", "network.allow[0].host",
     "the session itself"},
    {V "\"network\": {\"allow\": [{\"host\": @7}]}}", "network.allow[0].host", "must be a string"},
    {V "\"network\": {\"allow\": [{\"cidr\": @\"10.0.0.1/8\"}]}}", "network.allow[0].cidr",
     "The network is \"10.0.0.0/8\""},
    {V "\"network\": {\"allow\": [{\"cidr\": @\"2001:db8::1/32\"}]}}", "network.allow[0].cidr",
     "\"2001:db8::/32\""},
    {V "\"network\": {\"allow\": [{\"cidr\": @\"127.0.0.0/8\"}]}}", "network.allow[0].cidr",
     "is loopback"},
    {V "\"network\": {\"allow\": [{\"cidr\": @\"::1/128\"}]}}", "network.allow[0].cidr",
     "is loopback"},
    {V "\"network\": {\"allow\": [{\"cidr\": @\"::ffff:7f00:1/128\"}]}}", "network.allow[0].cidr",
     "is IPv4 written as IPv6"},
    {V "\"network\": {\"allow\": [{\"cidr\": @\"10.0.0.0\"}]}}", "network.allow[0].cidr",
     "\"10.0.0.0/32\""},
    {V "\"network\": {\"allow\": [{\"cidr\": @\"10.0.0.0/33\"}]}}", "network.allow[0].cidr",
     "must be 0 to 32"},
    {V "\"network\": {\"allow\": [{\"cidr\": @\"10.0.0.0/08\"}]}}", "network.allow[0].cidr",
     "leading zero"},
    {V "\"network\": {\"allow\": [{\"cidr\": @\"010.0.0.0/8\"}]}}", "network.allow[0].cidr",
     "is not an address"},
    {V "\"network\": {\"allow\": [{\"cidr\": @\"a.org\"}]}}", "network.allow[0].cidr", "{\"host\""},
    {V "\"network\": {\"allow\": [{\"host\": \"a.b\", \"ports\": [@0]}]}}",
     "network.allow[0].ports", "1 to 65535"},
    {V "\"network\": {\"allow\": [{\"host\": \"a.b\", \"ports\": [@\"*\"]}]}}",
     "network.allow[0].ports", "\"ports\": \"*\""},
    {V "\"network\": {\"allow\": [{\"host\": \"a.b\", \"ports\": @443}]}}",
     "network.allow[0].ports", "a list such as [443]"},
    {V "\"network\": {\"allow\": [{\"host\": \"a.b\", \"ports\": @[]}]}}", "network.allow[0].ports",
     "is empty"},
    {V "\"network\": {\"allow\": [{\"host\": \"a.b\", \"ports\": [1, @1]}]}}",
     "network.allow[0].ports", "here twice"},
    {V "\"network\": {\"allow\": [{\"host\": \"a.b\"}, @{\"host\": \"A.b.\"}]}}",
     "network.allow[1]", "in this list already"},
    {V "\"network\": {\"publish\": [@70000]}}", "network.publish[0]", "is not a port"},
    {V "\"network\": {\"publish\": [@\"80\"]}}", "network.publish[0]", "whole number"},
    {V "\"network\": {\"publish\": [@53]}}", "network.publish[0]", "ports from 54 on"},
    {V "\"network\": {\"publish\": [@\"0:080\"]}}", "network.publish[0]", "080 is not a port"},
    {V "\"network\": {\"publish\": [@\"65536:80\"]}}", "network.publish[0]",
     "before the colon is a port of the host"},
    {V "\"network\": {\"publish\": [@\"00:80\"]}}", "network.publish[0]", "0 for any"},
    {V "\"network\": {\"publish\": [@\":80\"]}}", "network.publish[0]", "before the colon"},
    {V "\"network\": {\"publish\": [@\"80:\"]}}", "network.publish[0]", "is not a port"},
    {V "\"network\": {\"publish\": [@\"127.0.0.1:80\"]}}", "network.publish[0]",
     "before the colon"},
    {V "\"network\": {\"publish\": [80, @\"80:80\"]}}", "network.publish[1]", "already"},
};

enum { MISTAKES = sizeof mistakes / sizeof *mistakes };

/* The text without its mark, and the place that the mark had. */
static char *unmark(const char *marked, unsigned *ret_line, unsigned *ret_column)
{
    char *text = strdup(marked);
    char *mark = strchr(text, '@');
    cr_assert(mark, "no mark in %s", marked);
    *ret_line = *ret_column = 1;
    for (const char *p = text; p < mark; p++) {
        if (*p == '\n') {
            ++*ret_line;
            *ret_column = 1;
        } else if (((unsigned char)*p & 0xc0) != 0x80) {
            ++*ret_column;
        }
    }
    memmove(mark, mark + 1, strlen(mark));
    return text;
}

Test(policy_reader, refuses_each_mistake_at_its_place_with_a_helpful_sentence)
{
    unsigned tried = 0;
    for (unsigned i = 0; i < MISTAKES; i++) {
        const struct mistake *m = &mistakes[i];
        unsigned line, column;
        char *text = unmark(m->text, &line, &column), place[64];
        struct policy *policy = NULL;
        struct err err = {0};
        int r = policy_load_text(&policy, "t.jsonc", text, strlen(text), &err);
        cr_assert(r < 0 && !policy, "row %u was accepted: %s", i, text);
        snprintf(place, sizeof place, "t.jsonc:%u:%u", line, column);
        size_t n = strlen(place);
        cr_expect(strncmp(err.subject, place, n) == 0 &&
                      (err.subject[n] == 0 || err.subject[n] == ':'),
                  "row %u: place %s, wanted %s: %s", i, err.subject, place, text);
        const char *path = err.subject + n + (err.subject[n] ? 2 : 0);
        cr_expect(strncmp(path, m->path, strlen(m->path)) == 0 &&
                      (*m->path || strcmp(path, "") == 0 || strchr("vra", *path)),
                  "row %u: path %s, wanted %s", i, path, m->path);
        cr_expect(strstr(err.detail, m->says), "row %u: said \"%s\", wanted \"%s\"", i, err.detail,
                  m->says);
        cr_expect(err.code == ERR_INVALID_REQUEST);
        free(text);
        tried++;
    }
    cr_assert(tried >= 100, "only %u", tried);
}

Test(policy_reader, a_target_that_another_mount_has_is_a_contradiction)
{
    static const char text[] = V "\"filesystem\": {\"read_only\": [\"/srv/c\"], \"read_write\": "
                                 "[{\"source\": \"/srv/y\", \"target\": \"/srv/c/\"}]}}";
    struct policy *policy = NULL;
    struct err err = {0};
    cr_assert(policy_load_text(&policy, "t", text, strlen(text), &err) < 0);
    cr_assert(strstr(err.detail, "one or the other"), "%s", err.detail);
}

Test(policy_reader, a_nul_byte_is_refused)
{
    struct policy *policy = NULL;
    struct err err = {0};
    cr_assert(policy_load_text(&policy, "t", "{\"version\": \0 1}", 16, &err) < 0);
    cr_assert(strstr(err.detail, "NUL byte"), "%s", err.detail);
}

static const struct json_node *parse(struct arena *arena, const char *text)
{
    const struct json_node *root = NULL;
    struct json_error error = {0};
    int r = json_parse(arena, text, strlen(text), 1 << 20, true, &root, &error);
    cr_assert(r == 0, "%s: %u:%u %s", text, error.at.line, error.at.column, error.message);
    return root;
}

Test(json, keeps_integers_exactly)
{
    static const struct {
        const char *text;
        uint64_t magnitude;
        bool negative, integer;
    } rows[] = {{"0", 0, false, true},
                {"18446744073709551615", UINT64_MAX, false, true},
                {"-9223372036854775808", 1ull << 63, true, true},
                {"9007199254740993", 9007199254740993, false, true},
                {"-0", 0, true, true},
                {"1.5", 0, false, false},
                {"1E5", 0, false, false}};
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena arena = {0};
        const struct json_node *n = parse(&arena, rows[i].text);
        cr_expect(n->kind == JSON_NUMBER && n->integer == rows[i].integer, "%s", rows[i].text);
        cr_expect(n->negative == rows[i].negative, "%s", rows[i].text);
        cr_expect(!n->integer || n->magnitude == rows[i].magnitude, "%s", rows[i].text);
        cr_expect_str_eq(n->text, rows[i].text);
    }
}

Test(json, decodes_every_escape)
{
    _cleanup_arena_ struct arena arena = {0};
    const struct json_node *n =
        parse(&arena,
              "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u20ac\\ud83d\\ude00 \xf0\x9f\x98\x80\"");
    cr_assert_str_eq(n->text,
                     "\"\\/\b\f\n\r\tA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 \xf0\x9f\x98\x80");
    cr_assert(n->length == strlen(n->text));
}

Test(json, reads_nested_values_in_order_with_their_places)
{
    _cleanup_arena_ struct arena arena = {0};
    const struct json_node *n =
        parse(&arena, "{\n  /* \xe2\x82\xac */ \"a\": [1, {}, []], // end\r\n  \"b\": null }\n");
    const struct json_node *a = json_member(n, "a"), *b = json_member(n, "b");
    cr_assert(n->count == 2 && a && b && a->count == 3 && b->kind == JSON_NULL);
    cr_expect(a->key_at.line == 2 && a->key_at.column == 11, "column %u", a->key_at.column);
    cr_expect(b->at.line == 3 && b->at.column == 8);
    cr_expect(a->first->kind == JSON_NUMBER && a->first->next->kind == JSON_OBJECT &&
              a->first->next->next->kind == JSON_ARRAY);
}

Test(json, comments_are_read_only_where_they_are_allowed)
{
    _cleanup_arena_ struct arena arena = {0};
    const struct json_node *root;
    struct json_error error = {0};
    static const char text[] = "{} // note";
    cr_assert(json_parse(&arena, text, strlen(text), 100, false, &root, &error) < 0);
    cr_assert(strstr(error.message, "not allowed") && error.at.column == 4);
    cr_assert(json_parse(&arena, text, strlen(text), 100, true, &root, &error) == 0);
}

Test(json, depth_is_bounded_exactly)
{
    for (int depth = JSON_DEPTH_MAX; depth <= JSON_DEPTH_MAX + 1; depth++) {
        _cleanup_arena_ struct arena arena = {0};
        char text[2 * JSON_DEPTH_MAX + 8] = {0};
        const struct json_node *root;
        struct json_error error = {0};
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        int r = json_parse(&arena, text, strlen(text), 1000, false, &root, &error);
        cr_expect((r == 0) == (depth == JSON_DEPTH_MAX), "depth %d", depth);
        cr_expect(r == 0 || error.at.column == JSON_DEPTH_MAX + 1);
    }
}

Test(json, a_text_over_the_limit_is_not_looked_at)
{
    _cleanup_arena_ struct arena arena = {0};
    const struct json_node *root;
    struct json_error error = {0};
    cr_assert(json_parse(&arena, "{}   ", 5, 4, false, &root, &error) == -E2BIG);
    cr_assert(json_parse(&arena, "{}  ", 4, 4, false, &root, &error) == 0);
}

Test(json, many_keys_are_checked_for_duplicates_quickly, .timeout = 10)
{
    _cleanup_arena_ struct arena arena = {0};
    const struct json_node *root;
    struct json_error error = {0};
    enum { KEYS = 60000 };
    char *text = malloc(KEYS * 16), *p = text;
    *p++ = '{';
    for (int i = 0; i < KEYS; i++)
        p += sprintf(p, "%s\"%d\":1", i ? "," : "", i == KEYS - 1 ? 7 : i);
    *p++ = '}';
    cr_assert(json_parse(&arena, text, (size_t)(p - text), 1 << 24, false, &root, &error) < 0);
    cr_assert(strstr(error.message, "\"7\" is here twice"), "%s", error.message);
    free(text);
}
