"""This file goes through every member of a create's body, over a real `berth serve`: each is seen in the
session, or refused with its pointer or capability; none is dropped (CAP-1 to CAP-4). The names come
from the service's own refusals and from the policy's schema, so that a new one cannot be forgotten."""

import json
import os

from service import *

VOLUME = {"persistence": {"kind": "volume", "name": "asked"}}


def create(**body):
    return call("POST", "/workspaces/w/sessions", {"session_id": "asked", **body})


def inside(shell, **body):
    """What the shell prints in a session that was made so."""
    s = Session("asked").made(**body)
    try:
        return s.run(shell)["text"].strip()
    finally:
        s.destroy().is_(200)
        s.over()


def seen(shell, wanted, **body):
    same(inside(shell, **body), wanted, body)


def shown(name, wanted, **body):
    s = Session("asked").made(**body)
    got = s.get()
    s.destroy().is_(200)
    s.over()
    for part in name.split("."):
        got = got[part]
    same(got, wanted, name)


def lacking(capability_name, **body):
    answer = create(**body).is_(422, "capability_unavailable", body)
    check(capability_name in answer.json["missing"], answer)


def limit(capability_name, shell, wanted, **body):
    if capability(capability_name):
        seen(shell, wanted, **body)
    else:
        lacking(capability_name, **body)


def ruled(capability_name, member, wanted, **network):
    """What a session's network is, where it can be had."""
    if capability(capability_name):
        shown("network." + member, wanted, network=network)
    else:
        lacking(capability_name, network=network)


def effective(capability_name, member, wanted, **body):
    if capability(capability_name):
        shown("effective.limits." + member, wanted, **body)
    else:
        lacking(capability_name, **body)


def expires():
    s = Session("asked").made(ttl_ms=3600000)
    got = s.get()
    check(got["ttl_ms"] == 3600000 and got["expires_at"], got)
    s.destroy()
    s.over()


def timeout_of_policy():
    s = Session("asked").made(limits={"exec_timeout": "300ms"})
    same(s.run("sleep 20")["reason"], "timeout")
    s.destroy()
    s.over()


def output_of_policy():
    s = Session("asked").made(limits={"output": "128KiB"})
    same(s.run("seq 1 300000")["output_truncated"], True)
    s.destroy()
    s.over()


def user_root():
    """Where a session has one id that is told before there is a row, with all else that is missing."""
    check(capability("isolation.id_range") == (os.environ.get("TEST_ONE_ID") != "yes"), MODE)
    if capability("isolation.id_range"):
        seen("id -u", "0", process={"user": "root"})
        return
    for user in ("root", 5):
        answer = create(process={"user": user}, requires=["gpu"]).is_(422, "capability_unavailable")
        same(sorted(answer.json["missing"]), ["gpu", "isolation.id_range"], user)
        check("/etc/subuid" in answer.json["detail"], answer)
    call("GET", "/workspaces/local/sessions/asked").is_(404, "not_found")
    s = Session("one_id").made()
    for user in ("root", "5", "1000:5"):
        answer = s.post("execs", {"shell": "true", "user": user, "exec_id": "other"}).is_(422, "capability_unavailable")
        same(answer.json["missing"], ["isolation.id_range"], user)
        call("GET", s.path + "/execs/other").is_(404, "not_found")
    same(call("GET", s.path + "/execs").is_(200).json["execs"], [])
    same(s.run("id -u", user="user")["text"], "1000\n")
    s.destroy().is_(200)


