/* This file is the schema of policy files, one row for each key; it never reads a file. */
#include "policy/schema.h"

#include "runtime/base/fd.h"
#include "runtime/base/units.h"

#include <stdio.h>
#include <string.h>

#define KIB (1ull << 10)
#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define TIB (1ull << 40)
#define DAY 86400000ull

/* Where a scalar goes in struct spec. */
#define FIELD(path) \
    .offset = offsetof(struct spec, path), .width = sizeof(((struct spec *)0)->path), .field = #path
#define FIELD_BY_HAND(name) .field = name

static const struct schema_choice egress_choices[] = {
    {"deny", SPEC_EGRESS_DENY, "nothing but what `allow` names"},
    {"public-only", SPEC_EGRESS_PUBLIC_ONLY, "the internet, and no private address"},
    {"allow", SPEC_EGRESS_ALLOW, "everything that is not denied"},
    {NULL, 0, NULL},
};

static const struct schema_choice sni_choices[] = {
    {"match", 1, "a TLS connection must ask for the name that was allowed"},
    {"off", 0, "the name inside TLS is not looked at"},
    {NULL, 0, NULL},
};

static const struct schema_choice seccomp_choices[] = {
    {"strict", SPEC_SECCOMP_STRICT, "what plain programs need"},
    {"default", SPEC_SECCOMP_DEFAULT, "what compilers, package managers and servers need"},
    {"debug", SPEC_SECCOMP_DEBUG, "also ptrace and its friends, inside the session"},
    {NULL, 0, NULL},
};

const struct schema_section schema_sections[] = {
    {"filesystem", "What a session sees besides its workspace."},
    {"network", "What a session reaches."},
    {"process", "As whom and with which system calls commands run."},
    {"limits", "How much a session may use."},
    {NULL, NULL},
};

