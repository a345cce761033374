"""This file holds the promises of sessions that last, one test for each number of the contract, over a
real `berth serve`, which is killed and started again in between. It never looks into the ledger."""

import os
import signal
import time

from service import *

COUNT = "grep -l '^Name:.*sleep' /proc/[0-9]*/status 2>/dev/null | wc -l"


def sleepers(session):
    return int(session.run(COUNT)["text"])


# ---- identity, idempotency ---------------------------------------------------------------------------

def whole(session):
    """Everything that can be read of a session."""
    return (session.get(), session.events(), call("GET", session.path + "/execs").json, session.read("/workspace/file").raw,
            call("GET", "/workspaces/%s/volumes" % session.workspace).json["volumes"][0]["name"])


@case
def ID_1_the_same_names_in_two_workspaces_never_cross():
    need("limits.pids")  # without cgroups a session runs one command at a time
    a, b = Session("same", "a"), Session("same", "b")
    for one in (a, b):
        one.create("one-key", workspace={"persistence": {"kind": "volume", "name": "vol"}}, owner="o-" + one.workspace).is_(201)
        one.write("/workspace/file", one.workspace.encode()).is_(200)
        one.start("cat; sleep 60", exec_id="e", stdin="pipe", key="exec-key")
    same((a.read("/workspace/file").raw, b.read("/workspace/file").raw), (b"a", b"b"), "one volume name")
    until(lambda: b.exec("e")["started_at"])
    before = whole(b)

    def untouched(what):
        same(whole(b), before, what, "reached the other workspace:")
    for what, do in [
            ("stdin", lambda: call("POST", a.path + "/execs/e/stdin", b"only a\n", headers={"Content-Type": "application/octet-stream"})),
            ("close-stdin", lambda: a.post("execs/e/close-stdin")),
            ("signal", lambda: a.post("execs/e/signal", {"signal": "CONT"})),
            ("write", lambda: a.write("/workspace/file", b"changed")),
            ("mkdir", lambda: a.post("files/mkdir", {"path": "/workspace/d"})),
            ("chmod", lambda: a.post("files/chmod", {"path": "/workspace/file", "mode": "0600"})),
            ("move", lambda: a.post("files/move", {"from": "/workspace/file", "to": "/workspace/d/f"})),
            ("remove", lambda: call("DELETE", a.path + "/files?recursive=true&path=/workspace/d")),
            ("cancel", lambda: a.post("execs/e/cancel")),
            ("exec", lambda: a.post("execs?wait_ms=5000", {"argv": ["true"]})),
            ("interrupt", lambda: a.post("interrupt", {"reason": "x"})),
            ("park", lambda: a.post("park")),
            ("resume", lambda: a.post("resume")),
            ("archive", lambda: a.post("archive")),
            ("reap", lambda: call("POST", "/reap", {"owner": "o-a", "dry_run": True})),
            ("destroy", a.destroy)]:
        answer = do()
        check(answer.status in (200, 201), what, answer)
        untouched(what)
    a.over()
    untouched("being gone")
    call("GET", a.path + "/execs/none").is_(404)
    check([s["session_id"] for s in call("GET", "/workspaces/b/sessions").json["sessions"]] == ["same"], "list")
    same(b"".join(f.get("out", b"") for f in b.frames("e")), b"", "output of the other's input")
    b.destroy().is_(200)


@case
def IDEM_1_the_same_key_gets_the_same_bytes_another_body_is_a_mismatch():
    s = Session("idem")
    first = s.create("k1", labels={"a": "b"}).is_(201)
    again = s.create("k1", labels={"a": "b"}).is_(201)
    same(again.raw, first.raw)
    same((first.headers.get("Idempotent-Replayed"), again.headers.get("Idempotent-Replayed")), (None, "true"))
    s.create("k1", labels={"a": "c"}).is_(422, "idempotency_mismatch")
    same(s.create("k1", labels={"a": "b"}).raw, first.raw, "after a mismatch")
    # Another path or workspace is another scope.
    Session("idem", "a").create("k1", labels={"a": "b"}).is_(201)
    s.post("park", {}, "k1").is_(200)
    same(s.create("k1", labels={"a": "b"}).raw, first.raw, "parked meanwhile")
    Session("idem", "a").destroy().is_(200)
    s.destroy().is_(200)


