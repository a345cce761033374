/* This file makes the spec of `berth run`; it changes nothing on the host. */
#include "api/cli/run_plan.h"

#include "policy/policy.h"
#include "runtime/base/fd.h"
#include "runtime/base/units.h"
#include "runtime/runtime.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void policy_freep(struct policy **policy)
{
    policy_free(*policy);
}

/* The real absolute path of something that the caller named; owned. */
static int real_path(const char *path, const char *flag, char **ret, struct err *err)
{
    char real[SPEC_PATH_MAX];
    int r = runtime_resolve_path(path, flag, real, sizeof real, err);
    if (r < 0)
        return r;
    *ret = strdup(real);
    return *ret ? 0 : err_set(err, ERR_INTERNAL, 0, flag, path, "Out of memory.");
}

static void copy_path(char to[SPEC_PATH_MAX], const char *from)
{
    /* Both callers have checked the length. */
    memcpy(to, from, strlen(from) + 1);
}

/* A `dir:` image in a flag is relative to where the caller stands; a policy knows no such place. */
static int set_image(struct policy *policy, const struct run_setting *setting, struct err *err)
{
    if (strncmp(setting->value, "dir:", 4) != 0)
        return policy_set(policy, setting->key, setting->value, setting->flag, err);
    _cleanup_free_ char *real = NULL;
    int r = real_path(setting->value + 4, setting->flag, &real, err);
    if (r < 0)
        return r;
    _cleanup_buf_ struct buf text = {0};
    buf_printf(&text, "dir:%s", real);
    if (buf_failed(&text))
        return err_set(err, ERR_INTERNAL, 0, setting->flag, real, "Out of memory.");
    return policy_set(policy, setting->key, buf_text(&text), setting->flag, err);
}

/* "PATH:TARGET" is split at the last colon that is followed by a slash; a path that exists as it
 * is written is not split. `ret_target` points into `text`, NULL when there is none. */
static int split_mount(const struct run_mount *mount, char **ret_source, const char **ret_target,
                       struct err *err)
{
    _cleanup_free_ char *source = strdup(mount->text);
    if (!source)
        return err_set(err, ERR_INTERNAL, 0, mount->flag, mount->text, "Out of memory.");
    const char *target = NULL;
    struct stat st;
    if (stat(source, &st) < 0)
        for (char *colon = source; (colon = strstr(colon, ":/")) != NULL; colon++)
            target = mount->text + (colon + 1 - source);
    if (target)
        source[target - 1 - mount->text] = 0;
    int r = real_path(source, mount->flag, ret_source, err);
    if (r == 0)
        *ret_target = target;
    else if (!target && strchr(source, ':'))
        err_add(err, "Of PATH:TARGET, TARGET is an absolute path.");
    return r;
}

static const char *mount_key(const struct run_mount *mount)
{
    return mount->read_only ? "filesystem.read_only" : "filesystem.read_write";
}