const struct schema_row schema_rows[ROW_COUNT] = {
    [ROW_VERSION] = {.key = "version",
                     .type = TYPE_VERSION,
                     .within = WITHIN_META,
                     .merge = MERGE_NONE,
                     .min = 1,
                     .max = 1,
                     .unit = "",
                     .standard = "1",
                     .example = "1",
                     FIELD_BY_HAND("-"),
                     .help = "The version of this format. Every file says it."},
    [ROW_EXTENDS] =
        {.key = "extends",
         .type = TYPE_BASE,
         .within = WITHIN_META,
         .merge = MERGE_NONE,
         .unit = "",
         .standard = "balanced",
         .example = "\"locked-down\"",
         FIELD_BY_HAND("-"),
         .help = "The policy that this file is laid over: a preset, or the path of another file "
                 "relative to this one (\"./team.jsonc\"). Without it, `balanced`."},
    [ROW_IMAGE] =
        {.key = "filesystem.image",
         .type = TYPE_IMAGE,
         .within = WITHIN_SAME,
         .merge = MERGE_REPLACE,
         .unit = "",
         .standard = "host",
         .example = "\"dir:/srv/debian12\"",
         FIELD_BY_HAND("image"),
         .help = "The root filesystem: `host` (the host's programs, read-only, and an /etc of "
                 "berth's own), `dir:PATH` (a tree on the host, with a disposable layer over it), "
                 "or the name of an image."},
    [ROW_READ_ONLY] =
        {.key = "filesystem.read_only",
         .type = TYPE_MOUNTS,
         .within = WITHIN_READS,
         .merge = MERGE_ADD,
         .max = SPEC_MOUNTS_MAX,
         .unit = "paths",
         .example = "[\"/opt/toolchain\", {\"source\": \"/srv/data\", \"target\": \"/data\"}]",
         FIELD_BY_HAND("mounts"),
         .help = "Host paths that are also seen inside, read-only: at the same path, or at "
                 "`target`."},
    [ROW_READ_WRITE] =
        {.key = "filesystem.read_write",
         .type = TYPE_MOUNTS,
         .within = WITHIN_WRITES,
         .merge = MERGE_ADD,
         .max = SPEC_MOUNTS_MAX,
         .unit = "paths",
         .example = "[\"/srv/cache\"]",
         FIELD_BY_HAND("mounts"),
         .help = "Host paths that can be written inside: at the same path, or at `target`. What is "
                 "written there stays on the host."},
    [ROW_PROTECT] =
        {.key = "filesystem.protect",
         .type = TYPE_PROTECT,
         .within = WITHIN_KEEPS,
         .merge = MERGE_ADD,
         .max = SPEC_PROTECT_MAX,
         .unit = "paths",
         .example = "[\".git/hooks/\", \"deploy.sh\", \"~/.bashrc\"]",
         FIELD_BY_HAND("protect"),
         .help =
             "Paths in the workspace that the session can read and not change, nor rename away. "
             "A missing one whose parent exists is held by a socket without a listener while a "
             "session runs: git does not see it. \"~/NAME\" is NAME in the workspace, protected "
             "where it exists; a missing one is held only if the workspace is a home directory, "
             "and "
             "told at the end of a session if it appeared elsewhere. A \"/\" at the end only helps "
             "the reader."},
    [ROW_SCRATCH] =
        {.key = "filesystem.scratch",
         .type = TYPE_SIZE,
         .within = WITHIN_AT_MOST,
         .merge = MERGE_REPLACE,
         .min = MIB,
         .max = 16 * TIB,
         .unit = "bytes",
         .standard = "2GiB",
         .example = "\"2GiB\"",
         .asked = SPEC_LIMIT_SCRATCH_BYTES,
         FIELD(limits.scratch_bytes),
         .help = "Room for what is written outside the workspace: /tmp, /home, /var, /run and the "
                 "rootfs together. It is memory, and counts on top of `limits.memory`."},
    [ROW_SCRATCH_INODES] = {.key = "filesystem.scratch_inodes",
                            .type = TYPE_INTEGER,
                            .within = WITHIN_AT_MOST,
                            .merge = MERGE_REPLACE,
                            .min = 256,
                            .max = 1000000000,
                            .unit = "files",
                            .standard = "400000",
                            .example = "400000",
                            .asked = SPEC_LIMIT_SCRATCH_INODES,
                            FIELD(limits.scratch_inodes),
                            .help = "How many files and directories the scratch may hold."},
    [ROW_EGRESS] = {.key = "network.egress",
                    .type = TYPE_ENUM,
                    .within = WITHIN_RANK,
                    .merge = MERGE_REPLACE,
                    .unit = "",
                    .choices = egress_choices,
                    .standard = "deny",
                    .example = "\"deny\"",
                    FIELD(network.egress),
                    .help = "What may be reached besides the rules of `allow`."},
    [ROW_SNI] = {.key = "network.sni",
                 .type = TYPE_ENUM,
                 .within = WITHIN_RANK,
                 .merge = MERGE_REPLACE,
                 .unit = "",
                 .choices = sni_choices,
                 .standard = "match",
                 .example = "\"match\"",
                 FIELD(network.sni_match),
                 .help =
                     "Whether the name that a TLS connection asks for must be the allowed one."},
    [ROW_ALLOW] =
        {.key = "network.allow",
         .type = TYPE_RULES,
         .within = WITHIN_RULES,
         .merge = MERGE_REPLACE,
         .max = SPEC_RULES_MAX,
         .unit = "rules",
         .example =
             "[{\"host\": \"*.example.org\"}, {\"cidr\": \"10.1.0.0/16\", \"ports\": [5432]}]",
         FIELD_BY_HAND("network.allow"),
         .help =
             "Hosts and networks that may be reached. Without `ports`, port 443; \"*\" is every "
             "port. A file's list replaces that of what it extends; flags add."},
    [ROW_DENY] =
        {.key = "network.deny",
         .type = TYPE_RULES,
         .within = WITHIN_DENIES,
         .merge = MERGE_ADD,
         .max = SPEC_RULES_MAX,
         .unit = "rules",
         .default_all_ports = true,
         .example = "[{\"host\": \"tracker.example.org\"}]",
         FIELD_BY_HAND("network.deny"),
         .help = "Hosts and networks that may not be reached, whatever `egress` and `allow` say. "
                 "Without `ports`, every port: a denial that forgets a port would leave it open."},
    [ROW_ALLOW_PRIVATE] =
        {.key = "network.allow_private",
         .type = TYPE_BOOLEAN,
         .within = WITHIN_FALSE,
         .merge = MERGE_REPLACE,
         .unit = "",
         .standard = "false",
         .example = "false",
         FIELD(network.allow_private),
         .help = "Whether a name that is allowed may have a private address. A metadata address "
                 "needs a cidr rule even so; loopback and the host itself are never reached."},
    [ROW_PUBLISH] = {.key = "network.publish",
                     .type = TYPE_PORTS,
                     .within = WITHIN_SUBSET,
                     .merge = MERGE_REPLACE,
                     .min = 1,
                     .max = SPEC_PUBLISH_MAX,
                     .unit = "ports",
                     .example = "[3000, \"8080:3001\", \"0:5173\"]",
                     FIELD_BY_HAND("network.publish"),
                     .help = "Ports of the session that are reached at the host's loopback, also "
                             "when a program inside listens on 127.0.0.1 alone: at the same port "
                             "of the host, or \"HOST:PORT\" at port HOST, where 0 is any that is "
                             "free."},
    [ROW_USER] = {.key = "process.user",
                  .type = TYPE_USER,
                  .within = WITHIN_USER,
                  .merge = MERGE_REPLACE,
                  .min = 0,
                  .max = SPEC_UID_INIT - 1,
                  .unit = "",
                  .standard = "user",
                  .example = "\"user\"",
                  FIELD_BY_HAND("process.uid"),
                  .help =
                      "As whom commands run inside: `user` (1000), `root` (0 of the session only, "
                      "without capabilities), or a number. It is never a user of the host."},
    [ROW_ENV] =
        {.key = "process.env",
         .type = TYPE_ENV,
         .within = WITHIN_FREE,
         .merge = MERGE_BY_NAME,
         .max = 256,
         .unit = "variables",
         .example = "{\"LANG\": \"C.UTF-8\"}",
         FIELD_BY_HAND("process.env"),
         .help = "Environment variables of every command. Nothing of the host's environment goes "
                 "in by itself."},
    [ROW_SECCOMP] = {.key = "process.seccomp",
                     .type = TYPE_ENUM,
                     .within = WITHIN_RANK,
                     .merge = MERGE_REPLACE,
                     .unit = "",
                     .choices = seccomp_choices,
                     .standard = "default",
                     .example = "\"default\"",
                     FIELD(process.seccomp),
                     .help = "The list of system calls that are allowed."},
    [ROW_SECCOMP_ALLOW] =
        {.key = "process.seccomp_allow",
         .type = TYPE_CALLS,
         .within = WITHIN_SUBSET,
         .merge = MERGE_REPLACE,
         .max = SPEC_SECCOMP_ALLOW_MAX,
         .unit = "calls",
         .example = "[\"userfaultfd\"]",
         FIELD_BY_HAND("process.seccomp_allow"),
         .help = "System calls that are allowed besides. Calls that would break a guarantee are "
                 "refused here with the reason."},
    [ROW_EXPLAIN_SYSCALLS] =
        {.key = "process.explain_syscalls",
         .type = TYPE_BOOLEAN,
         .within = WITHIN_FREE,
         .merge = MERGE_REPLACE,
         .unit = "",
         .standard = "false",
         .example = "false",
         FIELD(process.explain_syscalls),
         .help = "Report denied system calls by name when a command ends. Costs a little on each "
                 "denied call."},
    [ROW_MEMORY] =
        {.key = "limits.memory",
         .type = TYPE_SIZE,
         .within = WITHIN_AT_MOST,
         .merge = MERGE_REPLACE,
         .min = 4 * MIB,
         .max = 1024 * TIB,
         .unit = "bytes",
         .unlimited = true,
         .standard = "4GiB",
         .example = "\"4GiB\"",
         .asked = SPEC_LIMIT_MEMORY,
         FIELD(limits.memory_bytes),
         .help = "Memory of all processes together, without swap. The kernel's limit is this and "
                 "the scratch."},
    [ROW_CPUS] = {.key = "limits.cpus",
                  .type = TYPE_CPUS,
                  .within = WITHIN_AT_MOST,
                  .merge = MERGE_REPLACE,
                  .min = 10,
                  .max = 4096000,
                  .unit = "processors",
                  .unlimited = true,
                  .standard = "unlimited",
                  .example = "1.5",
                  .asked = SPEC_LIMIT_CPU,
                  FIELD(limits.cpu_millis),
                  .help =
                      "Processor time of all processes together, in processors, with up to three "
                      "decimals."},
    [ROW_PIDS] = {.key = "limits.pids",
                  .type = TYPE_INTEGER,
                  .within = WITHIN_AT_MOST,
                  .merge = MERGE_REPLACE,
                  .min = 1,
                  .max = 4194304,
                  .unit = "processes and threads",
                  .unlimited = true,
                  .standard = "4096",
                  .example = "1024",
                  .asked = SPEC_LIMIT_PIDS,
                  FIELD(limits.pids),
                  .help = "Processes and threads at one time."},
    [ROW_OPEN_FILES] = {.key = "limits.open_files",
                        .type = TYPE_INTEGER,
                        .within = WITHIN_AT_MOST,
                        .merge = MERGE_REPLACE,
                        .min = 16,
                        .max = 1048576,
                        .unit = "descriptors",
                        .standard = "16384",
                        .example = "4096",
                        .asked = SPEC_LIMIT_OPEN_FILES,
                        FIELD(limits.open_files),
                        .help = "Open descriptors of one process, soft and hard."},
    [ROW_EXEC_TIMEOUT] =
        {.key = "limits.exec_timeout",
         .type = TYPE_DURATION,
         .within = WITHIN_AT_MOST,
         .merge = MERGE_REPLACE,
         .min = 1,
         .max = 3650 * DAY,
         .unit = "milliseconds",
         .unlimited = true,
         .standard = "unlimited",
         .example = "\"10m\"",
         FIELD(limits.exec_timeout_ms),
         .help = "How long one command may run before it and all it started are ended."},
    [ROW_OUTPUT] =
        {.key = "limits.output",
         .type = TYPE_SIZE,
         .within = WITHIN_AT_MOST,
         .merge = MERGE_REPLACE,
         .min = 128 * KIB,
         .max = TIB,
         .unit = "bytes",
         .standard = "16MiB",
         .example = "\"16MiB\"",
         FIELD(limits.output_bytes),
         .help = "How much of one command's output is kept. Head and tail stay, the middle is "
                 "counted."},
    [ROW_REQUIRES] = {.key = "requires",
                      .type = TYPE_CAPABILITIES,
                      .within = WITHIN_KEEPS,
                      .merge = MERGE_ADD,
                      .max = 128,
                      .unit = "names",
                      .example = "[\"limits.memory\", \"isolation.landlock\"]",
                      FIELD_BY_HAND("requires_mask"),
                      .help =
                          "Capabilities that the host must have, else nothing is started. `berth "
                          "capabilities` lists them."},
};

