"""This file runs one campaign over the real processes of `berth serve`:

    serve.py kill ROUNDS SEED     each round kills each kind of process once, under load
    serve.py wire ROUNDS SEED     the same by clients over TCP (serve_wire.py), and a gateway dies too
    serve.py points 0 SEED        front is killed at every named point
    serve.py hundred ROUNDS SEED  ROUNDS kills while 100 commands print
    serve.py full 0 SEED          its file system is full, then it is not
    serve.py reboot ROUNDS SEED   the host is restarted: nothing is left but the disk
    serve.py seeded 0 SEED        the verdict finds what is done to a service at rest
    serve.py calls ROUNDS SEED    any process is killed before and after each call that changes something;
                                  0: until no new one is met, else at so many, and one in CRASH_ONE_IN only
    serve.py refuse ROUNDS SEED   such calls are refused: EMFILE, ENOSPC, ENOMEM; ROUNDS of each

tests/crash/serve.sh gives it a namespace of processes and mounts of its own, in which it is PID 1:
whatever it starts ends with it. SEED repeats what is asked and whom it kills, not the scheduler.
"""
import mmap
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback

from serve_calls import PROGRAMS, Calls, kill_at_calls, refuse_calls
from serve_client import WORKSPACE, Client, Exec, Session, Tally, path_of
from serve_http import Failure, Http, clock
from serve_reboot import host_is_restarted
from serve_seeded import each_seeded_fault_is_found
from serve_service import EVERY_KIND, Service, kill
from serve_wire import PORT, Canary, WireClient

CLIENTS = 4
POINT_SIZE, POINTS_MAX, POINT_PATIENCE_S = 96, 512, 25


class Gate:
    """Stops all clients between two operations."""

    def __init__(self, clients):
        self.condition = threading.Condition()
        self.closed, self.waiting, self.clients = False, 0, clients

    def pass_through(self):
        with self.condition:
            self.waiting += 1
            self.condition.notify_all()
            while self.closed:
                self.condition.wait()
            self.waiting -= 1

    def leave(self):
        with self.condition:
            self.clients -= 1
            self.condition.notify_all()

    def close(self, patience=150):
        with self.condition:
            self.closed = True
            end = clock() + patience
            while not self.condition.wait_for(lambda: self.waiting >= self.clients, 1.0) and clock() < end:
                pass
            if self.waiting < self.clients:
                raise Failure(f"clients hang: {self.waiting} of {self.clients} are between operations")

    def open(self):
        with self.condition:
            self.closed = False
            self.condition.notify_all()


