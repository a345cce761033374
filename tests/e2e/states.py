"""This file sends every verb to a session in every state, once and twice, over a real `berth serve`:
what docs/session-states.md has no row for is refused with what is allowed. It never looks inside."""

import os
import re
import signal

from service import *

ROWS = re.findall(r"^\| (\w+) \| (\*?)(\w+)\*? \|", open(TREE + "/docs/session-states.md").read(), re.M)
ALLOWED = {}
for state, star, event in ROWS:
    if state != "state":
        ALLOWED.setdefault(state, [])
        if not star:
            ALLOWED[state].append(event)
VERBS = sorted({event for events in ALLOWED.values() for event in events})
count = 0


def fresh():
    global count
    count += 1
    return Session("m%d" % count)


def send(session, verb, key=None):
    if verb == "create":
        return session.create(key)
    if verb == "destroy":
        return session.destroy()
    if verb == "exec":
        return session.post("execs", {"shell": "echo once >>/workspace/ran"}, key)
    if verb == "file_read":
        return session.read("/workspace/none-such")
    if verb == "file_write":
        return session.post("files/mkdir", {"path": "/workspace/made"})  # takes no key
    if verb == "network":
        return call("PUT", session.path + "/network", {"egress": "deny"}, key)
    if verb in ("park", "freeze"):
        return session.post("park", {"mode": "freeze" if verb == "freeze" else "stop"}, key)
    return session.post(verb, {}, key, timeout=10)


def in_state(state):
    session = fresh()
    if state == "none":
        return session
    if state == "failed":
        session.create(image="dir:" + RUN + "/no-such-image")
    else:
        session.made()
        step = {"parked": ("park", {}), "frozen": ("park", {"mode": "freeze"}), "archived": ("archive", {})}.get(state)
        if step:
            session.did(*step)
        if state == "destroyed":
            session.destroy().is_(200)
            session.over()
    got = session.get()
    same("frozen" if got["mode"] == "freeze" else got["state"], state, "made")
    return session


def states():
    return [s for s in ("running", "parked", "frozen", "archived", "destroyed", "failed") if s != "frozen" or capability("limits.pids")]


def absent_cell(session, state, verb):
    before = session.get()
    answer = send(session, verb)
    where = "%s in %s:" % (verb, state)
    if verb == "create":
        answer.is_(409, "session_exists", where)
        check(before["state"] in answer.json["detail"], where, "does not say the state:", answer)
    else:
        answer.is_(409, "invalid_state", where)
    same(sorted(answer.json.get("allowed", [])), sorted(ALLOWED[state]), where)
    same(session.get(), before, where, "changed the session")


@case
def SES_2_every_absent_cell_is_refused_with_what_is_allowed():
    cells = 0
    for state in states():
        session = in_state(state)
        for verb in VERBS:
            if verb not in ALLOWED[state]:
                absent_cell(session, state, verb)
                cells += 1
        session.destroy().is_(200, what="destroy in " + state)
    check(cells > 18, "only", cells, "cells")
    nobody = in_state("none")
    for verb in VERBS:
        if verb not in ("create", "destroy"):
            send(nobody, verb).is_(404, "not_found", verb)
    nobody.destroy().is_(404, "not_found")


@case
def every_allowed_cell_is_done_and_a_second_delivery_is_not_a_second_time():
    cells = 0
    for state in ["none"] + states():
        for verb in ALLOWED[state]:
            if verb == "freeze" and not capability("limits.pids"):
                continue
            session, where = in_state(state), "%s in %s:" % (verb, state)
            answer = send(session, verb, "key-" + session.name)
            check(answer.status in (200, 201, 404 if verb == "file_read" else 200), where, answer)
            if verb == "destroy":
                session.over()
            if verb == "exec" and answer.status == 201:
                session.ended(answer.json["exec_id"])
            after, events = session.get(), session.events()
            again = send(session, verb, "key-" + session.name)
            where += " again:"
            same(again.status, answer.status, where)
            if verb not in ("destroy", "file_read", "file_write"):  # files may be repeated as they are
                same(again.raw, answer.raw, where)
                same(again.headers.get("Idempotent-Replayed"), "true", where)
            same(session.get(), after, where)
            same(session.events(), events, where)
            if verb == "exec":
                same(session.run("cat /workspace/ran")["text"], "once\n", where)
            session.destroy().is_(200, what="destroy after " + where)
            cells += 1
    check(cells > 18, "only", cells, "cells")


@case
def a_second_delivery_without_a_key_follows_the_table():
    for state in states():
        for verb in ALLOWED[state]:
            if verb in ("destroy", "exec", "file_read", "file_write", "create") or verb == "freeze" and not capability("limits.pids"):
                continue
            session, where = in_state(state), "%s twice in %s:" % (verb, state)
            send(session, verb).is_(200, what=where)
            now = session.get()
            now = "frozen" if now["mode"] == "freeze" else now["state"]
            if verb in ALLOWED[now]:
                send(session, verb).is_(200, what=where)
            else:
                absent_cell(session, now, verb)
            session.destroy().is_(200)


@case
def SES_2_destroy_works_in_every_state(service):
    for state in states():
        session = in_state(state)
        session.destroy().is_(200, what=state)
        session.over()
        session.destroy().is_(200, what=state + ", again")
    # While it is being made or ended: the launcher is stopped, so that the verb stays where it is.
    for state in ("creating", "destroying"):
        session = fresh() if state == "creating" else in_state("running")
        launcher = until(lambda: service.role("launcher"))
        os.kill(launcher, signal.SIGSTOP)
        try:
            first = in_background(session.create if state == "creating" else session.destroy)
            until(lambda: call("GET", session.path).status == 200 and session.get()["state"] == state)
            for verb in VERBS:
                if verb not in ALLOWED[state]:
                    answer = send(session, verb)
                    check(answer.status == 409 and answer.json["code"] in ("invalid_state", "session_exists", "in_progress"),
                          verb, "in", state, answer)
                    if answer.json["code"] != "in_progress":
                        same(sorted(answer.json.get("allowed", [])), sorted(ALLOWED[state]), verb, state)
                    elif verb != "create":
                        raise Failure("%s in %s: %s" % (verb, state, answer))
            second = in_background(session.destroy)
        finally:
            os.kill(launcher, signal.SIGCONT)
        check(first().status in (200, 201, 409, 503), state, first())
        answer = second()
        if answer.status == 409:
            answer.is_(409, "in_progress", state)
            session.destroy().is_(200, what=state)
        else:
            answer.is_(200, what="destroy in " + state)
        session.over()


if __name__ == "__main__":
    main(Service())