@case
def IDEM_1_while_the_first_is_served_the_same_key_is_in_progress(service):
    s, launcher = Session("slow"), until(lambda: service.role("launcher"))
    os.kill(launcher, signal.SIGSTOP)
    try:
        first = in_background(lambda: s.create("k"))
        until(lambda: call("GET", s.path).status == 200)
        answer = s.create("k").is_(409, "in_progress")
        check(answer.headers.get("Retry-After"), "no Retry-After")
        s.create("k", labels={"x": "y"}).is_(422, "idempotency_mismatch")
    finally:
        os.kill(launcher, signal.SIGCONT)
    made = first().is_(201)
    same(s.create("k").raw, made.raw, "afterwards")
    s.destroy().is_(200)


@case
def IDEM_2_a_key_whose_verb_was_cut_off_can_be_used_again(service):
    s, launcher = Session("cut"), until(lambda: service.role("launcher"))
    os.kill(launcher, signal.SIGSTOP)
    first = in_background(lambda: s.create("k-cut"))
    try:
        until(lambda: call("GET", s.path).status == 200)
    finally:
        service.kill_all()
    try:
        first()
        raise Failure("an answer from a killed service")
    except (OSError, http.client.HTTPException):
        service.start()
    service.healthy()
    answer = until(lambda: (lambda a: a if a.status == 201 else None)(s.create("k-cut")))
    check(s.get()["state"] == "running", s.get())
    same([e["event"] for e in s.events() if e["event"] == "session.running"], ["session.running"], "started twice")
    same(s.create("k-cut").raw, answer.raw)
    s.destroy().is_(200)


@case
def IDEM_3_refusals_are_stored_and_mismatches_are_not():
    s = Session("stored").made()
    refused = s.create("k-stored").is_(409, "session_exists")
    s.destroy().is_(200)
    s.over()
    again = s.create("k-stored").is_(409, "session_exists")
    same(again.raw, refused.raw)
    same(again.headers.get("Idempotent-Replayed"), "true")
    same(s.get()["state"], "destroyed")


@case
def IDEM_4_a_replayed_exec_is_the_same_exec_from_the_beginning():
    s = Session("attach").made()
    body = {"shell": "for i in 1 2 3; do echo $i; sleep 0.3; done; echo end >>/workspace/ends"}
    streams = [Stream(s.path + "/execs", method="POST", body=body, key="k") for _ in range(3)]
    got = [list(stream) for stream in streams]
    for frames in got:
        same(len({f["exec_id"] for f in frames if f["event"] in ("exec", "exit")}), 1)
        same(b"".join(f["out"] for f in frames if "out" in f), b"1\n2\n3\n")
    same(len({f["exec_id"] for frames in got for f in frames if f["event"] == "exec"}), 1, "execs")
    same(s.run("cat /workspace/ends")["text"], "end\n", "it ran once")
    ended = s.post("execs?wait_ms=5000", body, "k").is_(201)
    same(ended.json["exec_id"], got[0][0]["exec_id"])
    same(ended.headers.get("Idempotent-Replayed"), "true")
    same((ended.json["state"], ended.json["exit_code"]), ("ended", 0))
    s.post("execs", {"shell": "other"}, "k").is_(422, "idempotency_mismatch")
    s.destroy().is_(200)


# ---- sessions ----------------------------------------------------------------------------------------

@case
def SES_1_a_create_that_fails_leaves_a_tombstone_and_nothing_else():
    s = Session("fails")
    check(s.create(image="dir:" + RUN + "/none").status in (400, 403, 404, 422, 500), "created")
    s.create(requires=["gpu"]).is_(422, "capability_unavailable")
    got = s.get()
    same(got["state"], "failed")
    call("GET", "/workspaces/w/volumes/fails").is_(404, what="its volume")
    same([k for k in call("GET", "/resources?owner=" + got["owner"]).json["kernel"] if k.get("row") and k["incarnation"] == got["incarnation"]
          and k["name"].startswith("fails")], [])
    same(os.listdir(RUN + "/sessions") if os.path.isdir(RUN + "/sessions") and os.access(RUN + "/sessions", os.R_OK) else [], [], "sockets")
    s.create().is_(201, what="the name again")
    s.destroy().is_(200)


