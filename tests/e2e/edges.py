"""This file holds what a service owes where things stop, hang, are killed in the middle or come twice, over a
real `berth serve`. It never looks into the ledger."""

import os
import signal
import subprocess
import threading

from service import *

# Stops each file worker of the session that it sees.
STOPPER = """while :; do for p in /proc/[0-9]*; do read n 2>/dev/null <$p/comm && [ "$n" = berth-files ] &&
    kill -STOP ${p#/proc/} 2>/dev/null; done; done"""


# ---- file workers ------------------------------------------------------------------------------------

def stopped_reader(session):
    """A request whose worker a program of the session has stopped; it is given when that is so."""
    def ask():
        answer = call("GET", session.path + "/files?path=/workspace/file", timeout=60)
        return answer if answer.status != 200 else None
    box = {}

    def work():
        while not box.get("answer"):
            box["asked"] = box.get("asked", 0) + 1
            box["answer"] = ask()
    box["thread"] = threading.Thread(target=work, daemon=True)
    box["thread"].start()
    last = [0, 0]

    def hangs():
        last[1] = last[1] + 1 if last[0] == box["asked"] else 0
        last[0] = box["asked"]
        return last[1] > 40
    until(hangs, 60)
    return box


def expect_ended(box, what):
    box["thread"].join(20 * SLOWER)
    check(box.get("answer"), what, "did not end it")
    box["answer"].is_(503, "unavailable", what)


@case
def FS_2_an_interrupt_ends_file_workers_that_a_program_has_stopped():
    s = Session("stopper").made()
    s.write("/workspace/file", b"x" * 100).is_(200)
    s.start(STOPPER)
    box = stopped_reader(s)
    s.did("interrupt", {"reason": "test"})
    expect_ended(box, "an interrupt")
    same(s.read("/workspace/file").status, 200, "afterwards")
    s.start(STOPPER)
    box = stopped_reader(s)
    s.did("park")
    expect_ended(box, "a park")
    s.destroy().is_(200)


@case
def FS_2_the_end_of_a_command_ends_no_file_operation():
    s, results, ends = Session("beside").made(), [], threading.Event()
    s.write("/workspace/file", b"x" * 300000).is_(200)

    def operate():
        while not ends.is_set():
            results.append(s.read("/workspace/file").status)
            results.append(s.write("/workspace/other", b"y" * 300000).status)
    thread = threading.Thread(target=operate, daemon=True)
    thread.start()
    for _ in range(20):
        s.run("sleep 60 & setsid sleep 60 & true")
    ends.set()
    thread.join(20 * SLOWER)
    same(set(results), {200}, len(results), "operations")
    same(s.run("cat /proc/[0-9]*/comm 2>/dev/null | grep -c sleep")["text"], "0\n", "outlived its command:")
    s.destroy().is_(200)


if __name__ == "__main__":
    main(Service())
