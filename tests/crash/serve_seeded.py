"""This file does to a service at rest what the campaigns look for, one thing after another, and expects that
their verdict finds it: a verdict that finds nothing proves nothing. It never kills anything of the service.
"""
import contextlib
import glob
import os
import sqlite3
import subprocess

from serve_client import Client, Exec
from serve_http import Failure


@contextlib.contextmanager
def path_made(path, make=os.mkdir, remove=os.rmdir):
    make(path)
    try:
        yield
    finally:
        remove(path)


def touch(path):
    with open(path, "x"):
        pass


@contextlib.contextmanager
def file_changed(path, change):
    with open(path, "rb") as file:
        before = file.read()
    with open(path, "r+b") as file:
        file.write(change(before))
        file.truncate()
    try:
        yield
    finally:
        with open(path, "r+b") as file:
            file.write(before)
            file.truncate()


@contextlib.contextmanager
def process():
    child = subprocess.Popen(["sleep", "600"])
    try:
        yield
    finally:
        child.kill()
        child.wait()


@contextlib.contextmanager
def hidden(path):
    os.rename(path, path + ".hidden-by-a-test")
    try:
        yield
    finally:
        os.rename(path + ".hidden-by-a-test", path)


@contextlib.contextmanager
def model(thing, name, value):
    before = getattr(thing, name)
    setattr(thing, name, value)
    try:
        yield
    finally:
        setattr(thing, name, before)


def flipped(text):
    """One byte of what `text` was printed as."""
    def change(data):
        at = data.index(text)
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]
    return change


def forget(service, statement):
    """While nobody has the ledger."""
    service.stop()
    ledger = sqlite3.connect(f"{service.state}/ledger/ledger")
    changed = ledger.execute(statement).rowcount
    ledger.commit()
    ledger.close()
    if changed < 1:
        raise Failure(f"changed nothing: {statement}")
    service.start()


def must_find(what, check):
    try:
        check()
    except Failure as failure:
        print(f"# found: {what}: {str(failure)[:140]}")
        return
    raise Failure(f"not found: {what}")


def seeds(campaign, client, session, command):
    """(what, how, what must find it)"""
    service = campaign.service
    instance, sessions = service.instance(), f"{service.runtime}/sessions"
    volume = f"{service.state}/volumes/local/{session.name}"
    row = max(os.listdir(f"{service.state}/spool"), key=lambda name: int(name, 16))
    spool = max(glob.glob(f"{service.state}/spool/{row}/*"), key=os.path.getmtime)
    top = next(iter(glob.glob(f"/sys/fs/cgroup/berth/run-{instance}-*") + glob.glob(f"/sys/fs/cgroup/*/berth/run-{instance}-*")))
    printed = f"{command.mark} line 7\n".encode()

    def compare():
        campaign.compare([session], 0.3)

    def marks():
        client.check_marks(session)

    def output():
        client.settle(session, command)

    def files():
        client.check_files(session)
    marks_file = f"{volume}/data/marks"
    return (
        ("an orphan cgroup", path_made(os.path.dirname(top) + f"/run-{instance}-ff-1"), compare),
        ("an orphan record", path_made(f"{service.runtime}/runs/{instance}-ff-1", touch, os.unlink), compare),
        ("an orphan socket", path_made(f"{sessions}/{instance}-ff-1"), compare),
        ("an orphan volume", path_made(f"{service.state}/volumes/local/nobodys"), compare),
        ("an orphan spool", path_made(f"{service.state}/spool/ff"), compare),
        ("an orphan process", process(), compare),
        ("an orphan use of a directory", path_made(f"/run/berth-share/shared/s-{instance}-ff-1", touch, os.unlink), compare),
        ("a record that is gone", hidden(glob.glob(f"{service.runtime}/runs/{instance}-*")[0]), compare),
        ("a volume that is gone", hidden(volume), compare),
        ("a session in another state than was answered", model(session, "state", "archived"), compare),
        ("a command that ran twice", file_changed(marks_file, lambda data: data + f"{command.mark}\n".encode()), marks),
        ("a command that never ran", file_changed(marks_file, lambda data: data.replace(f"{command.mark}\n".encode(), b"")), marks),
        ("a command of nobody", file_changed(marks_file, lambda data: data + b"stranger\n"), marks),
        ("another byte in the output", file_changed(spool, flipped(printed)), output),
        ("the end of the output gone", file_changed(spool, lambda data: data[:data.index(printed)]), output),
        ("another exit code than the command's", model(command, "code", command.code + 1), output),
        ("another byte in a file", file_changed(f"{volume}/data/f0", lambda data: b"x" + data[1:]), files),
    )


def each_seeded_fault_is_found(campaign, rounds):
    service, http = campaign.service, campaign.http
    service.start()
    campaign.begin_clients(0)
    client = Client(0, http, campaign.tally, campaign.seed, campaign.gate, names=1)
    campaign.clients, session = [client], client.sessions[0]
    client.create(session)
    command = Exec("seeded", 20, None, 3)
    command.key, command.session = client.key(), session
    client.submit(command)
    client.settle(session, command)
    body = b"whole"
    http.until_definite("PUT", f"{session.path}/files?path=/workspace/f0", body)
    session.files["/workspace/f0"] = body
    count = 0
    for what, how, check in seeds(campaign, client, session, command):
        check()
        with how:
            must_find(what, check)
        check()
        count += 1

    first = http.until_definite("POST", f"{session.path}/execs", {"argv": command.argv}, command.key)
    forget(service, "DELETE FROM idempotency")
    other = http.until_definite("POST", f"{session.path}/execs", {"argv": command.argv}, command.key)
    if (first.status, first.body) == (other.status, other.body):
        raise Failure("a forgotten key gave the same answer")
    http.until_definite("GET", f"{session.path}/execs/{other.json()['exec_id']}?wait_ms=10000")
    must_find("a key that was forgotten: the command ran again", lambda: client.check_marks(session))
    count += 1
    print(f"{count} faults, each found")
    session.execs = []
    http.verb("DELETE", f"{session.path}?delete_volume=true", None, None, (200,))
    session.state = "absent"
    campaign.clients = []
    campaign.end()