def init_of(session):
    """The init of a session: the nearest one above a process of its own."""
    mark = "sleep %d" % (100000 + int(time.monotonic() * 1000) % 100000)
    exec_id = session.start("exec " + mark)["exec_id"]
    pid = until(lambda: next((int(n) for n in os.listdir("/proc") if n.isdigit() and command_line(int(n)) == mark), None))
    while command_line(pid) != "berth: init":
        with open("/proc/%d/stat" % pid) as file:
            pid = int(file.read().rsplit(")", 1)[1].split()[1])
        check(pid > 1, "no init above", mark)
    session.post("execs/%s/cancel" % exec_id).is_(200)
    return pid


@case
def SES_2_a_session_whose_init_died_is_parked_and_can_be_resumed():
    need("limits.pids")  # without cgroups a session runs one command at a time
    s = Session("dies").made()
    running = s.start("echo started; sleep 300")
    s.run("echo kept >/workspace/kept")
    os.kill(init_of(s), signal.SIGKILL)
    got = until(lambda: (lambda g: g if g["state"] == "parked" else None)(s.get()))
    check(got["reason"], "no reason", got)
    ended = s.ended(running["exec_id"])
    same(ended["reason"], "lost")
    s.did("resume")
    same(s.get()["incarnation"], 2)
    same(s.run("cat /workspace/kept")["text"], "kept\n")
    s.destroy().is_(200)


@case
def SES_3_a_volume_outlives_its_session_unless_asked():
    s = Session("first").made(workspace={"persistence": {"kind": "volume", "name": "out"}})
    s.run("echo one >/workspace/f; sleep 300 & echo")
    s.destroy(volume=False).is_(200)
    s.over()
    t = Session("second").made(workspace={"persistence": {"kind": "volume", "name": "out"}})
    same(t.run("cat /workspace/f")["text"], "one\n")
    t.destroy().is_(200)
    call("GET", "/workspaces/w/volumes/out").is_(404)


@case
def SES_4_process_snapshots_are_said_not_to_be():
    document = call("GET", "/capabilities").json
    same(set(document["process_snapshot"].values()), {"not supported"})
    same(document["capabilities"]["lifecycle.process_snapshot"]["available"], False)


@case
def SES_5_a_created_session_runs_a_command_at_once():
    for i in range(5):
        s = Session("ready").made()
        same(s.run("echo yes")["text"], "yes\n")
        s.did("park")
        s.did("resume")
        same(s.run("echo yes")["text"], "yes\n")
        s.destroy().is_(200)
        s.over()


@case
def SES_6_ttl_and_idle_timers_survive_a_restart(service):
    ttl = Session("ttl").made(ttl_ms=4000)
    idle = Session("idle").made(idle={"after_ms": 2500, "action": "park"})
    gone = Session("idle-gone").made(idle={"after_ms": 2500, "action": "destroy"})
    busy = Session("busy").made(idle={"after_ms": 1500, "action": "park"})
    exec_id = busy.start("sleep 60")["exec_id"]
    check(ttl.get()["expires_at"], "no expires_at")
    service.again()
    service.healthy()
    until(lambda: idle.get()["state"] == "parked", 15)
    same(idle.get()["reason"], "idle")
    until(lambda: gone.get()["state"] == "destroyed", 15)
    until(lambda: ttl.get()["state"] == "destroyed", 15)
    same(busy.get()["state"], "running", "a session with a running exec was idle:")
    busy.did("interrupt")
    same(busy.exec(exec_id)["reason"], "interrupted")
    until(lambda: busy.get()["state"] == "parked", 15)
    for s in (idle, busy):
        s.destroy().is_(200)


@case
def SES_7_a_name_is_used_again_and_its_numbers_go_on():
    s = Session("again").made()
    s.did("park")
    s.did("resume")
    s.destroy().is_(200)
    s.over()
    last = s.events()[-1]["seq"]
    got = s.create().is_(201).json
    check(got["incarnation"] > 2, got)
    same(s.events(start=last + 1)[0]["event"], "session.created", "events go on:")
    s.destroy().is_(200)


@case
def SES_7_while_frozen_deadlines_stand_still():
    need("limits.pids")
    s = Session("frozen").made()
    exec_id = s.start("sleep 60", timeout_ms=2000)["exec_id"]
    same(s.did("park", {"mode": "freeze"})["mode"], "freeze")
    time.sleep(2.5)
    s.did("resume")
    same(s.exec(exec_id)["state"], "running", "after the freeze")
    same(s.get()["incarnation"], 1)
    same(s.ended(exec_id)["reason"], "timeout")
    s.destroy().is_(200)