SESSION = {
    "session_id": lambda: shown("session_id", "asked"),
    "workspace": lambda: shown("workspace.persistence", VOLUME["persistence"], workspace=VOLUME),
    "image": lambda: (shown("image", "host", image="host"), lacking("rootfs.image", image="nosuch")),
    "limits": lambda: limit("limits.open_files", "ulimit -n", "99", limits={"open_files": 99}),
    "filesystem": lambda: seen("test -w /opt || echo no", "no", filesystem={"read_only": ["/opt"]}),
    "process": lambda: seen("echo $A", "b c", process={"env": {"A": "b c"}}),
    "network": lambda: seen("cat /proc/net/dev | grep -c eth", "0", network={"egress": "deny"}),
    "secrets": lambda: lacking("secrets.env_plaintext", secrets=[{"name": "s", "delivery": "env-plaintext", "enters_guest": True, "value": "v"}]),
    "requires": lambda: (shown("requires", ["workspace.volume"], requires=["workspace.volume"]), lacking("gpu", requires=["gpu"])),
    "policy": lambda: (seen("ulimit -n", "77", policy={"version": 1, "limits": {"open_files": 77}}), create(policy="nosuch").is_(400)),
    "owner": lambda: shown("owner", "somebody", owner="somebody"),
    "labels": lambda: shown("labels", {"a": "b"}, labels={"a": "b"}),
    "ttl_ms": expires,
    "idle": lambda: shown("idle", {"after_ms": 3600000, "action": "destroy"}, idle={"after_ms": 3600000, "action": "destroy"}),
}
WORKSPACE = {
    "mount_path": lambda: seen("pwd", "/srv/here", workspace={"mount_path": "/srv/here"}),
    "read_only": lambda: seen("touch x 2>/dev/null || echo no", "no", workspace={**VOLUME, "read_only": True}),
    "persistence": SESSION["workspace"],
}
PERSISTENCE = {
    "kind": lambda: seen("stat -f -c %T .", "tmpfs", workspace={"persistence": {"kind": "tmpfs", "size": "8MiB"}}),
    "name": SESSION["workspace"],
    "path": lambda: check(create(workspace={"persistence": {"kind": "directory", "path": "relative"}}).status == 400, "a relative path"),
    "exclusive": lambda: create(workspace={"persistence": {"kind": "volume", "exclusive": True}}).is_(400, "invalid_request"),
    "allow_root_owned": lambda: create(workspace={"persistence": {"kind": "tmpfs", "size": 1, "allow_root_owned": True}}).is_(400, "invalid_request"),
    "size": lambda: seen("df -k --output=size . | tail -n 1 | tr -d ' '", "8192", workspace={"persistence": {"kind": "tmpfs", "size": "8MiB"}}),
    "base": lambda: lacking("workspace.snapshot", workspace={"persistence": {"kind": "snapshot", "base": "b"}}),
}
IDLE = {
    "after_ms": SESSION["idle"], "action": SESSION["idle"],
    "accept_loss": lambda: (create(idle={"after_ms": 1000, "accept_loss": True}).is_(400, "invalid_request"),
                            create(workspace={"persistence": {"kind": "tmpfs", "size": "8MiB"}}, idle={"after_ms": 1000}).is_(400)),
}
def explained():
    """A refused call of a command is an event of its session."""
    s = Session("asked").made(process={"explain_syscalls": True})
    s.run("unshare -U true; true")
    until(lambda: any(e["event"] == "syscall.denied" for e in s.events()))
    s.destroy()
    s.over()


POLICY = {
    "version": lambda: create(policy={"version": 2}).is_(400),
    "extends": lambda: seen("ulimit -n", "88", policy={"version": 1, "extends": "locked-down", "limits": {"open_files": 88}}),
    "requires": lambda: lacking("gpu", policy={"version": 1, "requires": ["gpu"]}),
    "filesystem/image": lambda: lacking("rootfs.image", filesystem={"image": "nosuch"}),
    "filesystem/read_only": SESSION["filesystem"],
    "filesystem/read_write": lambda: check(create(filesystem={"read_write": ["/nonexistent/dir"]}).status >= 400, "a directory that is not there"),
    "filesystem/protect": lambda: protects(),
    "filesystem/scratch": lambda: effective("limits.scratch_bytes", "scratch", 32 << 20, filesystem={"scratch": "32MiB"}),
    "filesystem/scratch_inodes": lambda: effective("limits.scratch_inodes", "scratch_inodes", 5000, filesystem={"scratch_inodes": 5000}),
    "network/egress": lambda: ruled("network.allow", "egress", "allow", egress="allow"),
    "network/sni": lambda: ruled("network.host_rules", "sni", "off", sni="off", allow=[{"host": "x.example.org"}]),
    "network/allow": lambda: (ruled("network.host_rules", "allow", [{"host": "x.example.org", "ports": [443]}], allow=[{"host": "x.example.org"}]),
                              ruled("network.cidr_rules", "allow", [{"cidr": "10.0.0.0/8", "ports": [443]}], allow=[{"cidr": "10.0.0.0/8"}])),
    "network/deny": lambda: ruled("network.cidr_rules", "deny", [{"cidr": "10.0.0.0/8", "ports": "*"}], deny=[{"cidr": "10.0.0.0/8"}]),
    "network/allow_private": lambda: ruled("network.cidr_rules", "allow_private", True, allow_private=True, allow=[{"cidr": "10.0.0.0/8"}]),
    "network/publish": lambda: ruled("network.publish", "publish", ["0:8080"], publish=["0:8080"]),
    "process/user": user_root,
    "process/env": SESSION["process"],
    "process/seccomp": lambda: differs("process", "seccomp", "strict"),
    "process/seccomp_allow": lambda: differs("process", "seccomp_allow", ["ustat"]),
    "process/explain_syscalls": explained,
    "limits/memory": lambda: effective("limits.memory", "memory", 256 << 20, limits={"memory": "256MiB"}),
    "limits/cpus": lambda: effective("limits.cpu", "cpus", 0.5, limits={"cpus": 0.5}),
    "limits/pids": lambda: effective("limits.pids", "pids", 77, limits={"pids": 77}),
    "limits/open_files": SESSION["limits"],
    "limits/exec_timeout": timeout_of_policy,
    "limits/output": output_of_policy,
}


