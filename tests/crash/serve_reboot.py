"""This file takes from a service what a restart of the host takes: its processes and those of its sessions,
cgroups, what lies in /run, and the boot's id; it looks what is left. It never touches the state directory.
"""
import glob
import os
import subprocess
import time
import uuid

from serve_client import Client, Exec
from serve_http import Failure, clock
from serve_service import kill

NAMES = 4  # of each client: every other one has a directory, the others volumes


def give_another_boot_id(base, number):
    path = f"{base}/boot_id-{number}"
    with open(path, "w") as file:
        file.write(f"{uuid.uuid4()}\n")
    # Of a /proc with something mounted on it no further one is had in a user namespace: one more, whole.
    os.makedirs(f"{base}/proc", exist_ok=True)
    if not os.path.ismount(f"{base}/proc"):
        subprocess.run(["mount", "-t", "proc", "proc", f"{base}/proc"], check=True)
    subprocess.run(["mount", "--bind", path, "/proc/sys/kernel/random/boot_id"], check=True)


def restart_host(campaign, number):
    service = campaign.service
    mark = f"run-{service.instance()}-"
    for pid in [pid for group in service.roles().values() for pid in group] + service.inits():
        kill(pid)
    end = clock() + 20
    while any(os.path.exists(f"/proc/{name}/cgroup") for name in os.listdir("/proc")
              if name.isdigit() and int(name) != os.getpid()):
        if clock() > end:
            raise Failure("processes outlive SIGKILL")
        time.sleep(0.02)
    groups = glob.glob(f"/sys/fs/cgroup/berth/{mark}*") + glob.glob(f"/sys/fs/cgroup/*/berth/{mark}*")
    for top in groups:
        for path, _, _ in os.walk(top, topdown=False):
            os.rmdir(path)
    for path in glob.glob(f"/run/berth-share/*/s-{service.instance()}-*"):
        os.unlink(path)
    subprocess.run(["rm", "-rf", "--one-file-system", service.runtime], check=True)
    give_another_boot_id(campaign.base, number)
    campaign.mounts = None


def prepare(client, session, number):
    """Running, mid-command; the last ones frozen, parked, archived."""
    client.create(session)
    client.exec(session)
    client.write(session)
    if number == NAMES - 1:
        client.verb(session, "archive", {"accept_loss": True}, "archived", None)
        return None
    command = client.start(session, lines=1000, pause="0.1")
    if number == NAMES - 2:
        client.verb(session, "park", {"mode": "freeze"}, "parked", "freeze")
    elif number == NAMES - 3 and client.number % 2:
        client.park(session)
    return command


def look(client, session, command, was):
    document = client.show(session)
    told = (document["state"], document["mode"], document["reason"])
    lived = was in (("running", None), ("parked", "freeze"))
    right = ("archived", None) if was[0] == "archived" else ("parked", "stop")
    if told[:2] != right or (lived and told[2] != "host_restart") or (not lived and told[2] == "host_restart"):
        raise Failure(f"{session.name} was {was}, and after a restart of the host {told}")
    session.state, session.mode = right
    if command:
        ended = client.wait(command)
        if ended["reason"] not in ("lost",) and was != ("parked", "stop"):
            raise Failure(f"the host was restarted, and its command {ended}")
    client.check_files(session)
    client.check_marks(session)
    events = [event["seq"] for event in client.events(session)]
    if events != list(range(events[0], events[0] + len(events))):
        raise Failure(f"events of {session.name}: {events}")


def host_is_restarted(campaign, rounds):
    """Twice; the second time while the first restart is recovered from."""
    service, http = campaign.service, campaign.http
    service.start()
    campaign.begin_clients(0)
    clients = [Client(i, http, campaign.tally, campaign.seed, campaign.gate, names=NAMES, directories=campaign.directories)
               for i in range(3)]
    campaign.clients = clients
    for number in range(max(rounds, 1)):
        left = [(client, session, prepare(client, session, i)) for client in clients
                for i, session in enumerate(client.sessions)]
        was = {session.name: (session.state, session.mode) for _, session, _ in left}
        restart_host(campaign, 2 * number)
        if number % 2:
            service.begin()
            time.sleep(campaign.rng.uniform(0.05, 0.5))
            restart_host(campaign, 2 * number + 1)
        service.start()
        for client, session, command in left:
            look(client, session, command, was[session.name])
            if session.state == "parked":
                client.resume(session)
                client.exec(session)
                client.check_files(session)
            client.destroy(session)
            campaign.tally["sessions that lived through a restart of the host"] += 1
        campaign.compare([session for _, session, _ in left])
    campaign.end()
