"""This file stops processes of the service at calls of the C library (serve_calls.c), one point after
another, and names the points by what the programs say of themselves; it never knows a list of them.
"""
import errno
import mmap
import os
import re
import struct
import subprocess
import time

from serve_http import Failure, clock
from serve_service import kill

POINTS_MAX = 16384
ORDER, SIZE = 16, 16 + 2 * 8 * POINTS_MAX
PROGRAMS = ("berth", "berth-init", "berth-files", "berth-front")
PHASES = ("before", "after", "ENOSPC", "EMFILE", "ENOMEM")
ROLES = {0: "main", 1: "probe", 2: "launcher", 3: "stage", 4: "child"}
REQUESTS = ("", "launch", "end", "freeze", "thaw", "look", "list", "sample", "files", "volume_remove",
            "volume_measure", "network", "ports", "cancel")


def role_name(program, role):
    if program == 0 and role >= 8:
        return f"worker.{REQUESTS[(role - 8) % 32]}{'.cleaning' if role >= 40 else ''}"
    if role == 0:
        return ("supervisor", "init", "files", "front")[program]
    return ROLES[role]


class Places:
    """Return address -> function and call, of one program."""

    def __init__(self, path):
        self.names = {}
        code = subprocess.run(["objdump", "-d", "--no-show-raw-insn", path], check=True, capture_output=True, text=True).stdout
        function, pending, counts = "", None, {}
        for line in code.split("\n"):
            start = re.match(r"^([0-9a-f]+) <(.*)>:$", line)
            if start:
                function, pending, counts = start[2], None, {}
                continue
            here = re.match(r"^ *([0-9a-f]+):", line)
            if not here:
                continue
            if pending:
                self.names[int(here[1], 16)] = pending
                pending = None
            call = re.search(r"\bcall\s+[0-9a-f]+ <([^>+]*)>", line)
            if call:
                wrapped = call[1].removeprefix("__wrap_")
                counts[wrapped] = counts.get(wrapped, 0) + 1
                pending = f"{function}:{wrapped}#{counts[wrapped]}"

    def name(self, place):
        return self.names.get(place, f"{place:x}")


class Calls:
    """The file beside the programs."""

    def __init__(self, directory, one_in, seed):
        with open(f"{directory}/calls", "w+b") as file:
            os.fchmod(file.fileno(), 0o666)
            file.truncate(SIZE)
            self.map = mmap.mmap(file.fileno(), SIZE)
        struct.pack_into("II", self.map, 4, one_in, seed & 0xffff)
        self.places = [Places(f"{directory}/{program}") for program in PROGRAMS]

    def arm(self, what):
        struct.pack_into("i", self.map, 0, what)

    def is_armed(self):
        return struct.unpack_from("i", self.map, 0)[0] != 0

    def count(self):
        return struct.unpack_from("I", self.map, 12)[0]

    def point(self, i):
        key = struct.unpack_from("Q", self.map, ORDER + 8 * i)[0]
        place, phase, role, program = key & 0xffffffff, key >> 32 & 15, key >> 36 & 255, (key >> 44) - 1
        return role_name(program, role), self.places[program].name(place), PHASES[phase]

    def points(self):
        return [self.point(i) for i in range(self.count())]


# ---- what makes the service do everything -----------------------------------------------------------


def heal(service, patience=40.0):
    end = clock() + patience
    while not service.health():
        if service.supervisor in service.dead:
            service.start()
        if clock() > end:
            raise Failure(f"the service has not come back in {patience} s: {service.last_words()}")
        time.sleep(0.003)


def provoke(service, rng, number):
    """Something that clients do not do: a start, a recovery, a session that dies."""
    who = ("front", "launcher", "supervisor", "init", "worker", "all")[number % 6]
    roles = service.roles()
    if who == "init":
        pids = service.inits()[:1]
    elif who == "all":
        pids = [pid for group in roles.values() for pid in group]
    else:
        pids = roles[who]
    for pid in pids:
        kill(pid)
    service.kills[who] += bool(pids)


