"""This file is what the tests over a real `berth serve` share: the service as a child, requests on its
socket, event streams, and verdicts. It never decides what a test means.

Environment: BERTH (the program), BERTH_STATE_DIR, BERTH_RUNTIME_DIR, TEST_MODE (for labels),
TEST_SLOWER (what times are multiplied by)."""

import base64
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback

import described

BERTH = os.environ["BERTH"]
STATE, RUN = os.environ["BERTH_STATE_DIR"], os.environ["BERTH_RUNTIME_DIR"]
MODE = os.environ.get("TEST_MODE", "self")
SLOWER = float(os.environ.get("TEST_SLOWER", "1"))
DESCRIBED = described.Document(BERTH)
TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Failure(Exception):
    """The reason of a failed test."""


class Skip(Exception):
    """Why a test cannot be made here."""


def check(condition, *words):
    if not condition:
        raise Failure(" ".join(str(word) for word in words)[:600])


def same(got, wanted, *words):
    check(got == wanted, *words, "got", repr(got)[:250], "expected", repr(wanted)[:250])


def until(what, seconds=10):
    """Calls `what` until it gives something true, and gives that."""
    end = time.monotonic() + seconds * SLOWER
    while True:
        got = what()
        if got or time.monotonic() > end:
            check(got, "not within", seconds, "s:", getattr(what, "__name__", what))
            return got
        time.sleep(0.02)


class Socket(http.client.HTTPConnection):
    def __init__(self, timeout):
        super().__init__("berth", timeout=timeout)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(RUN + "/berth.sock")


class Answer:
    def __init__(self, reply, raw):
        self.status, self.headers, self.raw = reply.status, reply.headers, raw
        kind = reply.headers.get("Content-Type", "")
        self.json = json.loads(raw) if raw and "json" in kind else None

    def __repr__(self):
        return "%d %s" % (self.status, self.raw[:300].decode("utf-8", "replace"))

    def is_(self, status, code=None, what=""):
        check(self.status == status and (code is None or self.json["code"] == code),
              what, "answered", self, "expected", status, code or "")
        return self


def call(method, path, body=None, key=None, headers=None, timeout=10, version="/v1"):
    # Whoever asks the service to wait waits longer himself.
    waits = re.search(r"[?&]wait_ms=(\d+)", path)
    timeout += int(waits.group(1)) / 1000 if waits else 0
    connection = Socket(timeout * SLOWER)
    head = dict(headers or {})
    if key:
        head["Idempotency-Key"] = key
    built = isinstance(body, dict) or method == "POST" and not isinstance(body, bytes)
    if built:
        head["Content-Type"] = "application/json"
        body = json.dumps(body if body is not None else {}).encode()
    try:
        connection.request(method, version + path, body, head)
        reply = connection.getresponse()
        raw = reply.read()
        asked = json.loads(body) if isinstance(body, bytes) and built else None
        try:
            DESCRIBED.answer(method, version + path, asked, reply.status, reply.headers, raw)
        except described.Undescribed as difference:
            raise Failure("not as `berth openapi` says: %s" % difference)
        return Answer(reply, raw)
    except TimeoutError:
        raise Failure("%s %s %s: no answer within %g s" % (method, path, body or "", timeout))
    finally:
        connection.close()


def session_path(name, workspace="w"):
    return "/workspaces/%s/sessions/%s" % (workspace, name)