@case
def SES_8_a_second_create_says_that_the_session_is_there():
    s = Session("twice").made()
    for state, step in (("running", None), ("parked", "park"), ("archived", "archive")):
        if step:
            s.did(step)
        answer = s.create().is_(409, "session_exists")
        check(state in answer.json["detail"], answer)
    s.destroy().is_(200)


# ---- workspaces --------------------------------------------------------------------------------------

@case
def WS_1_files_have_the_owner_of_the_directory_in_both_directions():
    place = os.path.join(os.environ["TEST_WORKSPACE"], "own")
    os.mkdir(place, 0o755)
    with open(place + "/outside", "w") as file:
        file.write("out\n")
    how = {"kind": "directory", "path": place}
    s = Session("dir")
    if os.getuid() == 0:
        check(s.create(workspace={"persistence": how}).status in (400, 403, 422), "a directory of root's")
        how["allow_root_owned"] = True
    s.made(workspace={"persistence": how})
    same(s.run("cat outside; echo in >inside; chmod 4755 inside 2>/dev/null; stat -c %U outside inside")["text"], "out\nuser\nuser\n")
    found = os.stat(place + "/inside")
    same(found.st_uid, os.getuid())
    same(found.st_mode & 0o6000, 0, "set-id bits:")
    s.destroy().is_(200)


@case
def WS_2_a_volume_has_one_live_user_and_the_refusal_names_it():
    volume = {"persistence": {"kind": "volume", "name": "only"}}
    holder, other = Session("holder").made(workspace=volume), Session("other")
    answer = other.create(workspace=volume).is_(409, "workspace_in_use")
    check("holder" in answer.json["detail"], "does not name the holder:", answer)
    holder.did("park")
    other.made(workspace=volume)
    answer = holder.post("resume").is_(409, "workspace_in_use")
    check("other" in answer.json["detail"], "does not name the holder:", answer)
    answer = other.destroy()
    check(answer.status == 409 and "holder" in answer.json["detail"], "a volume that another names:", answer)
    other.destroy(volume=False).is_(200)
    holder.did("resume")
    holder.destroy().is_(200)
    read_only = {"read_only": True, "persistence": {"kind": "volume", "name": "read"}}
    one, two = Session("r1").made(workspace=read_only), Session("r2").made(workspace=read_only)
    check(one.run("echo x >/workspace/f")["exit_code"] != 0, "written")
    Session("r3").create(workspace={"persistence": {"kind": "volume", "name": "read"}}).is_(409, "workspace_in_use")
    one.destroy(volume=False).is_(200)
    two.destroy().is_(200)


@case
def WS_2_a_session_that_does_not_run_writes_beneath_no_other_one(service):
    """Files of a parked session are written by berth: its workspace may be another's meanwhile, also after a restart."""
    volume = {"persistence": {"kind": "volume", "name": "turns"}}
    parked, live = Session("parked").made(workspace=volume), Session("live")
    parked.run("echo first >/workspace/f")
    parked.did("park")
    parked.write("/workspace/f", b"second").is_(200)
    live.made(workspace=volume)

    def refused(when):
        for answer in (parked.write("/workspace/f", b"third"), parked.post("files/mkdir", {"path": "/workspace/d"})):
            answer.is_(409, "workspace_in_use", when)
            check("session live" in answer.json["detail"], when, answer)
        same(parked.read("/workspace/f").raw, b"second", when)
    refused("beside one that runs")
    service.kill("front")
    service.healthy()
    refused("after a kill of front")
    service.again()
    service.healthy()
    refused("after a restart")
    if capability("lifecycle.park_freeze"):
        live.did("park", {"mode": "freeze"})
        refused("beside one that is frozen")
    live.destroy(volume=False).is_(200)
    parked.write("/workspace/f", b"third").is_(200)
    parked.did("resume")
    same(parked.run("cat /workspace/f")["text"], "third")
    parked.destroy().is_(200)


@case
def WS_3_protected_paths_stay_as_they_are():
    s = Session("protect").made(workspace={"persistence": {"kind": "volume", "name": "hooks"}})
    s.run("mkdir -p .git/hooks; echo old >.git/hooks/pre-commit")
    s.did("park")
    s.did("resume")
    s.run("echo new >.git/hooks/pre-commit; rm -rf .git/hooks; mv .git g; mkdir .git; true")
    same(s.run("cat .git/hooks/pre-commit")["text"], "old\n")
    s.destroy().is_(200)


