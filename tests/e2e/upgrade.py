"""This file replaces an older build's `berth serve` by this one's while its sessions run, and looks what has become
of them, of their streams and of the ledger. It never starts the older one on what this one has written, but to see
it refuse that.

Environment besides service.py's: OLDER (where the older programs are), OLDER_KIND (what of theirs another build made:
`daemon`, whose inits and file workers this one knows; `files`, file workers that it does not know; `init`)."""

import os
import re
import sqlite3

import service
from service import *

OLDER, KIND = os.environ["OLDER"], os.environ["OLDER_KIND"]
LEDGER = STATE + "/ledger/ledger"
LINES = int(150 * SLOWER)


class Undescribed:
    """What an older one answers, this one's document need not describe."""

    def answer(self, *_):
        pass

    def event(self, *_):
        pass


class Daemon(Service):
    def __init__(self, program):
        super().__init__()
        self.program = program

    def start(self):
        with open(RUN + "/../out/serve.log", "ab") as log:
            self.process = subprocess.Popen([self.program, "serve"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        line = self.process.stdout.readline().decode()
        check("serving on" in line, "the service did not start:", line, tail_of_log())
        self.healthy()
        return self

    def refused(self):
        """What it says when it does not start."""
        done = subprocess.run([self.program, "serve"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60 * SLOWER)
        check(done.returncode == 125, "status", done.returncode, done.stderr[-300:])
        return done.stderr.decode()


def follow(path, ends):
    """A client that comes back with the last number that it has, until `ends` says of an event that it was the last."""
    def work():
        seen, by = [], time.monotonic() + 60 * SLOWER
        while time.monotonic() < by:
            try:
                for event in Stream(path, seen[-1]["id"] if seen else None):
                    if event["id"] is not None:
                        seen.append(event)
                    if ends(event):
                        return seen
            except (OSError, http.client.HTTPException, Failure):
                pass
            time.sleep(0.02)
        raise Failure("a follower of %s has seen no end: %s" % (path, seen[-1:]))
    return in_background(work)


# ---- the ledger ----------------------------------------------------------------------------------------

def ledger(*statements):
    """While nobody has it."""
    base = sqlite3.connect(LEDGER, isolation_level=None)
    got = [base.execute(statement).fetchone() for statement in statements]
    base.close()
    return got[-1][0] if got and got[-1] else None


def migrations():
    """The texts of this tree's list, in order."""
    with open(TREE + "/provider/ledger_schema.c") as file:
        table = file.read().split("migrations[] = {", 1)[1].split("\n};", 1)[0]
    parts = re.split(r"/\* \d+: .*?\*/", table, flags=re.S)[1:]
    return ["".join(re.findall(r'"((?:[^"\\]|\\.)*)"', part)) for part in parts]


def undo_the_last_migration():
    """The ledger as a berth of one migration less would have left it."""
    latest, last = len(migrations()), migrations()[-1]
    undone = ["DROP TRIGGER %s" % name for name in re.findall(r"CREATE TRIGGER (\w+)", last)]
    undone += ["DROP INDEX %s" % name for name in re.findall(r"CREATE INDEX (\w+)", last)]
    undone += ["ALTER TABLE %s DROP COLUMN %s" % pair for pair in re.findall(r"ALTER TABLE (\w+) ADD COLUMN (\w+)", last)]
    undone += ["DROP TABLE %s" % name for name in re.findall(r"CREATE TABLE (\w+)", last)]
    check(undone, "the last migration has nothing that this test knows how to undo:", last)
    ledger(*undone, "DELETE FROM migrations WHERE version = %d" % latest, "PRAGMA user_version = %d" % (latest - 1))


def bytes_of_ledger():
    with open(LEDGER, "rb") as file:
        return file.read()


def a_newer_ledger_is_refused(older, newer):
    latest = len(migrations())
    same(ledger("PRAGMA user_version"), latest, "the ledger's version after the upgrade")
    same(ledger("SELECT count(*) FROM migrations"), latest)
    same(ledger("PRAGMA integrity_check"), "ok")
    if ledger("PRAGMA user_version") > OLDER_SCHEMA:  # the older build itself
        before = bytes_of_ledger()
        words = older.refused()
        check("made by a newer berth" in words and "not changed" in words, "the older berth says:", words)
        same(bytes_of_ledger() == before, True, "the older one has changed it")
    ledger("INSERT INTO migrations VALUES (%d, 'x', 0)" % (latest + 1), "PRAGMA user_version = %d" % (latest + 1))
    before = bytes_of_ledger()
    words = newer.refused()
    check("made by a newer berth" in words and "Use the berth that made it" in words, "it says:", words)
    same(bytes_of_ledger() == before, True, "this one has changed it")
    ledger("DELETE FROM migrations WHERE version = %d" % (latest + 1), "PRAGMA user_version = %d" % latest)


# ---- sessions ------------------------------------------------------------------------------------------

def is_whole(frames, done):
    """Every number once, every line once."""
    numbers = [frame["id"] for frame in frames]
    same(numbers, list(range(1, len(numbers) + 1)), "numbers of frames")
    text = b"".join(frame["out"] for frame in frames if "out" in frame).decode()
    same(text, "".join("line %d\n" % i for i in range(LINES)), "followed text")
    same((done["reason"], done["exit_code"]), ("exit", 7))


def goes_on(run, output, frozen):
    """Where this one knows the older one's inits."""
    same(run.get()["state"], "running")
    is_whole(output(), run.ended("long", 60000))
    same(run.run("echo again")["text"], "again\n")
    if KIND == "files":
        written = run.write("/workspace/g", b"new")
        for answer in (written, run.read("/workspace/f"), call("GET", run.path + "/files/list?path=/workspace"),
                       call("GET", run.path + "/tar?path=/workspace")):
            answer.is_(409, "invalid_state", "a file of a session whose file worker is older")
            check("another version" in answer.json["detail"] and "park" in answer.json["allowed"], answer)
            same("may have been done" in answer.json["detail"], answer is written)
        run.did("park")
        run.did("resume")
    same(run.read("/workspace/f").raw, b"kept")
    if frozen:
        frozen.did("resume")
        same(frozen.ended("nap", 30000)["exit_code"], 3)


def was_parked(run, output, frozen):
    """Where it does not: processes end, and nothing else is lost."""
    until(lambda: run.get()["state"] == "parked")
    same(run.ended("long")["reason"], "lost")
    output()
    for session in (run, frozen) if frozen else (run,):
        session.did("resume")
        same(session.run("cat /workspace/f")["text"], "kept")
        same(session.read("/workspace/f").raw, b"kept")


def an_upgrade_with_sessions_running():
    older, newer = Daemon(OLDER + "/berth"), Daemon(BERTH)
    described, service.DESCRIBED = service.DESCRIBED, Undescribed()
    older.start()
    run, parked, frozen = Session("run").made(), Session("parked").made(), None
    if capability("lifecycle.park_freeze"):
        frozen = Session("frozen").made()
    for session in (run, parked) + ((frozen,) if frozen else ()):
        session.run("printf kept >/workspace/f")  # by a command: the older one may not know its file workers
    run.start("i=0; while [ $i -lt %d ]; do echo line $i; i=$((i+1)); sleep 0.02; done; exit 7" % LINES, exec_id="long", key="long")
    parked.did("park")
    if frozen:
        frozen.start("sleep 1; exit 3", exec_id="nap")
        frozen.did("park", {"mode": "freeze"})
    output = follow(run.path + "/execs/long/output?follow=true", lambda event: event["event"] == "exit" or
                    KIND == "init" and run.exec("long")["state"] == "ended")
    events = follow(run.path + "/events?follow=true", lambda event: event["event"] == "session.deleted")
    until(lambda: len(run.frames("long")) > 20, 30)
    was = run.get()["incarnation"]
    same(older.stop(), 0, "status of the older one")
    service.DESCRIBED = described
    if OLDER_SCHEMA == len(migrations()):
        undo_the_last_migration()
    newer.start()
    (was_parked if KIND == "init" else goes_on)(run, output, frozen)
    if KIND == "daemon":
        same(run.get()["incarnation"], was, "incarnation")
    # A key of the older one's is known.
    again = run.post("execs", {"shell": "i=0; while [ $i -lt %d ]; do echo line $i; i=$((i+1)); sleep 0.02; done; exit 7" % LINES,
                               "exec_id": "long"}, key="long").is_(201)
    same(again.headers["Idempotent-Replayed"], "true")
    parked.did("resume")
    same(parked.run("cat /workspace/f")["text"], "kept")
    same(Session("new").made().run("echo new")["text"], "new\n")
    run.destroy().is_(200)
    numbers = [event["id"] for event in events()]
    same(numbers, list(range(1, len(numbers) + 1)), "numbers of events")
    destroy_everything()
    same(newer.stop(), 0)
    a_newer_ledger_is_refused(older, newer)
    newer.start()
    same(run.get()["state"], "destroyed")
    newer.stop()


def schema_of(directory):
    """How many migrations the older programs know: their source lies beside, or it is this tree's."""
    path = os.environ.get("OLDER_TREE", TREE) + "/provider/ledger_schema.c"
    with open(path) as file:
        return len(re.findall(r"^    /\* \d+: ", file.read().split("migrations[] = {", 1)[1].split("\n};", 1)[0], flags=re.M))


OLDER_SCHEMA = schema_of(OLDER)
name = "an_upgrade_with_sessions_running_%s" % KIND
try:
    an_upgrade_with_sessions_running()
    say("ok", name)
except Exception as problem:
    traceback.print_exc()
    print(tail_of_log(), file=sys.stderr)
    say("not ok", name, "%s: %s" % (type(problem).__name__, problem))
    sys.exit(1)
