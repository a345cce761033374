# This file stands in for a service manager that starts front and the gateway when `berth serve --units`
# connects (docs/adr/0021). It never restarts one by itself.
#
#   units.py PROGRAMS DIRECTORY FRONT_UID GATEWAY_UID
#
# Writes a line "NAME PID" for each start to standard output. Ends with SIGTERM, and ends none of them.
import os, select, signal, socket, sys

programs, place = sys.argv[1], sys.argv[2]
users = {"front": int(sys.argv[3]), "gateway": int(sys.argv[4])}
listeners, running = {}, {}
os.makedirs(place, exist_ok=True)
for name in users:
    path = f"{place}/{name}"
    if os.path.exists(path):
        os.unlink(path)
    listeners[name] = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listeners[name].bind(path)
    os.chmod(path, 0o600)
    listeners[name].listen(16)


def start(name):
    pid = os.fork()
    if pid == 0:
        # What a unit comes with: a group list, an environment, no right of root's.
        os.setgroups([users[name]])
        os.setresgid(users[name], users[name], users[name])
        os.setresuid(users[name], users[name], users[name])
        os.dup2(os.dup(listeners[name].fileno()), 3)
        os.closerange(4, 64)
        null = os.open("/dev/null", os.O_RDWR)
        os.dup2(null, 0)
        os.close(null)
        environment = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "PATH": "/bin"}
        os.execve(f"{programs}/berth-{name}", [f"{programs}/berth-{name}"], environment)
    running[name] = pid
    print(name, pid, flush=True)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
wake, woken = os.pipe()
os.set_blocking(woken, False)
signal.set_wakeup_fd(woken)
signal.signal(signal.SIGCHLD, lambda *_: None)
while True:
    waiting = [one for name, one in listeners.items() if name not in running]
    ready, _, _ = select.select([*waiting, wake], [], [])
    if wake in ready:
        os.read(wake, 4096)
    for name, pid in list(running.items()):
        if os.waitpid(pid, os.WNOHANG)[0]:
            del running[name]
    for name, one in listeners.items():
        if one in ready and name not in running:
            start(name)
