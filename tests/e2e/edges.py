"""This file holds what a service owes where things stop, hang, are killed in the middle or come twice, over a
real `berth serve`. It never looks into the ledger."""

import os
import signal
import subprocess
import threading

from service import *

# Stops each file worker of the session: /proc shows none of them but tells the newest number, and signals reach them.
STOPPER = """while :; do read -r a b c d n </proc/loadavg; for p in $n $((n + 1)); do
    [ -e /proc/$p ] || kill -STOP $p 2>/dev/null; done; done"""


# ---- file workers ------------------------------------------------------------------------------------

def a_worker_is_stopped():
    """Or what was about to become one."""
    for name in os.listdir("/proc"):
        try:
            stat = open("/proc/%s/stat" % name).read() if name.isdigit() else ""
            comm, _, rest = stat.partition("(")[2].rpartition(") ")
            if comm.startswith("berth") and rest[:1] == "T":
                return True
        except OSError:
            pass
    return False


def stopped_reader(session):
    """A request whose worker a program of the session has stopped; it is given when that is so."""
    def ask():
        answer = call("GET", session.path + "/files?path=/workspace/file", timeout=60)
        return answer if answer.status != 200 or box.get("over") else None
    box = {"asked": 0, "answer": None}

    def work():
        while not box["answer"]:
            box["asked"] += 1
            box["answer"] = ask()
    box["thread"] = threading.Thread(target=work, daemon=True)
    box["thread"].start()
    last = [0, 0]

    def hangs():
        # A machine may be too busy to answer; then nobody is stopped.
        last[1] = last[1] + 1 if last[0] == box["asked"] and a_worker_is_stopped() else 0
        last[0] = box["asked"]
        return last[1] > 40
    until(hangs, 60)
    box["hung"] = last[0]
    return box


def expect_ended(box, what):
    """The request that hung has ended. One that came after it may have met the program once more."""
    box["over"] = True
    until(lambda: box["answer"] or box["asked"] > box["hung"], 20)
    if box["answer"] and box["answer"].status != 200:  # 200: it was stopped when it had read everything
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
            results.append(call("GET", s.path + "/files?path=/workspace/file", timeout=60).status)
            results.append(call("PUT", s.path + "/files?path=/workspace/other", b"y" * 300000, timeout=60).status)
    thread = threading.Thread(target=operate, daemon=True)
    thread.start()
    for _ in range(20):
        s.post("execs?wait_ms=60000", {"shell": "sleep 60 & setsid sleep 60 & true"}, timeout=70).is_(201)
    ends.set()
    thread.join(70 * SLOWER)
    same(set(results), {200}, len(results), "operations")
    same(s.run("cat /proc/[0-9]*/comm 2>/dev/null | grep -c sleep")["text"], "0\n", "outlived its command:")
    s.destroy().is_(200)


# ---- standard input ----------------------------------------------------------------------------------

OCTETS = {"Content-Type": "application/octet-stream"}


def send(session, exec_id, data, offset=None, timeout=10):
    return call("POST", "%s/execs/%s/stdin%s" % (session.path, exec_id, "" if offset is None else "?offset=%d" % offset),
                data, headers=OCTETS, timeout=timeout)


def where(session, exec_id):
    """How many bytes went in."""
    def ask():
        answer = send(session, exec_id, b"")
        return answer if answer.status == 200 else check(answer.status == 503, answer)
    return until(ask).json["offset"]


@case
def EXEC_5_standard_input_has_one_writer_and_says_how_far_it_is():
    s = Session("input").made()
    s.start("sleep 60", exec_id="e", stdin="pipe")
    same(send(s, "e", b"hello").is_(200).json, {"bytes": 5, "offset": 5})
    send(s, "e", b"x", offset=4).is_(412, "precondition_failed")
    same(send(s, "e", b"", offset=5).is_(200).json, {"bytes": 0, "offset": 5})
    def more_than_pipes_hold():
        answer = send(s, "e", b"y" * 1000000, timeout=60)
        return answer if answer.status != 409 or answer.json["code"] != "in_progress" else None
    slow = in_background(lambda: until(more_than_pipes_hold))
    until(lambda: send(s, "e", b"z", timeout=60).status == 409)
    send(s, "e", b"z").is_(409, "in_progress")
    s.post("execs/e/cancel").is_(200)
    slow().is_(409, "invalid_state")
    s.start("sleep 60", exec_id="none")
    send(s, "none", b"x").is_(409, "invalid_state")
    s.destroy().is_(200)