def stop_at_calls(campaign, what, rounds, begin_clients, check_every=20):
    """Arms `what` again and again, until nobody meets a new point any more, or `rounds` were met."""
    service, calls = campaign.service, campaign.calls
    service.start()
    begin_clients()
    met = quiet = 0
    provoked = 0
    while met < rounds and quiet < 36:
        campaign.look_at_clients()
        calls.arm(what)
        end = clock() + 0.25
        while calls.is_armed() and clock() < end:
            time.sleep(0.002)
        if calls.is_armed():  # clients alone meet nothing new
            provoke(service, campaign.rng, provoked)
            provoked += 1
            end = clock() + 0.5
            while calls.is_armed() and clock() < end:
                if service.supervisor in service.dead:
                    heal(service)
                time.sleep(0.002)
        quiet = quiet + 1 if calls.is_armed() else 0
        calls.arm(0)
        if calls.count() > met:
            campaign.last_points = [calls.point(i) for i in range(max(0, calls.count() - 5), calls.count())]
        heal(service)
        # The pause between two lives of a child grows; a new supervisor's does not.
        if calls.count() // 3 > met // 3:
            service.kill_one("supervisor", campaign.rng)
        if calls.count() // check_every > met // check_every:
            campaign.check()
        met = calls.count()
    calls.arm(0)
    heal(service)
    campaign.check()


def tell(campaign, stopped):
    """How many points of each kind of process."""
    counts = {}
    for role, _, phase in campaign.calls.points():
        counts[(role, phase)] = counts.get((role, phase), 0) + 1
    roles = sorted({role for role, _ in counts})
    print(f"{stopped} at {campaign.calls.count()} points: " + "; ".join(
        f"{role} {'+'.join(str(counts[(role, phase)]) for phase in PHASES if (role, phase) in counts)}" for role in roles))
    if os.environ.get("CRASH_POINTS"):
        for point in campaign.calls.points():
            print("#", *point)


# What each of these certainly does: when it is not met, this test is about something else. By the call alone:
# which function it stands in is the compiler's choice.
MUST_MEET = {
    "worker.launch": ("openat", "flock", "fcntl", "mkdirat", "renameat", "fchown", "fsync", "syscall", "sendmsg"),
    "worker.end": ("fcntl", "flock", "unlinkat", "sendmsg"),
    "worker.freeze": ("write", "sendmsg"),
    "worker.thaw": ("write", "sendmsg"),
    "worker.volume_remove": ("flock", "renameat", "unlinkat", "sendmsg"),
    "worker.files": ("sendmsg",),
    "stage": ("mount", "unshare", "setns", "bind", "mkdirat", "setresuid", "syscall"),
    "launcher": ("fork", "send"),
    "supervisor": ("fork", "flock", "bind", "listen", "sendmsg"),
    "init": ("syscall", "mkdirat", "unlinkat", "writev", "pwritev"),
    "child": ("setresuid",),
    "files": ("write",),
    "front": ("sendmsg",),
}


def missed(points):
    met = {(role, place.split(":")[-1].split("#")[0]) for role, place, _ in points}
    return [f"{role}: {name}" for role, names in MUST_MEET.items() for name in names if (role, name) not in met]


def kill_at_calls(campaign, rounds):
    campaign.tally.killing_children = True
    stop_at_calls(campaign, 1, rounds or POINTS_MAX, lambda: campaign.begin_clients(4))
    campaign.end()
    tell(campaign, "killed")
    children = sum(role in ("child", "init") for role, _, _ in campaign.calls.points())
    if campaign.tally["commands killed before they ran"] > children:
        raise Failure(f"{campaign.tally['commands killed before they ran']} commands died of SIGKILL, {children} were killed")
    if not rounds and missed(campaign.calls.points()):
        raise Failure(f"never met: {missed(campaign.calls.points())}")


def refuse_calls(campaign, rounds):
    begun, campaign.tally.refusing = [], True

    def begin_once():
        if not begun:
            campaign.begin_clients(4)
        begun.append(1)
    names = os.environ.get("CRASH_ERRNO", "EMFILE ENOSPC ENOMEM").split()
    for number in (getattr(errno, name) for name in names):
        limit = campaign.calls.count() + (rounds or POINTS_MAX) if rounds else POINTS_MAX
        if begun:
            campaign.service.stop()
        stop_at_calls(campaign, 1000 + number, limit, begin_once)
    campaign.end()
    tell(campaign, "refused")