class Campaign:
    """`programs`: where those of the test lie; what is not there is the shipped one. `over_tcp`: its clients
    have tokens. `gateway`: its sessions have rules."""

    def __init__(self, seed, build, programs="", over_tcp=False, gateway=False):
        self.seed, self.rng, self.tally = seed, random.Random(seed), Tally()
        self.workspaces, self.owner = (("left", "right"), "crash") if over_tcp else (("local",), "uid-0")
        self.base = tempfile.mkdtemp(prefix="berth-crash-")
        os.chmod(self.base, 0o755)
        self.bin = f"{self.base}/bin"
        os.mkdir(self.bin)
        for name in PROGRAMS + (("berth-gateway",) if gateway else ()):
            own = f"{build}/tests/crash/{programs}/{name}"
            shutil.copy(own if programs and os.path.exists(own) else f"{build}/bin/{name}", f"{self.bin}/{name}")
        self.calls, self.last_points = None, []
        if programs == "calls":
            self.calls = Calls(self.bin, int(os.environ.get("CRASH_ONE_IN", "1")), seed)
        os.mkdir(f"{self.base}/state", 0o700)
        self.directories = f"{self.base}/directories"
        os.mkdir(self.directories, 0o755)
        self.http = Http(f"{self.base}/run/berth.sock", self.tally, PORT if over_tcp else 0)
        self.service = Service(self.base, self.bin, self.http)
        self.stop, self.threads, self.clients = threading.Event(), [], []
        self.gate, self.mounts = None, None

    def begin_clients(self, count):
        self.begin(count, lambda i: Client(i, self.http, self.tally, self.seed, self.gate, directories=self.directories))

    def begin(self, count, make):
        self.gate = Gate(count)
        self.clients = [make(i) for i in range(count)]
        self.threads = [threading.Thread(target=client.run, args=(self.stop,), daemon=True) for client in self.clients]
        for thread in self.threads:
            thread.start()

    def look_at_clients(self):
        for client in self.clients:
            if client.failure:
                raise client.failure

    def check(self):
        """All clients between two operations: ledger, kernel, disk and models say the same."""
        self.gate.close()
        self.look_at_clients()
        self.compare([s for client in self.clients for s in client.sessions])
        self.gate.open()

    def compare(self, sessions, patience=15.0):
        end, wrong = clock() + patience, None
        while True:
            self.service.wait_healthy()
            wrong = self.differences(sessions)
            if not wrong:
                self.tally["comparisons of ledger, kernel, disk and models"] += 1
                return
            if clock() > end:
                raise Failure("ledger, kernel and models differ: " + "; ".join(wrong))
            time.sleep(0.05)

    def listed(self):
        return [row for workspace in self.workspaces for row in self.listed_in(workspace)]

    def listed_in(self, workspace):
        rows, after = [], ""
        while True:
            page = self.http.until_definite("GET", f"{path_of(workspace)}/sessions?limit=7{after}").json()
            rows += page["sessions"]
            if not page["next"]:
                break
            after = f"&after={page['next']}"
        if any(row["workspace_id"] != workspace for row in rows):
            raise Failure(f"sessions of another workspace are listed in {workspace}")
        return rows

    def volumes_on_disk(self):
        tops = [(w, f"{self.service.state}/volumes/{w}") for w in self.workspaces]
        return {(w, name) for w, top in tops if os.path.isdir(top) for name in os.listdir(top)}

    def differences(self, sessions):
        wrong, rows = [], {}
        for row in self.listed():
            if (row["workspace_id"], row["session_id"]) in rows:
                wrong.append(f"{row['session_id']} is listed twice")
            rows[row["workspace_id"], row["session_id"]] = row
        for session in sessions:
            row = rows.get((session.workspace, session.name))
            state = (row["state"], row["mode"]) if row else ("absent", None)
            if session.state in ("running", "parked") and state == ("parked", "stop") and row["reason"] == "died":
                session.state, session.mode = "parked", "stop"
            if session.state == "absent" and state[0] in ("absent", "destroyed", "failed"):
                continue
            if state != (session.state, session.mode):
                wrong.append(f"{session.path}: model {session.state}/{session.mode}, ledger {state}")
        live = [row for row in rows.values() if row["state"] == "running" or row["mode"] == "freeze"]
        kept = [row for row in rows.values() if row["state"] not in ("destroyed", "failed")]
        found, strangers = self.service.kernel()
        for kind, names in found.items():
            if sorted(name.split("-")[1] for name in names) != sorted(str(row["incarnation"]) for row in live):
                wrong.append(f"{kind}: {sorted(names)}, live {[(r['session_id'], r['incarnation']) for r in live]}")
            if names != found["cgroup"]:
                wrong.append(f"{kind} {sorted(names)} but cgroups {sorted(found['cgroup'])}")
        wrong += [f"a process that nobody owns: {process}" for process in strangers]
        self.mounts = self.mounts or self.service.mounts()
        if self.service.mounts() != self.mounts:
            wrong.append(f"mounts: {set(self.service.mounts()) ^ set(self.mounts)}")
        told = self.http.until_definite("GET", f"/v1/resources?owner={self.owner}").json()
        if {entry["name"] for entry in told["kernel"]} != found["cgroup"]:
            wrong.append(f"resources says {told['kernel']}, there are {sorted(found['cgroup'])}")
        on_disk = self.volumes_on_disk()
        in_volumes = {(row["workspace_id"], row["session_id"]) for row in kept
                      if row["workspace"]["persistence"]["kind"] == "volume"}
        if on_disk != in_volumes or sorted(n for _, n in on_disk) != sorted(v["name"] for v in told["volumes"]):
            wrong.append(f"volumes on disk {sorted(on_disk)}, told {told['volumes']}, sessions {sorted(in_volumes)}")
        spools = os.listdir(f"{self.service.state}/spool")
        if len(spools) > len(kept):
            wrong.append(f"spools of {spools}, sessions {len(kept)}")
        return wrong

    def end(self):
        """Everything is destroyed, and nothing is there."""
        self.stop.set()
        if self.gate:
            self.gate.open()
        for thread in self.threads:
            thread.join(150)
            if thread.is_alive():
                raise Failure("a client hangs")
        self.look_at_clients()
        sessions = [s for client in self.clients for s in client.sessions]
        self.compare(sessions)
        for client in self.clients:
            for session in client.sessions:
                if session.state != "absent":
                    client.destroy(session)
        for row in self.listed():
            if row["state"] not in ("destroyed", "failed"):
                path = f"{path_of(row['workspace_id'])}/sessions/{row['session_id']}"
                self.http.verb("DELETE", f"{path}?delete_volume=true", None, None, (200,))
        self.compare(sessions)
        found, _ = self.service.kernel()
        if any(found.values()) or os.listdir(f"{self.service.state}/spool"):
            raise Failure(f"left at the end: {found} {os.listdir(self.service.state + '/spool')}")
        for name in os.listdir(self.directories):
            left = set(os.listdir(f"{self.directories}/{name}")) - {"marks", "f0", "f1", "f2"}
            if left:
                raise Failure(f"left in a directory that was a workspace: {left}")
        self.service.stop()
        self.check_ledger()

    def check_ledger(self):
        """What rows say when nothing lives and nobody asks."""
        ledger = sqlite3.connect(f"{self.service.state}/ledger/ledger")
        for question, right in (("PRAGMA integrity_check", "ok"), ("PRAGMA foreign_key_check", None),
                                *((f"SELECT count(*) FROM {table}", 0)
                                  for table in ("intents", "volumes", "volume_uses", "uid_ranges", "timers")),
                                ("SELECT count(*) FROM (SELECT 1 FROM execs GROUP BY session, ord HAVING count(*) > 1)", 0),
                                ("SELECT count(*) FROM (SELECT session, count(*) n, min(seq) low, max(seq) high FROM events "
                                 "GROUP BY session) WHERE n != high - low + 1", 0)):
            row = ledger.execute(question).fetchone()
            if right is not None and (not row or row[0] != right) or question.endswith("foreign_key_check") and row:
                raise Failure(f"the ledger at the end: {question}: {row}")
        ledger.close()

    def close(self):
        self.service.remove_leftovers()
        if os.environ.get("CRASH_KEEP"):
            print(f"# kept: {self.base}")
            return
        for mounted in (self.service.state, f"{self.base}/proc"):
            if os.path.ismount(mounted):
                subprocess.run(["umount", "-l", mounted], check=True)
        shutil.rmtree(self.base)

    def summary(self):
        kills = ", ".join(f"{kind} {count}" for kind, count in self.service.kills.items() if count)
        print(f"kills: {kills or 'none'}; " + "; ".join(f"{k}: {self.tally[k]}" for k in sorted(self.tally)), flush=True)