# ---- execs -------------------------------------------------------------------------------------------

@case
def EXEC_1_the_environment_is_what_was_sent():
    s = Session("env").made()
    done = s.run("env", env={"OWN": "a b"})
    names = sorted(line.split("=")[0] for line in done["text"].splitlines())
    check(set(names) <= {"PATH", "HOME", "USER", "LOGNAME", "LANG", "TERM", "OWN", "PWD", "SHLVL", "_"} and "OWN=a b" in done["text"], names)
    s.destroy().is_(200)


@case
def EXEC_2_output_is_read_again_from_any_frame_across_restarts(service):
    s = Session("frames").made()
    exec_id = s.start("i=0; while [ $i -lt 60 ]; do echo line $i; i=$((i+1)); sleep 0.02; done; exit 4")["exec_id"]
    begun = []
    for frame in Stream("%s/execs/%s/output?follow=true" % (s.path, exec_id)):
        begun.append(frame)
        if len(begun) == 10:
            break
    service.again()
    service.healthy()
    rest = s.frames(exec_id, follow=True, last=begun[-1]["id"])
    everything = begun + rest
    same([f["id"] for f in everything], list(range(1, len(everything) + 1)))
    same(b"".join(f["out"] for f in everything if "out" in f).decode(), "".join("line %d\n" % i for i in range(60)))
    same([f["event"] for f in everything].count("exit"), 1)
    same(everything[-1]["event"], "exit")
    same(everything[-1]["exit_code"], 4)
    same(s.frames(exec_id), everything, "afterwards")
    same(s.frames(exec_id, start=20), everything[19:], "from 20")
    s.destroy().is_(200)


@case
def EXEC_3_nothing_that_an_exec_started_outlives_it():
    s = Session("tree").made()
    leave = ("setsid sleep 300 & (setsid sleep 300 &) ; nohup sleep 300 >/dev/null 2>&1 & (sleep 300 & sleep 0.1; kill -STOP $!) & "
             "i=0; while [ $(%s) -lt 4 ] && [ $i -lt 200 ]; do i=$((i+1)); sleep 0.02; done; %s; " % (COUNT, COUNT))
    for end, reason in (("exit 0", "exit"), ("kill -9 $$", "signal"), ("sleep 300", "timeout")):
        done = s.run(leave + end, timeout_ms=3000, grace_ms=200)
        same(done["reason"], reason)
        check(int(done["text"].split()[-1]) >= 4, "the tree was not there:", done)
        same(sleepers(s), 0, "left after", reason)
    exec_id = s.start(leave + "sleep 300")["exec_id"]
    until(lambda: s.frames(exec_id))
    same(s.post("execs/%s/cancel" % exec_id).is_(200).json["exec_id"], exec_id)
    same(s.ended(exec_id)["reason"], "cancelled")
    same(sleepers(s), 0, "left after cancel")
    s.destroy().is_(200)


@case
def EXEC_3_kept_children_stay_of_their_exec():
    need("limits.pids")  # without cgroups a session runs one command at a time
    s = Session("keep").made()
    exec_id = s.start("(sleep 0.5; echo from behind; sleep 300) & echo main", keep_children=True)["exec_id"]
    done = s.ended(exec_id)
    same((done["reason"], done["exit_code"]), ("exit", 0))
    frames = until(lambda: (lambda f: f if f[-1]["event"] == "background" else None)(s.frames(exec_id)))
    same([f["event"] for f in frames if f["event"] == "exit"], ["exit"])
    same(frames[-1]["out"], b"from behind\n")
    same(sleepers(s), 1)
    s.post("execs/%s/cancel" % exec_id).is_(200)
    until(lambda: sleepers(s) == 0)
    until(lambda: s.post("execs/%s/cancel" % exec_id).status == 409)
    s.destroy().is_(200)