@case
def EXEC_5_standard_input_goes_on_over_a_front_that_is_killed_in_the_middle(service):
    need("limits.pids")  # without cgroups a session runs one command at a time
    data = os.urandom(3000000)
    s = Session("fed").made()
    s.start("while dd bs=4096 count=16 2>/dev/null | grep -c . >/dev/null && ! [ -e stop ]; do :; done; cat >/dev/null",
            exec_id="slow", stdin="pipe")
    s.start("cat >copy; echo end >>copy", exec_id="e", stdin="pipe")
    at = 0
    for part in (700000, 1500000, 2400000):
        sent = in_background(lambda: send(s, "e", data[at:part], offset=at, timeout=60))
        service.kill("front")
        try:
            sent()
        except (OSError, http.client.HTTPException):
            pass
        service.healthy()
        at = where(s, "e")
        check(at <= part, at, "of", part)
        s.exec("e")["state"] == "running" or check(False, "its input ended with front")
    while at < len(data):
        at = send(s, "e", data[at:], offset=at, timeout=60).is_(200).json["offset"]
    s.post("execs/e/close-stdin").is_(200)
    s.ended("e")
    same(s.read("/workspace/copy").raw, data + b"end\n", "what arrived")
    s.destroy().is_(200)


@case
def EXEC_5_a_terminal_outlives_front_and_takes_more_input(service):
    s = Session("typed").made()
    s.post("execs", {"argv": ["sh"], "exec_id": "sh", "stdin": "pipe", "tty": {"rows": 24, "cols": 80}}).is_(201)
    send(s, "sh", b"echo a1 >>out\n").is_(200)
    until(lambda: s.read("/workspace/out").status == 200)
    service.kill("front")
    service.healthy()
    same(where(s, "sh"), 14)
    send(s, "sh", b"echo b2 >>out; exit 3\n", offset=14).is_(200)
    same(s.ended("sh")["exit_code"], 3)
    same(s.read("/workspace/out").raw, b"a1\nb2\n")
    s.destroy().is_(200)