# ---- campaigns -------------------------------------------------------------------------------------


def kill_at_random(campaign, rounds):
    campaign.service.start()
    campaign.begin(CLIENTS, lambda i: LoadClient(i, campaign.http, campaign.tally, campaign.seed, campaign.gate,
                                                 directories=campaign.directories))
    kill_each(campaign, rounds, EVERY_KIND)


def kill_over_tcp(campaign, rounds):
    """Two workspaces with the same names and the same keys, and a token for each client."""
    campaign.service.start()
    canary = Canary(campaign.tally)
    Exec.forbidden = canary.attempt()
    campaign.begin(CLIENTS, lambda i: WireClient(i, campaign, campaign.workspaces))
    kill_each(campaign, rounds, EVERY_KIND)
    if campaign.tally["tokens made, used and revoked"] == 0 or campaign.tally["refused in another workspace"] == 0:
        raise Failure("no token was changed, or nobody asked for another workspace: too few rounds")


class LoadClient(Client):
    """One that has what every kind of process is there for: files, and rules that a gateway keeps."""

    def more(self):
        return self.write, self.write

    def rules(self):
        return self.rng.choice((super().rules(), {"egress": "public-only"}))


def kill_each(campaign, rounds, every):
    """All that differs is compared at the end of a round; of a long run at the end of every few, else most of it is waiting.
    CRASH_SECONDS ends it earlier, with as many kills of each kind as there were."""
    service, rng = campaign.service, campaign.rng
    each, done, until = 1 if rounds < 500 else 4, 0, time.monotonic() + float(os.environ.get("CRASH_SECONDS", "1e9"))
    while done < rounds and time.monotonic() < until:
        done += 1
        kinds = list(every)
        rng.shuffle(kinds)
        for kind in kinds:
            time.sleep(rng.choice((0, rng.uniform(0, 0.15))))
            end = clock() + 30
            while not service.kill_one(kind, rng) and clock() < end:
                campaign.look_at_clients()
                time.sleep(0.002)
            campaign.look_at_clients()
        if done % each == 0:
            campaign.check()
    campaign.end()
    print(f"rounds: {done} of {rounds}, each with one kill of {', '.join(every)}")
    if campaign.tally["execs lost with their init"] > service.kills["init"]:
        raise Failure(f"{campaign.tally['execs lost with their init']} execs were lost, {service.kills['init']} inits killed")
    missed = [kind for kind in every if service.kills[kind] < done]
    if missed:
        raise Failure(f"fewer kills than rounds: {missed}")