@case
def EXEC_3_a_session_with_kept_children_is_not_idle():
    need("limits.pids")
    s = Session("keeps-awake").made(idle={"after_ms": 800, "action": "park"})
    exec_id = s.start("sleep 300 & echo main", keep_children=True)["exec_id"]
    same(s.ended(exec_id)["reason"], "exit")
    time.sleep(2.5)
    same(s.get()["state"], "running", "with kept children:")
    s.post("execs/%s/cancel" % exec_id).is_(200)
    until(lambda: s.get()["state"] == "parked", 15)
    same(s.get()["reason"], "idle")
    s.destroy().is_(200)


@case
def EXEC_4_a_timeout_terms_then_kills_and_keeps_the_output():
    s = Session("timeout").made()
    done = s.run("trap 'echo got term; exit 5' TERM; echo before; while :; do sleep 0.05; done", timeout_ms=300, grace_ms=3000)
    same((done["reason"], done["text"].replace("Terminated\n", "")), ("timeout", "before\ngot term\n"))
    begin = time.monotonic()
    done = s.run("trap '' TERM; echo before; while :; do sleep 0.05; done", timeout_ms=300, grace_ms=500)
    same((done["reason"], done["text"].replace("Terminated\n", "")), ("timeout", "before\n"))
    check(time.monotonic() - begin > 0.75, "no grace")
    same(s.run("sleep 60", idle_timeout_ms=300)["reason"], "idle_timeout")
    s.destroy().is_(200)


@case
def EXEC_5_a_client_that_goes_away_cancels_nothing():
    s = Session("away").made()
    stream = Stream(s.path + "/execs", method="POST", body={"shell": "echo one; sleep 0.7; echo two", "exec_id": "e"})
    for frame in stream:
        if frame["event"] == "stdout":
            break
    stream.close()
    waiting = Socket(1)
    waiting.request("GET", "/v1%s/execs/e?wait_ms=20000" % s.path)
    waiting.close()
    done = s.with_text(s.ended("e"))
    same((done["reason"], done["text"]), ("exit", "one\ntwo\n"))
    s.destroy().is_(200)


@case
def EXEC_6_137_signal_9_and_out_of_memory_are_three_things():
    s = Session("how").made(**({"limits": {"memory": "64MiB"}, "filesystem": {"scratch": "16MiB"}} if capability("limits.memory") else {}))
    done = s.run("exit 137")
    same((done["reason"], done["exit_code"], done["signal"]), ("exit", 137, None))
    done = s.run("kill -9 $$")
    same((done["reason"], done["exit_code"], done["signal"]), ("signal", None, 9))
    done = s.post("execs?wait_ms=5000", {"argv": ["/nonexistent"]}).is_(201).json
    same(done["exit_code"], 127)
    done = s.post("execs?wait_ms=5000", {"argv": ["/etc/passwd"]}).is_(201).json
    same(done["exit_code"], 126)
    if capability("limits.memory"):
        done = s.run("exec tail /dev/zero")
        same(done["reason"], "oom", done)
        same(s.get()["state"], "running", "the session after oom")
    s.destroy().is_(200)


@case
def EXEC_7_an_interrupt_ends_what_was_accepted_before_it_and_nothing_after():
    need("limits.pids")  # without cgroups a session runs one command at a time
    s = Session("interrupt").made()
    for _ in range(5):
        before = [s.start("trap '' TERM; sleep 300", grace_ms=200)["exec_id"] for _ in range(3)]
        interrupt = in_background(lambda: s.did("interrupt"))
        # Started while it is under way: before it or after it, and it says which by how it ends.
        beside = [s.start("sleep 0.3; echo whole")["exec_id"] for _ in range(3)]
        interrupt()
        after = s.run("echo whole")
        same((after["reason"], after["text"]), ("exit", "whole\n"))
        for exec_id in before:
            got = s.exec(exec_id)
            same((got["state"], got["reason"]), ("ended", "interrupted"), "when the interrupt was answered")
        reasons = [s.ended(exec_id)["reason"] for exec_id in beside]
        check(reasons == sorted(reasons, key=lambda r: r == "exit") and set(reasons) <= {"interrupted", "not_started", "exit"}, reasons)
    s.destroy().is_(200)


