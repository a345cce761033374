"""This file is a client with a model of its own sessions: it does one operation after another, through
whatever dies meanwhile, and compares each answer with the model; it never kills anything.
"""
import base64
import errno
import json
import os
import random
import threading
import time

from serve_http import BROKEN, Failure, clock, events_of

WORKSPACE = "/v1/workspaces/local"


def path_of(workspace):
    return f"/v1/workspaces/{workspace}"


class Tally(dict):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()
        self.faults = []
        self.refusing = False  # calls are refused: what was accepted may fail, when it says so
        self.killing_children = False  # commands are killed before they run

    def __missing__(self, key):
        return 0

    def add(self, fault):
        with self.lock:
            if len(self.faults) < 50:
                self.faults.append(fault)


class Exec:
    """A command that marks that it ran, then prints what it is known to print."""

    forbidden = ""  # what some try besides, and what nobody may manage

    def __init__(self, mark, lines, pause, code):
        self.mark, self.lines, self.code = mark, lines, code
        slow = f"; sleep {pause}" if pause else ""
        refused = f"unshare -U true 2>/dev/null; {self.forbidden}" if lines < 2 else ""  # becomes an event
        self.argv = ["sh", "-c", f"echo {mark} >>/workspace/marks; {refused}i=0; while [ $i -lt {lines} ]; do "
                     f"echo {mark} line $i{slow}; i=$((i+1)); done; echo {mark} err >&2; exit {code}"]
        self.path = self.document = None
        self.must_have_run = self.must_not_have_run = False

    def stdout(self):
        return "".join(f"{self.mark} line {i}\n" for i in range(self.lines)).encode()

    def stderr(self):
        return f"{self.mark} err\n".encode()


class Session:
    def __init__(self, name, workspace="local"):
        self.name, self.workspace, self.state, self.mode = name, workspace, "absent", None
        self.path = f"{path_of(workspace)}/sessions/{name}"
        self.execs, self.files, self.revision = [], {}, 1