int schema_find(const char *key)
{
    for (int i = 0; i < ROW_COUNT; i++)
        if (strcmp(schema_rows[i].key, key) == 0)
            return i;
    return -1;
}

bool schema_is_list(const struct schema_row *row)
{
    return row->type >= TYPE_MOUNTS;
}

const char *schema_leaf(const struct schema_row *row)
{
    const char *dot = strchr(row->key, '.');
    return dot ? dot + 1 : row->key;
}

bool schema_in_section(const struct schema_row *row, const char *section)
{
    const char *dot = strchr(row->key, '.');
    size_t n = dot ? (size_t)(dot - row->key) : 0;
    return strlen(section) == n && strncmp(row->key, section, n) == 0;
}

static void format_bound(const struct schema_row *row, uint64_t value, char *ret_text, size_t size)
{
    if (row->type == TYPE_SIZE)
        units_format_size(value, ret_text, size);
    else if (row->type == TYPE_DURATION)
        units_format_duration(value, ret_text, size);
    else if (row->type == TYPE_CPUS && value % 1000)
        snprintf(ret_text, size, "0.%03u", (unsigned)(value % 1000));
    else
        snprintf(ret_text, size, "%llu",
                 (unsigned long long)(row->type == TYPE_CPUS ? value / 1000 : value));
}