def points_of(sources):
    """The names that the tables in the sources make."""
    def words(path, table):
        with open(f"{sources}/{path}") as file:
            text = re.sub(r"/\*.*?\*/", "", file.read().replace("\\\n", " "), flags=re.S)
        line = next(line for line in text.split("\n") if line.startswith(f"#define {table}(X)"))
        return re.findall(r'"([a-z_]+)"', line)
    steps = words("provider/failpoint.h", "FAILPOINT_LEDGER_STEPS")
    points = [f"ledger.{op}.{step}" for op in words("provider/ledger_ops.h", "LEDGER_OPS") for step in steps]
    return points + [f"effect.{effect}.{step}" for effect in words("provider/session_state.h", "SESSION_EFFECTS")
                     for step in ("before", "after")]


def unused_points(sources):
    """Rows of the tables that nothing in the service carries out: tests/crash/ledger.c has those of the ledger."""
    text = ""
    for name in os.listdir(f"{sources}/provider"):
        if name.endswith(".c"):
            with open(f"{sources}/provider/{name}") as file:
                text += file.read()
    with open(f"{sources}/provider/ledger_ops.h") as file:
        operations = re.findall(r'X\(([A-Z_]+), "([a-z_]+)"', file.read())
    unused = {f"ledger.{name}." for symbol, name in operations if not re.search(rf"LEDGER_OP_{symbol}\b", text)}
    effects = re.search(r"((?:\s*case SESSION_EFFECT_[A-Z_]+:)+) /\* no verb has these", text)
    return unused | {f"effect.{name.lower()}." for name in re.findall(r"SESSION_EFFECT_([A-Z_]+):", effects[1])}


class Points:
    """The file beside the front of the test."""

    def __init__(self, directory):
        with open(f"{directory}/points", "w+b") as file:
            os.fchmod(file.fileno(), 0o666)
            file.truncate(POINT_SIZE * (POINTS_MAX + 1))
            self.map = mmap.mmap(file.fileno(), POINT_SIZE * (POINTS_MAX + 1))

    def arm(self, armed):
        self.map[0] = armed

    def killed_at(self):
        raw = self.map[POINT_SIZE:]
        return {raw[i:i + POINT_SIZE].rstrip(b"\0").decode() for i in range(0, len(raw), POINT_SIZE)} - {""}