@case
def EXEC_5_a_person_s_input_arrives_whole_over_a_front_that_is_killed(service):
    s = Session("piped", "local").made()
    data = os.urandom(2000000)
    with subprocess.Popen([BERTH, "exec", "--stdin", "--tty", "never", "piped", "--", "sh", "-c", "cat >copy"],
                          stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as client:
        for i in range(0, len(data), 100000):
            client.stdin.write(data[i:i + 100000])
            client.stdin.flush()
            if i in (300000, 1200000):
                service.kill("front")
        client.stdin.close()
        words = client.stderr.read()
        same(client.wait(60 * SLOWER), 0, words)
    service.healthy()
    same(s.read("/workspace/copy").raw, data, "what arrived")
    s.destroy().is_(200)


# ---- starting ----------------------------------------------------------------------------------------

@case
def a_berth_that_may_not_use_its_state_ends_and_says_so(service):
    service.stop()
    ledger = STATE + "/ledger/ledger"
    mode = os.stat(ledger).st_mode & 0o777
    os.chmod(ledger, 0)
    try:
        done = subprocess.run([BERTH, "serve"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              timeout=60 * SLOWER)
    except subprocess.TimeoutExpired:
        raise Failure("it is started again for ever")
    finally:
        os.chmod(ledger, mode)
        service.start()
    check(done.returncode == 125, "status", done.returncode)
    check(b"so berth ends" in done.stderr and b'"errno":13' in done.stderr, done.stderr.decode())
    service.healthy()


@case
def health_says_that_berth_recovers_until_it_has(service):
    sessions = [Session("h%d" % i).made() for i in range(4)]
    seen = set()
    service.kill("launcher")  # whose answers recovery needs
    service.kill("front")
    end = time.monotonic() + 10 * SLOWER
    while time.monotonic() < end and 200 not in seen:
        try:
            answer = call("GET", "/health")
        except OSError:
            continue
        if answer.status == 503:
            check(answer.headers.get("Retry-After") and answer.json["code"] == "unavailable", answer)
        seen.add(answer.status)
    check(seen <= {200, 503} and 200 in seen, seen)
    for s in sessions:
        same(s.get()["state"], "running", "when it says that it is well")
        s.destroy().is_(200)


# ---- refused system calls ----------------------------------------------------------------------------

CALL = """import ctypes, sys, time
c = ctypes.CDLL(None, use_errno=True)
wrong = 0
def refused(n):
    global wrong
    ctypes.set_errno(0)
    c.syscall(ctypes.c_long(n), 0, 0, 0, 0, 0)
    wrong += ctypes.get_errno() != 1
"""


def python(program):
    return "exec python3 -c '%s'" % (CALL + program)


def refusals(session, call_name="mount"):
    """The totals of a call, as the events say them: the last is the sum."""
    return [e["data"] for e in session.events() if e["event"] == "syscall.denied" and e["data"]["call"] == call_name]


@case
def refused_calls_are_counted_to_the_last_whoever_is_killed(service):
    need("audit.syscall")
    s = Session("refused").made(process={"explain_syscalls": True})
    started = s.start(python("for i in range(60):\n  for j in range(100): refused(165)\n  time.sleep(.05)\nprint(wrong)"))
    for name in ("front", "launcher", "front"):
        time.sleep(0.4)
        service.kill(name)
        service.healthy()
    done = s.with_text(s.ended(started["exec_id"], 30000))
    same(done["text"], "0\n", "calls that got another errno")
    last = until(lambda: [e for e in refusals(s) if e["count"] == 6000], 5)[-1]
    check(last["exec_id"] == started["exec_id"] and last["error"] == "EPERM" and last["line_to_add"] is None, last)
    counts = [e["count"] for e in refusals(s)]
    check(counts[-1] == max(counts) and len(counts) < 60, counts)
    s.destroy().is_(200)


@case
def refused_calls_stop_no_freeze_no_interrupt_and_no_end():
    need("audit.syscall")
    flood = python("import threading\ndef go():\n  while True: refused(165)\n"
                   "for i in range(4): threading.Thread(target=go).start()")
    s = Session("flood").made(process={"explain_syscalls": True})
    started = s.start(flood)
    until(lambda: refusals(s))
    if capability("lifecycle.park_freeze"):
        for _ in range(3):
            s.did("park", {"mode": "freeze"})
            same(s.get()["state"], "parked")
            s.did("resume")
    same(s.run("echo beside")["text"], "beside\n") if capability("limits.memory") else None
    s.did("interrupt", {"reason": "test"})
    same(s.exec(started["exec_id"])["reason"], "interrupted")
    s.start(flood)
    time.sleep(0.3)
    s.did("park")
    s.did("resume")
    s.start(flood)
    time.sleep(0.3)
    s.destroy().is_(200)
    s.over()
    check("syscall.denied" not in [e["event"] for e in s.events()][-1:], "an event after the last")


@case
def a_limit_that_a_command_met_is_an_event():
    need("limits.pids")
    s = Session("limit").made(limits={"pids": 20})
    s.run("for i in $(seq 50); do sleep 1 & done 2>/dev/null; wait")
    met = until(lambda: [e["data"] for e in s.events() if e["event"] == "limit.pids"])[-1]
    check(met["limit"] == "limits.pids" and met["count"] > 0, met)
    s.destroy().is_(200)


if __name__ == "__main__":
    main(Service())
