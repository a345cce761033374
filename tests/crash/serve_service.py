"""This file starts, kills and looks at one `berth serve` in a namespace of processes of its own, where
each process that is seen is the campaign's; it never asks the service what it is doing.
"""
import glob
import os
import re
import signal
import sys
import threading
import time

from serve_http import BROKEN, Failure, clock

EVERY_KIND = ("front", "launcher", "worker", "supervisor", "all", "init", "late", "gateway", "files")


def title_of(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().rstrip(b"\0").decode(errors="replace")
    except OSError:
        return ""


def children_of(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def is_first(pid):
    try:
        with open(f"/proc/{pid}/status") as file:
            return any(line.startswith("NSpid:") and line.split()[-1] == "1" for line in file)
    except OSError:
        return False


def kill(pid):
    """True when it was there. No other process can have its number: only this one reaps."""
    try:
        os.kill(pid, signal.SIGKILL)
        return True
    except ProcessLookupError:
        return False


class Service:
    def __init__(self, base, binaries, http):
        self.base, self.binaries, self.http = base, binaries, http
        self.state, self.runtime = f"{base}/state", f"{base}/run"
        self.supervisor = self.dying = 0
        self.dead = set()
        self.kills = dict.fromkeys(EVERY_KIND, 0)
        threading.Thread(target=self.reap, daemon=True).start()

    def reap(self):
        """This process is PID 1 here: whoever lost its parent is its child."""
        while True:
            try:
                pid, _ = os.waitpid(-1, 0)
                self.dead.add(pid)
            except ChildProcessError:
                time.sleep(0.005)

    def begin(self):
        self.dead.clear()  # before: it may have died when fork() returns
        self.supervisor = os.fork()
        if self.supervisor == 0:
            self.become_service()

    def start(self):
        for _ in range(50):
            self.begin()
            end = clock() + 30
            while clock() < end and self.supervisor not in self.dead:
                # Its own front: one that lost its supervisor answers for another moment.
                if any(title_of(child) == "berth: front" for child in children_of(self.supervisor)) and self.health():
                    return
                time.sleep(0.003)
            if self.supervisor not in self.dead:
                raise Failure(f"the service is not healthy after 30 s: {self.last_words()}")
            time.sleep(0.05)
        raise Failure(f"the service cannot be started: {self.last_words()}")

    def become_service(self):
        log = os.open(f"{self.base}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.execve(f"{self.binaries}/berth", ["berth", "serve", "--listen", f"127.0.0.1:{self.http.port}"],
                  {"BERTH_STATE_DIR": self.state, "BERTH_RUNTIME_DIR": self.runtime, "PATH": os.environ["PATH"]})

    def last_words(self):
        """The end of the log without its noise, and where each process is."""
        with open(f"{self.base}/log", errors="replace") as log:
            lines = [line for line in log if '"event":"request"' not in line and "still looking" not in line]
        for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
            try:
                with open(f"/proc/{pid}/wchan") as wait, open(f"/proc/{pid}/stat") as stat, open(f"/proc/{pid}/cgroup") as group:
                    mark = group.read().strip().rsplit("/", 1)
                    lines.append(f"# {pid} parent {stat.read().rsplit(')', 1)[1].split()[1]} {title_of(pid)[:60]!r} waits in {wait.read()} {mark[-1]}\n")
            except OSError:
                continue
        internal = [line for line in lines[:-60] if '"code":"internal"' in line]
        return "".join(internal[-20:] + lines[-60:])

    def health(self):
        try:
            answer = self.http.once("GET", "/v1/health", timeout=5.0)
            return answer.status == 200 and not answer.json()["recovering"] and answer.json()["launcher"] == "ok"
        except BROKEN:
            return False

    def wait_healthy(self, patience=30.0):
        end = clock() + patience
        while not self.health():
            if self.supervisor in self.dead:
                raise Failure(f"the supervisor has ended by itself: {self.last_words()}")
            if clock() > end:
                raise Failure(f"the service has not come back in {patience} s: {self.last_words()}")
            time.sleep(0.005)

    def stop(self):
        if self.supervisor and self.supervisor not in self.dead:
            os.kill(self.supervisor, signal.SIGTERM)
            end = clock() + 20
            while self.supervisor not in self.dead:
                if clock() > end:
                    raise Failure("SIGTERM has not ended the service in 20 s")
                time.sleep(0.01)

    # ---- who is there -------------------------------------------------------------------------

    def roles(self):
        """Supervisor, launcher, front, gateway, workers, what the launcher keeps ready, by their parents."""
        found = {"supervisor": [self.supervisor], "launcher": [], "front": [], "gateway": [], "worker": [], "ready": []}
        for child in children_of(self.supervisor):
            title = title_of(child)
            if title in ("berth: launcher", "berth: front", "berth: gateway"):
                found[title[7:]].append(child)
        for launcher in found["launcher"]:
            children = [(child, title_of(child)) for child in children_of(launcher)]
            found["worker"] += [c for c, title in children if title in ("berth: worker", "berth: launcher")]
            found["ready"] += [c for c, title in children if title in ("berth: spare", "berth: network")]
        # What one that prepares has begun.
        found["ready"] += [child for spare in found["ready"] for child in children_of(spare)]
        return found

    def inits(self):
        """By their number inside: a command that was not executed yet has init's title."""
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        return [pid for pid in pids if title_of(pid) == "berth: init" and is_first(pid)]

    def kill_files(self, rng, patience=2.0):
        """A file worker inside a session: it lives for one operation."""
        end = clock() + patience
        while clock() < end:
            for name in os.listdir("/proc"):
                if name.isdigit() and title_of(name).startswith("berth-files\0"):
                    time.sleep(rng.choice((0, 0, rng.uniform(0, 0.01))))
                    if title_of(name).startswith("berth-files\0"):
                        return kill(int(name))
        return False

    def kill_worker(self, rng, patience=2.0):
        end = clock() + patience
        while clock() < end:
            workers = self.roles()["worker"]
            if workers:
                victim = rng.choice(workers)
                time.sleep(rng.choice((0, 0, rng.uniform(0, 0.03))))
                if victim not in self.dead and title_of(victim) in ("berth: worker", "berth: launcher"):
                    return kill(victim)
        return False

    def leave_late(self, rng):
        """Front dies, alone or with all, while a worker stands still: it goes on when its successors are at work."""
        workers = self.roles()["worker"]
        if not workers:
            return False
        late = rng.choice(workers)
        try:
            os.kill(late, signal.SIGSTOP)
        except ProcessLookupError:
            return False
        roles = self.roles()
        self.dying = self.supervisor if rng.random() < 0.5 else 0
        for pid in roles["front"] + (roles["launcher"] + [self.supervisor] if self.dying else []):
            kill(pid)

        def go_on():
            try:
                os.kill(late, signal.SIGCONT)
            except ProcessLookupError:
                pass
        threading.Timer(rng.uniform(0.2, 0.8), go_on).start()
        return True

    def kill_one(self, kind, rng):
        """Kills, starts again what nobody else does, waits until it serves. False: nobody to kill."""
        if kind == "worker":
            done = self.kill_worker(rng)
        elif kind == "files":
            done = self.kill_files(rng)
        elif kind == "late":
            done = self.leave_late(rng)
        elif kind == "init":
            inits = self.inits()
            done = bool(inits) and kill(rng.choice(inits))
        elif kind == "all":
            roles = self.roles()
            pids = [pid for group in roles.values() for pid in group]
            rng.shuffle(pids)
            for pid in pids:
                kill(pid)
            done = True
        else:
            pids = self.roles()[kind]
            done = any([kill(pid) for pid in pids])
        if done:
            self.kills[kind] += 1
        if kind in ("supervisor", "all") or (kind == "late" and done and self.dying):
            while self.supervisor not in self.dead:
                time.sleep(0.001)
            time.sleep(rng.choice((0, rng.uniform(0, 0.1))))
            self.start()
        else:
            self.wait_healthy()
        return done

    # ---- what the kernel and the disk hold ------------------------------------------------------

    def instance(self):
        with open(f"{self.state}/instance") as file:
            return file.read().strip()[:16]

    def kernel(self):
        """Kind of object -> names `<row>-<incarnation>`; and processes that nobody owns."""
        mark = f"run-{self.instance()}-"
        groups = glob.glob(f"/sys/fs/cgroup/berth/{mark}*") + glob.glob(f"/sys/fs/cgroup/*/berth/{mark}*")
        found = {"cgroup": {path.rsplit(mark, 1)[1] for path in groups},
                 "socket": {name.split("-", 1)[1] for name in os.listdir(f"{self.runtime}/sessions")},
                 "record": {name.split("-", 1)[1] for name in os.listdir(f"{self.runtime}/runs")},
                 "use": {path.rsplit(f"s-{self.instance()}-", 1)[1]
                         for path in glob.glob(f"/run/berth-share/*/s-{self.instance()}-*")},
                 "process": set()}
        owned = {pid for group in self.roles().values() for pid in group} | {1, os.getpid()}
        strangers = []
        for name in os.listdir("/proc"):
            if not name.isdigit() or int(name) in owned:
                continue
            try:
                with open(f"/proc/{name}/cgroup") as file:
                    where = re.search(re.escape(mark) + r"([0-9a-f]+-[0-9]+)", file.read())
                with open(f"/proc/{name}/stat") as file:
                    letter = file.read().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if letter in "ZX":
                continue
            if where:
                found["process"].add(where[1])
            else:
                strangers.append(f"{name} {title_of(name)}")
        return found, strangers

    def mounts(self):
        with open("/proc/self/mountinfo") as file:
            return sorted(line.split(" - ")[0].split()[4] for line in file)

    def remove_leftovers(self):
        """Only after a failure: what its service has not taken away."""
        for pid in [int(name) for name in os.listdir("/proc") if name.isdigit()]:
            if pid != os.getpid():
                kill(pid)
        time.sleep(0.3)
        mark = f"run-{self.instance()}-"
        for pattern in (f"/sys/fs/cgroup/berth/{mark}*", f"/sys/fs/cgroup/*/berth/{mark}*"):
            for top in glob.glob(pattern):
                for path, _, _ in os.walk(top, topdown=False):
                    try:
                        os.rmdir(path)
                    except OSError as error:
                        print(f"# left: {path}: {error}", file=sys.stderr)