/* A path that keeps its name inside is a policy's; the policy's flags know no other target. */
static int set_mounts(const struct run_options *options, struct policy *policy, struct err *err)
{
    for (size_t i = 0; i < options->mount_count; i++) {
        const struct run_mount *mount = &options->mounts[i];
        _cleanup_free_ char *source = NULL;
        const char *target;
        int r = split_mount(mount, &source, &target, err);
        if (r == 0 && !target)
            r = policy_set(policy, mount_key(mount), source, mount->flag, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* The policy's own rules for sources and targets, asked of a policy that is thrown away. */
static int check_mount(const struct run_mount *mount, const char *source, const char *target,
                       struct err *err)
{
    __attribute__((cleanup(policy_freep))) struct policy *first = NULL, *second = NULL;
    int r = policy_new(&first, "balanced", err);
    if (r == 0)
        r = policy_new(&second, "balanced", err);
    if (r == 0)
        r = policy_set(first, mount_key(mount), source, mount->flag, err);
    if (r == 0)
        r = policy_set(second, "filesystem.read_only", target, mount->flag, err);
    return r;
}

static int add_mount(struct spec *spec, const struct run_mount *mount, struct err *err)
{
    _cleanup_free_ char *source = NULL;
    const char *target;
    int r = split_mount(mount, &source, &target, err);
    if (r < 0 || !target)
        return r;
    r = check_mount(mount, source, target, err);
    if (r < 0)
        return r;
    if (spec->mount_count >= SPEC_MOUNTS_MAX)
        return err_set(err, ERR_TOO_LARGE, 0, mount->flag, mount->text, "At most %d mounts.",
                       SPEC_MOUNTS_MAX);
    struct spec_mount *m = &spec->mounts[spec->mount_count++];
    copy_path(m->source, source);
    copy_path(m->target, target);
    m->read_only = mount->read_only;
    return 0;
}

int run_plan_policy(const struct run_options *options, struct policy **ret, struct err *err)
{
    __attribute__((cleanup(policy_freep))) struct policy *policy = NULL;
    int r = options->policy ? policy_load_file(&policy, options->policy, err)
                            : policy_new(&policy, "balanced", err);
    for (size_t i = 0; r == 0 && i < options->setting_count; i++) {
        const struct run_setting *setting = &options->settings[i];
        r = strcmp(setting->key, "filesystem.image") == 0
                ? set_image(policy, setting, err)
                : policy_set(policy, setting->key, setting->value, setting->flag, err);
    }
    if (r == 0 && options->learn)
        r = policy_set(policy, "network.egress", "public-only", "--learn", err);
    if (r == 0)
        r = set_mounts(options, policy, err);
    if (r < 0)
        return r;
    *ret = take_ptr(&policy);
    return 0;
}

/* WS-1: a directory of root's is refused unless somebody says so; root running `berth run` on
 * root's own directory has said so. */
static void allow_own(struct spec *spec)
{
    struct stat st;
    if (geteuid() == 0 && stat(spec->workspace.path, &st) == 0 && st.st_uid == 0)
        spec->workspace.allow_root_owned = 1;
}

static int set_directory(struct spec *spec, const char *path, const char *flag, struct err *err)
{
    _cleanup_free_ char *real = NULL;
    int r = real_path(path, flag, &real, err);
    if (r < 0)
        return r;
    struct stat st;
    if (stat(real, &st) == 0 && !S_ISDIR(st.st_mode))
        return err_set(err, ERR_INVALID_REQUEST, ENOTDIR, flag, real, NULL);
    spec->workspace.kind = SPEC_WORKSPACE_DIRECTORY;
    copy_path(spec->workspace.path, real);
    copy_path(spec->workspace.mount_path, real);
    allow_own(spec);
    return 0;
}

static int set_tmpfs(struct spec *spec, const char *value, struct err *err)
{
    spec->workspace.kind = SPEC_WORKSPACE_TMPFS;
    spec->workspace.size_bytes = spec->limits.scratch_bytes;
    if (value[0] == 0)
        return 0;
    if (units_parse_size(value + 1, &spec->workspace.size_bytes) < 0 ||
        spec->workspace.size_bytes == 0)
        return err_set(err, ERR_USAGE, 0, "--workspace", value + 1, "A size like 512MiB.");
    return 0;
}

static int set_volume(struct spec *spec, const char *name, struct err *err)
{
    if (!id_valid(name))
        return err_set(err, ERR_INVALID_REQUEST, 0, "--workspace", name,
                       "A volume's name has 1 to 64 letters, digits, \"_\", \".\" or \"-\", begins "
                       "with a letter or digit, and has no \"..\".");
    spec->workspace.kind = SPEC_WORKSPACE_VOLUME;
    memcpy(spec->workspace.volume, name, strlen(name) + 1);
    return 0;
}

static int set_implicit(struct spec *spec, struct err *err)
{
    _cleanup_free_ char *here = getcwd(NULL, 0);
    if (!here || here[0] != '/')
        return err_set(err, ERR_INVALID_REQUEST, here ? ENOENT : errno, "find the workspace",
                       "current directory",
                       "Go to a directory that exists, or name one: --workspace DIR.");
    int r = runtime_check_implicit_workspace(here, getenv("HOME"), err);
    return r < 0 ? r : set_directory(spec, here, "current directory", err);
}

static int set_workspace(const struct run_options *options, struct spec *spec, struct err *err)
{
    const char *value = options->workspace;
    copy_path(spec->workspace.mount_path, "/workspace");
    int r = 0;
    if (!value)
        r = set_implicit(spec, err);
    else if (strncmp(value, "volume:", 7) == 0)
        r = set_volume(spec, value + 7, err);
    else if (strncmp(value, "tmpfs", 5) == 0 && (value[5] == 0 || value[5] == ':'))
        r = set_tmpfs(spec, value + 5, err);
    else if (strcmp(value, "none") == 0)
        spec->workspace.kind = SPEC_WORKSPACE_NONE;
    else
        r = set_directory(spec, value, "--workspace", err);
    if (r < 0)
        return r;
    spec->workspace.read_only = options->workspace_read_only;
    if (options->workspace_at) {
        if (strlen(options->workspace_at) >= SPEC_PATH_MAX)
            return err_set(err, ERR_INVALID_REQUEST, ENAMETOOLONG, "--workspace-at",
                           options->workspace_at, NULL);
        memset(spec->workspace.mount_path, 0, sizeof spec->workspace.mount_path);
        copy_path(spec->workspace.mount_path, options->workspace_at);
    }
    return 0;
}

static int set_ids(const struct run_options *options, struct spec *spec, struct err *err)
{
    if (!id_valid(options->workspace_id))
        return err_set(err, ERR_INVALID_REQUEST, 0, "--workspace-id", options->workspace_id,
                       "1 to 64 letters, digits, \"_\", \".\" or \"-\", first a letter or digit.");
    memcpy(spec->workspace_id, options->workspace_id, strlen(options->workspace_id) + 1);
    int r = id_random("run-", spec->session_id, sizeof spec->session_id);
    return r < 0 ? err_set(err, ERR_INTERNAL, -r, "make an id", NULL, NULL) : 0;
}

/* The paths of a policy may go by links too; what they are called inside stays as it was written.
 */
static int resolve_mounts(struct spec *spec, struct err *err)
{
    for (uint32_t i = 0; i < spec->mount_count; i++) {
        struct spec_mount *m = &spec->mounts[i];
        _cleanup_free_ char *real = NULL;
        int r = real_path(
            m->source, m->read_only ? "filesystem.read_only" : "filesystem.read_write", &real, err);
        if (r < 0)
            return r;
        memset(m->source, 0, sizeof m->source);
        copy_path(m->source, real);
    }
    return 0;
}

int run_plan_spec(const struct run_options *options, struct spec *ret_spec, struct err *err)
{
    __attribute__((cleanup(policy_freep))) struct policy *policy = NULL;
    int r = run_plan_policy(options, &policy, err);
    if (r < 0)
        return r;
    spec_init_zeroed(ret_spec);
    r = policy_compile(policy, ret_spec, err);
    if (r == 0)
        r = resolve_mounts(ret_spec, err);
    if (r == 0)
        r = set_ids(options, ret_spec, err);
    if (r == 0)
        r = set_workspace(options, ret_spec, err);
    for (size_t i = 0; r == 0 && i < options->mount_count; i++)
        r = add_mount(ret_spec, &options->mounts[i], err);
    if (r == 0)
        r = spec_check(ret_spec, err);
    return r;
}

/* TERM describes the terminal that the command gets; nothing else of it is ours to say. */
static const char *terminal_name(void)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789-_.+";
    const char *term = getenv("TERM");
    return term && term[0] && strlen(term) < 64 && term[strspn(term, allowed)] == 0 ? term : NULL;
}

int run_plan_environment(const struct run_options *options, const struct spec *spec, bool tty,
                         char ***ret_env, struct err *err)
{
    _cleanup_buf_ struct buf text = {0};
    _cleanup_free_ const char **extra =
        calloc(options->env_count + 1, sizeof *extra + sizeof(size_t));
    if (!extra)
        return err_set(err, ERR_INTERNAL, 0, "make the environment", NULL, "Out of memory.");
    size_t *at = (size_t *)(extra + options->env_count + 1);
    for (size_t i = 0; i < options->env_count; i++) {
        const char *entry = options->env[i];
        at[i] = text.length;
        buf_puts(&text, entry);
        if (!strchr(entry, '=')) {
            const char *value = getenv(entry);
            if (!value)
                return err_set(err, ERR_INVALID_REQUEST, 0, "--env", entry,
                               "It is not set here. Set it, or write --env %s=VALUE.", entry);
            buf_putc(&text, '=');
            buf_puts(&text, value);
        }
        buf_putc(&text, 0);
    }
    if (buf_failed(&text))
        return err_set(err, ERR_INTERNAL, 0, "make the environment", NULL, "Out of memory.");
    for (size_t i = 0; i < options->env_count; i++)
        extra[i] = text.data + at[i];
    char **env = exec_environment(spec, tty ? terminal_name() : NULL, extra);
    if (!env)
        return err_set(err, ERR_INTERNAL, 0, "make the environment", NULL, "Out of memory.");
    *ret_env = env;
    return 0;
}