def kill_at_points(campaign, rounds):
    """Whoever meets a point first dies there: no point is waited for, and none is met twice."""
    service, every, unused = campaign.service, points_of("."), unused_points(".")
    table = {point for point in every if not point.startswith(tuple(unused))}
    points = Points(campaign.bin)
    service.start()
    campaign.begin_clients(CLIENTS)
    points.arm(1)
    seen, restarted, checked, since = 0, 0, 0, clock()
    while table - points.killed_at() and clock() < since + POINT_PATIENCE_S:
        campaign.look_at_clients()
        time.sleep(0.02)
        count = len(points.killed_at())
        if count > seen:
            seen, since = count, clock()
        if any("session_lost" in point for point in table - points.killed_at()) and clock() > since + 0.5:
            inits = service.inits()
            service.kills["init"] += bool(inits) and kill(campaign.rng.choice(inits))
        if count - restarted >= 3:  # front's own pause between two lives grows; a new supervisor's does not
            restarted = count
            service.kill_one("supervisor", campaign.rng)
        if count - checked >= 10:
            checked = count
            points.arm(0)
            service.wait_healthy()
            campaign.check()
            points.arm(1)
            since = clock()
    points.arm(0)
    service.wait_healthy()
    campaign.check()
    campaign.end()
    service.kills["front"] += len(points.killed_at())
    print(f"points: {len(every)} in the tables, of them in the service {len(table)}, killed at {len(points.killed_at())}")
    if table != points.killed_at():
        raise Failure(f"missed: {sorted(table - points.killed_at())}; in no list: {sorted(points.killed_at() - table)}")


def kill_while_hundred_print(campaign, rounds):
    service, failures = campaign.service, []
    service.start()
    client = Client(0, campaign.http, campaign.tally, campaign.seed, Gate(1), names=4)
    campaign.clients, campaign.gate = [client], client.gate
    for session in client.sessions:
        client.create(session)

    def one(number):
        own = Client(number + 1, campaign.http, campaign.tally, campaign.seed, client.gate, names=0)
        command = Exec(f"h{number}", 150, "0.05", 3)
        command.key, command.session = f"h{number}", client.sessions[number % len(client.sessions)]
        try:
            for _ in range(10):
                own.submit(command)
                own.follow(command)
                if own.wait(command)["reason"] != "not_started":
                    break
            own.settle(command.session, command)
        except Exception as failure:
            failures.append(failure)

    threads = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(100)]
    for thread in threads:
        thread.start()
    time.sleep(1.5)
    for count in range(rounds):
        service.kill_one(("front", "all", "launcher", "supervisor")[count % 4], campaign.rng)
        time.sleep(campaign.rng.uniform(0, 0.6))
    for thread in threads:
        thread.join(600)
    if failures or any(thread.is_alive() for thread in threads):
        raise failures[0] if failures else Failure("a follower hangs")
    if campaign.tally["outputs compared"] != 100:
        raise Failure(f"of 100 commands {campaign.tally['outputs compared']} were compared")
    campaign.end()


def fill(path):
    """Until nothing more goes in, in pieces that get smaller."""
    with open(path, "wb", buffering=0) as file:
        for size in (1 << 20, 1 << 16, 4096, 512):
            while True:
                try:
                    file.write(b"x" * size)
                except OSError:
                    break