class Client:
    """`directories`: where every other session has a directory of the host as its workspace; None: volumes only."""

    workspace = "local"

    def __init__(self, number, http, tally, seed, gate, names=2, directories=None):
        self.http, self.tally, self.gate, self.directories = http, tally, gate, directories
        self.rng = random.Random(seed * 1000 + number)
        self.number, self.count, self.label = number, 0, number
        self.sessions = [Session(f"c{number}s{i}") for i in range(names)]
        self.failure = None

    def key(self):
        self.count += 1
        return f"k{self.label}-{self.count}"

    def run(self, stop):
        try:
            while not stop.is_set():
                self.gate.pass_through()
                self.step()
        except Exception as failure:  # told by the campaign, which then fails
            self.failure = failure
        finally:
            self.gate.leave()

    # ---- one operation --------------------------------------------------------------------------

    def step(self):
        session = self.rng.choice(self.sessions)
        if session.state == "absent":
            return self.create(session)
        if session.state == "archived":
            return self.destroy(session)
        if session.state == "parked":
            return self.rng.choice((self.resume, self.resume, self.resume, self.write, self.destroy, self.archive, self.network))(session)
        return self.rng.choice((self.exec, self.exec, self.exec, self.exec, self.park, self.freeze, self.interrupt,
                                self.duplicate, self.write, self.archive, self.destroy, self.volume, self.network,
                                self.token) + self.more())(session)

    def more(self):
        return ()

    def more_of_create(self):
        return {}

    def create(self, session):
        body = {"session_id": session.name, "policy": "balanced", "process": {"explain_syscalls": True},
                **self.more_of_create()}
        if self.directories and session is not self.sessions[0]:
            body["workspace"] = {"persistence": {"kind": "directory", "path": self.new_directory(session), "allow_root_owned": True}}
        document = self.http.verb("POST", f"{path_of(self.workspace)}/sessions", body, self.key(), (201,)).json()
        if document["state"] != "running" or document["session_id"] != session.name:
            raise Failure(f"created, but {document}")
        session.state, session.mode, session.execs, session.files = "running", None, [], {}
        session.revision = 1
        self.tally["creates"] += 1

    def new_directory(self, session):
        path = f"{self.directories}/{session.name}-{self.count}"
        os.mkdir(path, 0o700)
        return path

    def verb(self, session, verb, body, state, mode, allowed=(200,)):
        answer = self.http.verb("POST", f"{session.path}/{verb}", body, self.key(), allowed + (409,))
        if answer.status == 409:
            self.died(session, answer)
            return False
        document = answer.json()
        if (document["state"], document["mode"]) != (state, mode):
            # It may have died after it; the answer to a verb is nothing else's.
            raise Failure(f"{verb} of {session.name}: expected {state}/{mode}, got {answer}")
        session.state, session.mode = state, mode
        self.tally[verb + "s"] += 1
        return True

    def died(self, session, answer):
        """A 409 is right only when the sandbox died under the client."""
        document = self.show(session)
        if document["state"] == "parked" and document["reason"] == "died":
            session.state, session.mode = "parked", "stop"
            self.tally["sessions found parked because init died"] += 1
            return
        raise Failure(f"{session.name} should be {session.state}/{session.mode}: {answer}; it is {document['state']}/"
                      f"{document['mode']} reason {document['reason']}")

    def show(self, session):
        answer = self.http.until_definite("GET", session.path)
        if answer.status != 200:
            raise Failure(f"{session.name} is gone: {answer}")
        return answer.json()

    def events(self, session):
        answer = self.http.until_definite("GET", f"{session.path}/events?follow=false")
        return [json.loads(line[5:]) for line in answer.body.decode().split("\n") if line.startswith("data:")]

    def park(self, session):
        if self.verb(session, "park", {"mode": "stop"}, "parked", "stop"):
            self.check_marks(session)

    def resume(self, session):
        return self.verb(session, "resume", {}, "running", None)

    def archive(self, session):
        self.verb(session, "archive", {"accept_loss": True}, "archived", None)

    def freeze(self, session):
        """With a command that prints through it."""
        command = self.start(session, lines=30, pause="0.01")
        if command and self.verb(session, "park", {"mode": "freeze"}, "parked", "freeze"):
            if self.resume(session):
                self.follow(command)
                self.settle(session, command)

    def interrupt(self, session):
        command = self.start(session, lines=200, pause="0.2")
        if command and self.verb(session, "interrupt", {"reason": "test"}, "running", None):
            ended = self.wait(command)
            if not self.failed_cleanly(command, ended) and ended["reason"] not in ("interrupted", "lost", "not_started"):
                raise Failure(f"interrupted, but {ended}")

    def destroy(self, session):
        self.check_marks(session)
        self.check_files(session)
        answer = self.http.verb("DELETE", session.path + "?delete_volume=true", None, None, (200,))
        if answer.json()["state"] not in ("destroying", "destroyed"):
            raise Failure(f"destroyed, but {answer}")
        session.state, session.execs = "absent", []
        self.tally["destroys"] += 1
        end = clock() + 20  # the name is free when it is over
        while clock() < end and self.show(session)["state"] != "destroyed":
            time.sleep(0.01)
        if clock() >= end:
            raise Failure(f"{session.name} is still being destroyed after 20 s")

    def write(self, session):
        """A file is the new one or the old one, and what was answered is there."""
        name, body = f"/workspace/f{self.rng.randrange(3)}", self.rng.randbytes(self.rng.choice((0, 9, 5000, 200000)))
        answer = self.http.until_definite("PUT", f"{session.path}/files?path={name}", body)
        if answer.status == 409:
            self.died(session, answer)
            return
        if answer.status not in (200, 201):
            raise Failure(f"PUT {name} of {session.name} ({session.state}): {answer}")
        session.files[name] = body
        self.tally["files written"] += 1
        self.check_files(session)

    def check_files(self, session):
        for name, body in session.files.items():
            answer = self.http.until_definite("GET", f"{session.path}/files?path={name}")
            if answer.status == 409:
                self.died(session, answer)
                return
            if answer.status != 200 or answer.body != body:
                raise Failure(f"{name} of {session.name} ({session.state}): {answer.status}, {len(answer.body)} bytes, "
                              f"written {len(body)}")
            self.tally["files compared"] += 1

    def volume(self, _):
        """One that no session uses: made, seen, made again, removed, removed again."""
        name, path = f"v{self.label}", f"{path_of(self.workspace)}/volumes"
        self.http.verb("POST", path, {"name": name}, self.key(), (200, 201))
        seen = self.http.until_definite("GET", f"{path}/{name}")
        if seen.status != 200 or seen.json()["used_by"] is not None:
            raise Failure(f"volume {name}: {seen}")
        self.http.verb("POST", path, {"name": name}, self.key(), (200,))
        self.http.verb("DELETE", f"{path}/{name}", None, None, (200, 404))
        gone = self.http.until_definite("GET", f"{path}/{name}")
        if gone.status != 404:
            raise Failure(f"volume {name} was removed: {gone}")
        self.tally["volumes made and removed"] += 1

    def network(self, session):
        """Its rules as another revision; the answer under a key is one."""
        answer = self.http.verb("PUT", f"{session.path}/network", self.rules(), self.key(), (200, 409))
        if answer.status == 409:
            self.died(session, answer)
            return
        revision, shown = answer.json()["revision"], self.show(session)["network_revision"]
        if revision <= session.revision or shown != revision:
            raise Failure(f"revision {session.revision} of {session.name} was replaced by {revision}, shown is {shown}")
        session.revision = revision
        self.tally["networks replaced"] += 1

    def rules(self):
        return {"egress": "deny"}

    def token(self, _):
        """Made, used over TCP, revoked: worthless at once, and after whatever dies."""
        made = self.http.until_definite("POST", "/v1/tokens", {"workspaces": ["local"], "verbs": ["read"], "lives_ms": 600000})
        if made.status != 201:
            raise Failure(f"no token: {made}")
        mine, text = f"/v1/tokens/{made.json()['token_id']}", made.json()["token"]
        seen = self.http.over_tcp("GET", f"{WORKSPACE}/sessions?limit=1", text)
        if seen.status != 200:
            raise Failure(f"a token that was made is not taken: {seen}")
        if self.http.until_definite("DELETE", mine).status != 200:
            raise Failure("a token that was made could not be revoked")
        after = self.http.over_tcp("GET", f"{WORKSPACE}/sessions?limit=1", text)
        if after.status != 401:
            raise Failure(f"a token that was revoked is taken: {after}")
        self.tally["tokens made, used and revoked"] += 1

    # ---- commands ---------------------------------------------------------------------------------

    def start(self, session, lines, pause=None):
        """None: the session had died."""
        mark = f"m{self.number}-{self.count}"
        command = Exec(mark, lines, pause, self.rng.choice((0, 3)))
        command.key, command.session = self.key(), session
        return command if self.submit(command) else None

    def submit(self, command):
        answer = self.http.verb("POST", f"{command.session.path}/execs", {"argv": command.argv}, command.key, (201, 409),
                                lambda first: self.was_not_started(command, first))
        if command not in command.session.execs:
            command.session.execs.append(command)
        if answer.status == 409:
            self.died(command.session, answer)
            return False
        command.document = answer.json()
        command.path = f"{command.session.path}/execs/{command.document['exec_id']}"
        self.tally["execs"] += 1
        return True

    def was_not_started(self, command, first):
        if first.status != 201:
            return False
        self.tally["keys given back"] += 1
        path = f"{command.session.path}/execs/{first.json()['exec_id']}"
        return self.http.until_definite("GET", path).json().get("reason") == "not_started"

    def exec(self, session):
        command = self.start(session, self.rng.choice((0, 1, 20, 3000)), self.rng.choice((None, None, "0.01")) )
        if command and command.lines == 3000 and "sleep" in command.argv[2]:
            return
        if command:
            if self.rng.random() < 0.5:
                self.follow(command)
            self.settle(session, command)

    def duplicate(self, session):
        """The same request from two connections at the same time is one command."""
        mark = f"d{self.number}-{self.count}"
        command = Exec(mark, 5, None, 0)
        command.key, command.session = self.key(), session
        answers = []

        def other():
            try:
                answers.append(self.http.until_definite("POST", f"{session.path}/execs", {"argv": command.argv}, command.key))
            except Failure as failure:
                answers.append(failure)
        thread = threading.Thread(target=other)
        thread.start()
        done = self.submit(command)
        thread.join()
        if isinstance(answers[0], Failure):
            raise answers[0]
        if done:
            if answers[0].status == 201 and answers[0].json()["exec_id"] != command.document["exec_id"]:
                first = self.http.until_definite("GET", command.path).json()
                second = self.http.until_definite("GET", f"{session.path}/execs/{answers[0].json()['exec_id']}").json()
                if "not_started" not in (first["reason"], second["reason"]):
                    raise Failure(f"one key, two commands: {first} {second}")
                if first["reason"] == "not_started":
                    command.path = f"{session.path}/execs/{second['exec_id']}"
            self.tally["duplicates delivered at once"] += 1
            self.settle(session, command)

    def wait(self, command):
        end = clock() + 180  # commands take as long as the machine makes them
        while clock() < end:
            answer = self.http.until_definite("GET", command.path + "?wait_ms=500")
            if answer.status != 200:
                raise Failure(f"the command {command.path} is gone: {answer}")
            if answer.json()["state"] == "ended":
                return answer.json()
        raise Failure(f"{command.path} has not ended: {answer}")

    def failed_cleanly(self, command, ended):
        if self.tally.killing_children and (ended["reason"], ended["signal"]) == ("signal", 9):
            command.must_not_have_run = True
            self.tally["commands killed before they ran"] += 1
            return True
        if not self.tally.refusing:
            return False
        if ended["reason"] == "start_failed" and ended["error"]["errno"] in (errno.EMFILE, errno.ENOSPC, errno.ENOMEM):
            command.must_not_have_run = True
            self.tally["starts that failed and said so"] += 1
            return True
        if ended["output_truncated"]:
            self.tally["outputs that are not whole and say so"] += 1
        return ended["output_truncated"]

    def settle(self, session, command):
        """Its end, and everything it has said."""
        for _ in range(20):
            ended = self.wait(command)
            if ended["reason"] != "not_started":
                break
            self.tally["not started, sent again"] += 1
            if not self.submit(command):
                return
        if self.failed_cleanly(command, ended):
            return
        if ended["reason"] == "lost":
            document = self.show(session)
            parked = (document["state"], document["reason"]) == ("parked", "died")
            # Frozen, died, resumed: another init lives.
            if not parked and document["incarnation"] <= ended["incarnation"]:
                raise Failure(f"lost, but its session lives: {ended} {document}")
            if parked:
                session.state, session.mode = "parked", "stop"
            self.tally["execs lost with their init"] += 1
            return
        if (ended["reason"], ended["exit_code"]) != ("exit", command.code):
            raise Failure(f"expected exit {command.code}: {ended}")
        command.must_have_run = True
        self.follow(command)
        for stream, expected in (("stdout", command.stdout()), ("stderr", command.stderr())):
            got = self.http.until_definite("GET", f"{command.path}/output?stream={stream}")
            if got.body != expected:
                raise Failure(f"{stream} of {command.path}: {len(got.body)} bytes, expected {len(expected)}")
        self.tally["outputs compared"] += 1

    def follow(self, command):
        """All of its output by seq, over as many connections as it takes (EXEC-2)."""
        collected, last, end, answer = {"stdout": b"", "stderr": b""}, 0, clock() + 60, None
        while clock() < end:
            connection = None
            try:
                headers = {"Last-Event-ID": str(last)} if last else {}
                connection = self.http.open("GET", command.path + "/output?follow=true", headers=headers)
                response = connection.getresponse()
                if response.status != 200:
                    answer = response.read()
                    if response.status in (503, 429):
                        time.sleep(0.01)
                        continue
                    raise Failure(f"output of {command.path}: {response.status}")
                for number, name, data in events_of(response):
                    if name == "exit":
                        ended = json.loads(data)["data"] if "data" in json.loads(data) else json.loads(data)
                        return self.compare(command, collected, ended)
                    if name == "gap" and self.tally.refusing:
                        return None
                    if name == "gap":
                        raise Failure(f"a gap in {command.path}: {data}")
                    if number != last + 1:
                        raise Failure(f"{command.path}: seq {number} after {last}")
                    last, end = number, clock() + 60
                    piece = json.loads(data)
                    collected[piece["stream"]] += (base64.b64decode(piece["data_base64"]) if "data_base64" in piece
                                                   else piece["data"].encode())
                    if self.rng.random() < 0.02:
                        break  # this client leaves and comes back
                self.tally["followers that came back"] += 1
            except BROKEN:
                self.tally["followers that came back"] += 1
                time.sleep(0.01)
            finally:
                if connection:
                    connection.close()
        document = self.http.until_definite("GET", command.path).body
        raise Failure(f"{command.path}: a follower saw no end in 60 s; seq {last}, last refusal {answer}, {document}")

    def compare(self, command, collected, ended):
        if ended.get("reason") not in ("exit", None):
            return
        if collected["stdout"] != command.stdout() or collected["stderr"] != command.stderr():
            raise Failure(f"{command.path}: followed {len(collected['stdout'])} bytes, expected {len(command.stdout())}: {ended}")
        self.tally["followed streams compared"] += 1

    def check_marks(self, session):
        """No command ran twice, none that ended by itself never ran."""
        answer = self.http.until_definite("GET", session.path + "/files?path=/workspace/marks")
        if answer.status not in (200, 404):
            raise Failure(f"marks of {session.name}: {answer}")
        marks = answer.body.decode().split("\n")[:-1] if answer.status == 200 else []
        known = {command.mark: command for command in session.execs}
        for mark in marks:
            if mark not in known:
                raise Failure(f"{session.name}: the mark {mark} belongs to nobody")
        for command in session.execs:
            ran = marks.count(command.mark)
            if ran > 1 or (command.must_have_run and ran != 1) or (command.must_not_have_run and ran != 0):
                raise Failure(f"{session.name}: the command {command.mark} ({command.path}) ran {ran} times")
        self.tally["marks compared"] += len(session.execs)