@case
def EXEC_8_output_over_the_limit_is_a_gap_or_the_end():
    s = Session("much").made()
    done = s.run("seq 1 300000", output_limit_bytes=1 << 20)
    same((done["reason"], done["output_truncated"]), ("exit", True))
    frames = s.frames(done["exec_id"])
    gaps = [f for f in frames if f["event"] == "gap"]
    same(len(gaps), 1)
    kept = sum(len(f["out"]) for f in frames if "out" in f)
    total = len("".join("%d\n" % i for i in range(1, 300001)))
    same(kept + gaps[0]["bytes"], total, "what is kept and what is counted")
    check(kept <= (1 << 20) * 9 // 8, "kept", kept)
    text = done["text"]
    check(text.startswith("1\n2\n") and text.endswith("299999\n300000\n"), "head and tail")
    numbers = []
    for frame in frames:
        numbers += range(frame["from_seq"], frame["to_seq"] + 1) if frame["event"] == "gap" else [frame["id"]]
    same(numbers, list(range(1, numbers[-1] + 1)), "numbers")
    done = s.run("yes", output_limit_bytes=65536, on_limit="kill")
    same(done["reason"], "output_limit")
    s.destroy().is_(200)


# ---- events, usage -----------------------------------------------------------------------------------

@case
def EV_1_events_are_without_gap_and_go_on_after_the_last_that_was_seen(service):
    s = Session("events").made()
    box = []
    follow = in_background(lambda: box.extend(Stream(s.path + "/events")))
    s.run("true")
    s.did("park")
    s.did("resume")
    half = s.events()
    s.did("archive")
    same(s.events(last=half[-1]["id"]), s.events()[len(half):], "Last-Event-ID")
    s.destroy().is_(200)
    follow()
    same([e["seq"] for e in box], list(range(1, len(box) + 1)))
    same([e["id"] for e in box], [e["seq"] for e in box])
    same(box[-1]["event"], "session.deleted")
    same([e["event"] for e in box if e["event"].startswith("session.")],
         ["session.created", "session.running", "session.parked", "session.resumed", "session.archived", "session.deleted"])
    same(s.events(), box, "read again")
    service.again()
    service.healthy()
    same(s.events(), box, "after a restart")


@case
def USE_1_usage_never_decreases_across_park_kill_and_crash(service):
    need("limits.pids")  # without cgroups a session runs one command at a time
    s, seen = Session("usage").made(), []

    def sample():
        now = call("GET", s.path + "/usage").is_(200).json
        counters = {k: v for k, v in now.items() if isinstance(v, int)}
        same(now["disk_bytes"], None, "nobody measures it")
        for name, value in (seen[-1] if seen else {}).items():
            check(counters[name] >= value, name, "went from", value, "to", counters[name])
        seen.append(counters)
        return counters
    sample()
    s.run("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")
    first = sample()
    check(first["exec_count"] == 1, first)
    s.did("park")
    parked = sample()
    check(parked["cpu_ns"] > 0 or not capability("limits.cpu"), parked)
    service.again()
    service.healthy()
    same(sample()["exec_count"], 1)
    s.did("resume")
    s.run("true")
    service.kill("front")
    service.healthy()
    last = sample()
    check(last["exec_count"] == 2 and last["running_ms"] > 0 and last["parked_ms"] > 0, last)
    os.kill(init_of(s), signal.SIGKILL)
    until(lambda: s.get()["state"] == "parked")
    sample()
    s.destroy().is_(200)
    s.over()
    sample()


@case
def USE_1_what_is_used_between_the_last_sample_and_the_end_is_counted_once(service):
    """Whatever ends it. Nobody asks before, so that there is no sample but the last."""
    metered = capability("usage.metering")

    def used(s):
        return call("GET", s.path + "/usage").is_(200).json["cpu_ns"]

    def kill_init(s):
        os.kill(init_of(s), signal.SIGKILL)
        until(lambda: s.get()["state"] == "parked")
    for end in (lambda s: s.did("park"), lambda s: s.did("archive"), lambda s: s.destroy().is_(200), kill_init):
        s = Session("short").made()
        done = s.run("i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done")
        least = done["cpu_ms"] * 900000
        if metered:
            s.start("while :; do :; done")
            time.sleep(1)
            least += 200000000
        end(s)
        got = used(s)
        check(got >= least, "counted", got, "ns of", least, done)
        service.again()
        service.healthy()
        same(used(s), got, "after a restart")
        if s.get()["state"] == "parked":
            s.did("resume")
            s.did("park")
            check(got <= used(s) < got + least, "and counted", used(s), "with what it has used since, not", got)
        s.destroy().is_(200)
        s.over()


if __name__ == "__main__":
    main(Service())
