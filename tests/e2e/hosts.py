"""This file is told what the host lacks, and looks whether `berth serve` says so, refuses what needs it and
serves the rest (CAP-1, CAP-2, CAP-4); and what is left after a restart of the host (SES-2). The scenes
are made by hosts.sh."""

import ctypes
import os
import signal
import struct
import sys

from service import *

ASKED = {"limits.memory": {"limits": {"memory": "64MiB"}}, "limits.pids": {"limits": {"pids": 50}}, "limits.cpu": {"limits": {"cpus": 0.5}}}


def without(*names):
    """None of `names` is there; each is refused where it is asked for, all together in one answer."""
    document = call("GET", "/capabilities").json["capabilities"]
    for name in names:
        check(not document[name]["available"] and document[name]["reason"], name, "is advertised:", document[name])
    body = {"limits": {k: v for n in names for k, v in ASKED.get(n, {}).get("limits", {}).items()}} if any(n in ASKED for n in names) else {}
    answer = Session("lacks").create(requires=[n for n in names if n not in ASKED] + ["gpu"], **body).is_(422, "capability_unavailable")
    check(set(names) | {"gpu"} <= set(answer.json["missing"]), "not all are listed:", answer)
    call("GET", session_path("lacks")).is_(404)
    for name in names:
        same(Session("lacks").create(**ASKED.get(name, {"requires": [name]})).is_(422).json["missing"], [name])
    s = Session("rest").made()
    got = s.get()
    same(s.run("echo served")["text"], "served\n")
    s.did("park")
    s.did("resume")
    same(s.run("sleep 20", timeout_ms=200)["reason"], "timeout")
    s.destroy().is_(200)
    return got


def no_cgroups():
    got = without("limits.memory", "limits.cpu", "limits.pids", "lifecycle.park_freeze", "usage.metering")
    for name in ("memory", "cpus", "pids"):
        same(got["effective"]["limits"][name], None, "a limit that is not there:")
    check(len(got["notes"]) > 0, "nothing was said of the limits that were left out")


def no_pids_controller():
    got = without("limits.pids")
    same(got["effective"]["limits"]["pids"], None)
    check(got["effective"]["limits"]["memory"], "memory went too")


def no_landlock():
    got = without("isolation.landlock")
    check(not got["effective"]["landlock_abi"], got["effective"])


def filter_landlock_away():
    """landlock_create_ruleset (444 everywhere) answers ENOSYS, as in a kernel that was built without."""
    rules = [(0x20, 0, 0, 0), (0x15, 0, 1, 444), (0x06, 0, 0, 0x00050000 | 38), (0x06, 0, 0, 0x7fff0000)]
    code = b"".join(struct.pack("HBBI", *rule) for rule in rules)
    room = ctypes.create_string_buffer(code)
    program = struct.pack("HxxxxxxQ", len(rules), ctypes.addressof(room))
    libc = ctypes.CDLL(None, use_errno=True)
    check(libc.prctl(22, 2, ctypes.c_char_p(program), 0, 0) == 0, "seccomp", ctypes.get_errno())


def before_the_reboot(service):
    s = Session("lives", "w").made(labels={"k": "v"})
    s.run("echo whole >/workspace/file; mkdir d; seq 1 1000 >d/numbers")
    s.start("echo begun; sleep 300", exec_id="running")
    until(lambda: s.frames("running"))
    parked = Session("sleeps").made()
    parked.did("park")
    if capability("limits.pids"):
        Session("ice").made().did("park", {"mode": "freeze"})
    service.kill_all()
    os._exit(0)


def after_the_reboot():
    s = Session("lives")
    got = until(lambda: (lambda g: g if g["state"] == "parked" else None)(s.get()))
    same((got["reason"], got["labels"]), ("host_restart", {"k": "v"}))
    lost = s.exec("running")
    same((lost["state"], lost["reason"]), ("ended", "lost"))
    same(Session("sleeps").get()["reason"], None, "one that was parked:")
    s.did("resume")
    same(s.get()["incarnation"], 2)
    same(s.run("cat file; tail -n 1 d/numbers")["text"], "whole\n1000\n")
    events = s.events()
    same([e["seq"] for e in events], list(range(1, len(events) + 1)))
    if call("GET", session_path("ice")).status == 200:
        same((Session("ice").get()["mode"], Session("ice").get()["reason"]), ("stop", "host_restart"))
    for one in ("lives", "sleeps", "ice"):
        call("DELETE", session_path(one) + "?delete_volume=true")


scene = sys.argv.pop(1)
if scene == "no_landlock":
    filter_landlock_away()
CASES.append(globals()[scene])
main(Service())