void schema_allowed(const struct schema_row *row, char *ret_text, size_t size)
{
    static const char *const words[TYPE_COUNT] = {
        [TYPE_VERSION] = "the number 1",
        [TYPE_BASE] = "a preset's name, or the relative path of a file (\"./team.jsonc\")",
        [TYPE_SIZE] = "a size such as \"512MiB\" (B, KiB, MiB, GiB, TiB, KB, MB, GB, TB) or bytes",
        [TYPE_DURATION] = "a duration such as \"90s\" (ms, s, m, h, d) or milliseconds",
        [TYPE_CPUS] = "a number such as 1.5, with at most three decimals",
        [TYPE_INTEGER] = "a whole number",
        [TYPE_BOOLEAN] = "true or false",
        [TYPE_IMAGE] = "\"host\", \"dir:\" and an absolute path, or the name of an image",
        [TYPE_USER] = "\"user\", \"root\" or a whole number",
        [TYPE_MOUNTS] = "a list of absolute paths or of {\"source\": …, \"target\": …}",
        [TYPE_PROTECT] = "a list of paths relative to the workspace, \"~/NAME\" for homes",
        [TYPE_RULES] = "a list of {\"host\": …, \"ports\": […]} or {\"cidr\": …, \"ports\": […]}",
        [TYPE_PORTS] = "a list of ports and of \"HOST:PORT\"",
        [TYPE_ENV] = "an object of variables and their values, both strings",
        [TYPE_CALLS] = "a list of names of system calls",
        [TYPE_CAPABILITIES] = "a list of names of capabilities",
    };
    char low[32], high[32];
    size_t n = 0;
    if (row->type == TYPE_ENUM) {
        for (const struct schema_choice *c = row->choices; c->name && n < size; c++)
            n += (size_t)snprintf(ret_text + n, size - n, "%s\"%s\"",
                                  c == row->choices ? ""
                                  : c[1].name       ? ", "
                                                    : " or ",
                                  c->name);
        return;
    }
    n = (size_t)snprintf(ret_text, size, "%s", words[row->type]);
    bool number = row->type == TYPE_SIZE || row->type == TYPE_DURATION || row->type == TYPE_CPUS ||
                  row->type == TYPE_INTEGER || row->type == TYPE_USER;
    if (number && n < size) {
        format_bound(row, row->min, low, sizeof low);
        format_bound(row, row->max, high, sizeof high);
        n += (size_t)snprintf(ret_text + n, size - n, ", from %s to %s", low, high);
    }
    if (row->unlimited && n < size)
        snprintf(ret_text + n, size - n, ", or \"unlimited\"");
}