class Session:
    """A session by its pair of names; it need not exist."""

    def __init__(self, name, workspace="w"):
        self.name, self.workspace = name, workspace
        self.path = session_path(name, workspace)

    def create(self, key=None, **body):
        return call("POST", "/workspaces/%s/sessions" % self.workspace, {"session_id": self.name, **body}, key)

    def made(self, **body):
        self.create(**body).is_(201, what="create")
        return self

    def get(self):
        return call("GET", self.path).is_(200).json

    def post(self, verb, body=None, key=None, **more):
        return call("POST", self.path + "/" + verb, body, key, **more)

    def did(self, verb, body=None):
        return self.post(verb, body).is_(200, what=verb).json

    def destroy(self, volume=True):
        return call("DELETE", self.path + ("?delete_volume=true" if volume else ""))

    def over(self):
        return until(lambda: self.get()["state"] == "destroyed")

    def start(self, shell, key=None, **body):
        """An Exec, accepted."""
        return self.post("execs", {"shell": shell, **body}, key).is_(201, what="exec").json

    def run(self, shell, wait=20000, **body):
        """An Exec, ended; with what it printed as `text`."""
        done = self.post("execs?wait_ms=%d" % wait, {"shell": shell, **body}).is_(201, what="exec").json
        return self.with_text(done if done["state"] == "ended" else self.ended(done["exec_id"], wait))

    def with_text(self, done):
        done["text"] = b"".join(f["out"] for f in self.frames(done["exec_id"]) if "out" in f).decode("utf-8", "replace")
        return done

    def ended(self, exec_id, wait=8000):
        def ask():
            done = call("GET", "%s/execs/%s?wait_ms=%d" % (self.path, exec_id, wait)).is_(200).json
            return done if done["state"] == "ended" else None
        return until(ask, wait / 1000)

    def exec(self, exec_id):
        return call("GET", "%s/execs/%s" % (self.path, exec_id)).is_(200).json

    def frames(self, exec_id, start=None, follow=False, last=None):
        query = "?follow=%s" % ("true" if follow else "false") + ("&from=%d" % start if start is not None else "")
        return list(Stream("%s/execs/%s/output%s" % (self.path, exec_id, query), last))

    def events(self, start=None, last=None):
        return list(Stream(self.path + "/events?follow=false" + ("&from=%d" % start if start else ""), last))

    def write(self, path, data):
        return call("PUT", "%s/files?path=%s" % (self.path, path), data)

    def read(self, path):
        return call("GET", "%s/files?path=%s" % (self.path, path))


class Stream:
    """Server-sent events: dictionaries with `id`, `event`, the data's members, and `out` of output."""

    def __init__(self, path, last=None, method="GET", body=None, key=None, timeout=30):
        self.connection, self.asked = Socket(timeout * SLOWER), (method, "/v1" + path)
        head = {"Accept": "text/event-stream"}
        if last is not None:
            head["Last-Event-ID"] = str(last)
        if key:
            head["Idempotency-Key"] = key
        if body is not None:
            head["Content-Type"] = "application/json"
            body = json.dumps(body)
        self.connection.request(method, "/v1" + path, body, head)
        self.reply = self.connection.getresponse()
        check(self.reply.status in (200, 201), "stream", path, self.reply.status, self.reply.status >= 300 and self.reply.read())

    def __iter__(self):
        event = {}
        while True:
            line = self.reply.readline()
            if not line:
                break
            line = line.rstrip(b"\r\n")
            if line:
                name, _, value = line.partition(b":")
                if name in (b"id", b"event", b"data"):
                    event[name.decode()] = value.lstrip(b" ").decode()
            elif "data" in event:
                yield self.read(event)
                event = {}
        self.connection.close()

    def read(self, event):
        got = json.loads(event["data"])
        try:
            DESCRIBED.event(*self.asked, event.get("event"), got)
        except described.Undescribed as difference:
            raise Failure("not as `berth openapi` says: %s" % difference)
        got["event"], got["id"] = event.get("event"), int(event["id"]) if "id" in event else None
        if got["event"] in ("stdout", "stderr", "tty", "background"):
            got["out"] = got["data"].encode() if "data" in got else base64.b64decode(got["data_base64"])
        return got

    def close(self):
        self.connection.close()