def full_file_system(campaign, rounds):
    service, http = campaign.service, campaign.http
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "crash", service.state], check=True)
    service.start()
    client = Client(0, http, campaign.tally, campaign.seed, Gate(1), names=2)
    campaign.clients, campaign.gate = [client], client.gate
    session, other = client.sessions
    client.create(session)
    long = {"argv": ["sh", "-c", "i=0; while [ ! -e /tmp/stop ]; do i=$((i+1)); sleep 0.1; done; exit 7"]}
    running = http.verb("POST", f"{session.path}/execs", long, "long", (201,)).json()
    fill(f"{service.state}/filler")
    refused = 0
    for number in range(20):
        for method, path, body in (("POST", f"{WORKSPACE}/sessions", {"session_id": f"f{number}", "policy": "balanced"}),
                                   ("POST", f"{session.path}/execs", {"argv": ["true"]})):
            answer = http.once(method, path, body, f"full{number}{path[-5:]}")
            if answer.status == 507 and answer.code() == "insufficient_storage":
                refused += 1
            elif number >= 5:
                raise Failure(f"the disk is full, but {method} {path}: {answer}")
            time.sleep(0.02)
    document = http.until_definite("GET", f"{session.path}/execs/{running['exec_id']}").json()
    if document["state"] != "running":
        raise Failure(f"the disk is full, and a running command has ended: {document}")
    if not service.inits():
        raise Failure("the disk is full, and the session is gone")
    os.remove(f"{service.state}/filler")
    deadline = clock() + 15
    while clock() < deadline:
        answer = http.once("POST", f"{session.path}/execs", {"argv": ["touch", "/tmp/stop"]}, "after")
        if answer.status == 201:
            break
        time.sleep(0.1)
    if answer.status != 201:
        raise Failure(f"there is space again, but {answer}")
    end = http.until_definite("GET", f"{session.path}/execs/{running['exec_id']}?wait_ms=10000").json()
    if (end["reason"], end["exit_code"]) != ("exit", 7):
        raise Failure(f"what ran through it has not ended as it did: {end}")
    for number in range(20):  # what was refused never happened
        if http.until_definite("GET", f"{WORKSPACE}/sessions/f{number}").status == 200:
            state = http.until_definite("GET", f"{WORKSPACE}/sessions/f{number}").json()["state"]
            if state not in ("failed", "destroyed"):
                http.verb("DELETE", f"{WORKSPACE}/sessions/f{number}?delete_volume=true", None, None, (200,))
                campaign.tally["created before it was full"] += 1
    client.create(other)
    client.exec(other)
    print(f"refused with insufficient_storage: {refused}")
    campaign.end()


CAMPAIGNS = {
    "kill": (kill_at_random, "killed_at_random_instants"),
    "wire": (kill_over_tcp, "killed_under_clients_over_tcp"),
    "points": (kill_at_points, "killed_at_every_fail_point"),
    "hundred": (kill_while_hundred_print, "restarted_while_a_hundred_commands_print"),
    "full": (full_file_system, "a_full_file_system_refuses_and_recovers"),
    "calls": (kill_at_calls, "killed_at_every_call_that_changes_something"),
    "seeded": (each_seeded_fault_is_found, "each_seeded_fault_is_found"),
    "reboot": (host_is_restarted, "SES_2_is_whole_after_restarts_of_the_host"),
    "refuse": (refuse_calls, "lives_when_any_call_is_refused"),
}


def ended_from_outside(*_):
    raise Failure("ended from outside")


def main():
    which, rounds, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    build = os.environ.get("BUILD", "build")
    random.seed(seed)
    function, name = CAMPAIGNS[which]
    campaign = Campaign(seed, build, {"points": ".", "calls": "calls", "refuse": "calls"}.get(which, ""), which == "wire",
                        which in ("wire", "kill"))
    status = 1
    signal.signal(signal.SIGTERM, ended_from_outside)
    try:
        function(campaign, rounds)
        if campaign.tally.faults:
            raise Failure("; ".join(campaign.tally.faults[:5]))
        status = 0
    except Exception:
        traceback.print_exc(file=sys.stdout)
        try:
            print("# the service's last words:\n" + campaign.service.last_words())
            for point in campaign.last_points:
                print("# of the last points:", *point)
        except OSError:
            pass
    campaign.summary()
    campaign.close()
    print(f"{'not ok' if status else 'ok'} serve_{name}", flush=True)
    os._exit(status)  # clients that hang are no reason to


if __name__ == "__main__":
    main()
