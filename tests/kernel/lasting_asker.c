/* This file tests with whose rights the host paths of a session that lasts are opened: those of who
 * asks, which root's launcher takes for it (P-7).
 */
#include "lasting_fixture.h"

TestSuite(lasting_asker, .timeout = 120);

enum { ALICE = 2000, STAFF = 2500 };

static struct session_lasting asked_by_alice(void)
{
    struct session_lasting lasting = lasting_of(name_of(1, 1));
    lasting.asker_uid = lasting.asker_gid = ALICE;
    return lasting;
}

static enum err_code make_for_alice(struct spec *spec, const uint32_t *groups, uint32_t count)
{
    struct making m = {.spec = spec, .lasting = asked_by_alice(), .shared = new_shared()};
    m.lasting.asker_groups = groups;
    m.lasting.asker_group_count = count;
    in_child(make_one, &m);
    if (m.shared->result < 0)
        assert_nothing(name_of(1, 1));
    else
        end(name_of(1, 1));
    return m.shared->result < 0 ? m.shared->err.code : ERR_NONE;
}

static void directory_of(char ret[160], const char *name, uid_t uid, gid_t gid, mode_t mode)
{
    snprintf(ret, 160, "%s/%s", place, name);
    cr_assert(mkdir(ret, 0700) == 0 && chown(ret, uid, gid) == 0 && chmod(ret, mode) == 0);
}

static void workspaces(void)
{
    char secret[160], inner[160], team[160], shared[160], link[160];
    static const uint32_t groups[] = {STAFF};
    struct spec *spec = lasting_spec();
    directory_of(secret, "secret", 3000, 3000, 0700);
    directory_of(inner, "secret/inner", ALICE, ALICE, 0755);
    directory_of(team, "team", 3000, STAFF, 0750);
    directory_of(shared, "team/shared", ALICE, STAFF, 0770);
    snprintf(link, sizeof link, "%s/link", place);
    cr_assert_eq(symlink(project, link), 0);
    cr_assert_eq(make_for_alice(spec, NULL, 0), ERR_NONE, "her own");
    strcpy(spec->workspace.path, secret);
    cr_assert_eq(make_for_alice(spec, NULL, 0), ERR_FORBIDDEN, "a door that she may not open");
    strcpy(spec->workspace.path, inner);
    cr_assert_eq(make_for_alice(spec, NULL, 0), ERR_FORBIDDEN, "behind a door that she can't pass");
    strcpy(spec->workspace.path, shared);
    cr_assert_eq(make_for_alice(spec, NULL, 0), ERR_FORBIDDEN);
    cr_assert_eq(make_for_alice(spec, groups, 1), ERR_NONE, "her group may");
    strcpy(spec->workspace.path, link);
    cr_assert_eq(make_for_alice(spec, NULL, 0), ERR_INVALID_REQUEST, "no link is followed");
    strcpy(spec->workspace.path, project);
    spec->mount_count = 1;
    strcpy(spec->mounts[0].source, inner);
    strcpy(spec->mounts[0].target, "/mnt/inner");
    spec->mounts[0].read_only = true;
    cr_assert_eq(make_for_alice(spec, NULL, 0), ERR_FORBIDDEN, "an extra mount");
}
AS_ROOT_ONLY(lasting_asker, P_7_directories_are_opened_with_the_rights_of_who_asks, workspaces)

static void images(void)
{
    char hidden[160], image[160];
    struct spec *spec = lasting_spec();
    directory_of(hidden, "hidden", 3000, 3000, 0700);
    directory_of(image, "hidden/image", ALICE, ALICE, 0755);
    spec->image.kind = SPEC_IMAGE_DIR;
    strcpy(spec->image.path, image);
    cr_assert_eq(make_for_alice(spec, NULL, 0), ERR_FORBIDDEN);
    strcpy(spec->image.path, "/");
    cr_assert_eq(make_for_alice(spec, NULL, 0), ERR_FORBIDDEN, "the host's root is nobody's image");
}
AS_ROOT_ONLY(lasting_asker, P_7_so_is_an_image, images)

/* An image of her own with a file of root's in it: its program runs, and root's file stays closed.
 */
static void image_of_hers(void)
{
    char image[160], command[900];
    struct spec *spec = lasting_spec();
    directory_of(image, "image", ALICE, ALICE, 0755);
    snprintf(
        command, sizeof command,
        "cd %s && mkdir -p bin dev proc tmp sys run etc workspace root home && cp /bin/busybox "
        "bin/sh && cp /bin/busybox bin/true && cp /bin/busybox bin/cat && chown -R 2000:2000 . && "
        "echo mine >etc/mine && chown 2000:2000 etc/mine && chmod 600 etc/mine && "
        "echo secret >etc/secret && chmod 600 etc/secret",
        image);
    cr_assert_eq(system(command), 0); /* NOLINT: literals and mkdtemp names */
    spec->image.kind = SPEC_IMAGE_DIR;
    strcpy(spec->image.path, image);
    spec->process.uid = spec->process.gid = SPEC_UID_ROOT;
    struct making m = {.spec = spec,
                       .lasting = asked_by_alice(),
                       .shared = new_shared(),
                       .command = "cat /etc/mine >mine; cat /etc/secret >secret; echo >done"};
    char path[256], text[1024];
    in_child(make_one, &m);
    err_format(&m.shared->err, text, sizeof text);
    cr_assert_eq(m.shared->result, 0, "%s", text);
    snprintf(path, sizeof path, "%s/done", project);
    for (int i = 0; i < 10000 && access(path, F_OK) != 0; i++)
        usleep(1000);
    snprintf(path, sizeof path, "%s/mine", project);
    cr_assert_eq(io_read_at(AT_FDCWD, path, text, sizeof text), 4, "she reads her own");
    snprintf(path, sizeof path, "%s/secret", project);
    cr_assert_eq(io_read_at(AT_FDCWD, path, text, sizeof text), 0, "and not root's");
    end(name_of(1, 1));
}
AS_ROOT_ONLY(lasting_asker, P_7_an_image_gives_nothing_that_is_not_hers, image_of_hers)