def in_background(what):
    """Runs `what` in a thread; the result of what is returned waits for its value."""
    box = {}

    def work():
        try:
            box["value"] = what()
        except BaseException as problem:
            box["problem"] = problem

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def result(seconds=30):
        thread.join(seconds * SLOWER)
        check(not thread.is_alive(), "no answer within", seconds, "s")
        if "problem" in box:
            raise box["problem"]
        return box["value"]
    return result


# ---- the service -------------------------------------------------------------------------------------

def children(pid):
    found = []
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/children" % (pid, task)) as file:
            found += [int(child) for child in file.read().split()]
    return found


def command_line(pid):
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as file:
            return file.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        return ""


class Service:
    def __init__(self, config=None):
        self.process, self.config = None, config

    def start(self):
        words = [BERTH, "serve"]
        if self.config:
            words += ["--config", self.config]
        with open(RUN + "/../out/serve.log", "ab") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        line = self.process.stdout.readline().decode()
        check("serving on" in line, "the service did not start:", line, tail_of_log())
        return self

    def role(self, name):
        """The pid of `berth: NAME`, a child of the supervisor."""
        for pid in children(self.process.pid):
            if command_line(pid).startswith("berth: " + name):
                return pid
        return None

    def kill(self, name):
        os.kill(until(lambda: self.role(name)), signal.SIGKILL)

    def kill_all(self):
        """Everything but the inits: those of a launcher that has ended are the supervisor's children."""
        pids = [self.process.pid] + [pid for pid in children(self.process.pid) if not command_line(pid).startswith("berth: init")]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:  # a worker that has ended meanwhile
                pass
        self.process.wait()
        until(lambda: not any(command_line(pid).startswith("berth: ") for pid in pids))

    def again(self):
        self.kill_all()
        return self.start()

    def healthy(self):
        def ask():
            try:
                return call("GET", "/health").status == 200
            except OSError:
                return False
        until(ask)

    def stop(self):
        self.process.terminate()
        try:
            return self.process.wait(15 * SLOWER)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Failure("the service did not end on SIGTERM")


def tail_of_log():
    with open(RUN + "/../out/serve.log", "rb") as log:
        return log.read()[-400:].decode("utf-8", "replace")


def destroy_everything():
    """Of every workspace that the tests use."""
    for owner in {s["owner"] for w in ("w", "a", "b") for s in call("GET", "/workspaces/%s/sessions?limit=1000" % w).json["sessions"]}:
        call("POST", "/reap", {"owner": owner})


def capability(name):
    return call("GET", "/capabilities").json["capabilities"][name]["available"]


def need(name):
    if not capability(name):
        raise Skip(name + " is not available")


# ---- verdicts ----------------------------------------------------------------------------------------

CASES = []


def case(function):
    CASES.append(function)
    return function


def say(word, name, reason=""):
    reason = " ".join(str(reason).split())
    print("%s %s [%s]%s" % (word, name, MODE, ": " + reason if reason else ""), flush=True)


def main(service):
    """Runs the cases that are named as arguments, or all, over one service."""
    chosen, failed = sys.argv[1:], 0
    service.start()
    for function in CASES:
        if chosen and function.__name__ not in chosen:
            continue
        begin = time.monotonic()
        try:
            if function.__code__.co_argcount:
                function(service)
            else:
                function()
            say("ok", function.__name__)
        except Skip as reason:
            say("skip", function.__name__, reason)
        except Exception as problem:
            failed += 1
            last = [f for f in traceback.extract_tb(problem.__traceback__) if f.filename == function.__code__.co_filename]
            say("not ok", function.__name__, "line %d: %s: %s" % (last[-1].lineno if last else 0, type(problem).__name__, problem))
            if service.process.poll() is not None:
                service.start()
        if os.environ.get("TIMES"):
            print("# %.1f s" % (time.monotonic() - begin), flush=True)
    try:
        service.healthy()
        destroy_everything()
        service.stop()
    except Exception as problem:
        failed += 1
        say("not ok", "the service ends", problem)
    sys.exit(1 if failed else 0)