def protects():
    """One that is missing is held, one that is there is read-only."""
    s = Session("asked").made(workspace=VOLUME, filesystem={"protect": ["keep"]})
    same(s.run("echo new 2>/dev/null >keep || echo no")["text"].split()[-1], "no")
    s.destroy()
    s.over()


def differs(part, name, value):
    """The profile that is in force is another one than the default's, and the session says which."""
    hashes = []
    for body in ({}, {part: {name: value}}):
        s = Session("asked").made(**body)
        hashes.append(s.get()["effective"]["seccomp_hash"])
        s.destroy()
        s.over()
    check(hashes[0] != hashes[1], name, "changed nothing")


def names(body):
    """The members that the service says there are."""
    answer = create(**body).is_(400, "invalid_request")
    check(answer.json["pointer"].endswith("/nonsense"), answer)
    return set(re.search(r"There are: (.*)\.", answer.json["detail"]).group(1).split(", "))


def go_through(table, wanted):
    same(set(table), wanted, "members without a test, or of no use:")
    wrong = []
    for name, test in table.items():
        try:
            test()
        except Failure as reason:
            wrong.append("%s: %s" % (name, reason))
            Session("asked").destroy()
    check(not wrong, "; ".join(wrong))


@case
def CAP_3_every_member_of_a_create_is_seen_or_refused():
    go_through(SESSION, names({"nonsense": 1}))


@case
def CAP_3_every_member_of_workspace_and_idle_is_seen_or_refused():
    go_through(WORKSPACE, names({"workspace": {"nonsense": 1}}))
    go_through(PERSISTENCE, names({"workspace": {"persistence": {"kind": "volume", "nonsense": 1}}}))
    go_through(IDLE, names({"idle": {"after_ms": 1, "nonsense": 1}}))


@case
def CAP_3_every_member_of_the_policy_is_seen_or_refused():
    with open(TREE + "/docs/policy.schema.json") as file:
        schema = json.load(file)["properties"]
    wanted = set()
    for name, part in schema.items():
        inner = part.get("properties")
        wanted |= {name + "/" + k for k in inner} if inner else {name}
    go_through(POLICY, wanted)


@case
def CAP_2_every_missing_capability_is_listed_and_nothing_was_touched():
    answer = create(requires=["gpu", "limits.io"], network={"egress": "allow", "allow": [{"host": "x.example.org"}]},
                    workspace={"persistence": {"kind": "disk", "name": "d", "size": "1GiB"}}).is_(422, "capability_unavailable")
    check({"gpu", "limits.io", "workspace.disk"} <= set(answer.json["missing"]), answer)
    call("GET", "/workspaces/w/volumes/d").is_(404)


# Used by every other file of these tests: a document that does not advertise them is not true. An
# ordinary user's sessions have cgroups on some hosts only.
OF_CGROUPS = ["lifecycle.park_freeze", "usage.metering"]
SERVED = OF_CGROUPS + ["lifecycle.park_stop", "lifecycle.resume", "lifecycle.survive_daemon_restart", "exec.stream",
                       "exec.reattach", "files.read", "files.write"]


@case
def CAP_1_what_is_advertised_is_had_and_what_is_not_says_why():
    document = call("GET", "/capabilities").json
    same((document["kind"], document["posture"]["isolation"], document["posture"]["self_hosted"]), ("namespace-local", "container", True))
    check("shared" in document["kernel"], document["kernel"])
    for name, status in document["capabilities"].items():
        check(status["evidence"] if status["available"] else status["reason"], name, status)
        if not status["available"]:
            lacking(name, requires=[name])
    there = [n for n, status in document["capabilities"].items() if status["available"]]
    shown("requires", there, requires=there) if MODE != "none" else None
    for name in SERVED:
        if MODE == "root" or name not in OF_CGROUPS:
            check(name in there, name, document["capabilities"][name])
            shown("requires", [name], requires=[name])


@case
def CAP_4_the_session_says_what_is_in_force():
    s = Session("effective").made(limits={"open_files": 333})
    got = s.get()["effective"]
    for name in ("uid_base", "uid_count", "seccomp_hash", "landlock_abi", "cgroup_layout", "namespaces", "limits"):
        check(name in got, "no", name, got)
    same(got["limits"]["open_files"], 333)
    same(int(s.run("awk 'NR==1 { print $2 }' /proc/self/uid_map")["text"]) >= 0, True)
    s.did("park")
    same(s.get()["effective"], None, "parked")
    s.destroy().is_(200)


if __name__ == "__main__":
    main(Service())
