# This file starts `berth serve` as a service manager does: sockets that are made already, and a
# socket that is told. It never runs as more than whom it serves.
#
#   given.py BERTH DIRECTORY TIMES
import http.client, os, signal, socket, sys, time

berth, place, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
path = f"{place}/given.sock"


class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(20 * times)
        self.sock.connect(path)


def check(what, true):
    if not true:
        sys.exit(what)


def start(fds, more=()):
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    name = f"{place}/notify"
    if os.path.exists(name):
        os.unlink(name)
    notify.bind(name)
    notify.settimeout(30 * times)
    pid = os.fork()
    if pid == 0:
        for i, fd in enumerate([os.dup(fd) for fd in fds]):
            os.dup2(fd, 100 + i)
        os.closerange(3, 100)
        for i in range(len(fds)):
            os.dup2(100 + i, 3 + i)
        os.closerange(100, 200)
        environment = dict(os.environ, LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)), NOTIFY_SOCKET=name)
        os.execve(berth, [berth, "serve", *more], environment)
    return pid, notify


def told(notify, word):
    said = notify.recv(4096).decode()
    check(f"told {said!r}, not {word}", said.split("\n")[0] == word)
    return said


def end(pid, sig=signal.SIGTERM):
    if sig:
        os.kill(pid, sig)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def get(connection, wanted):
    connection.request("GET", "/v1/health")
    answer = connection.getresponse()
    answer.read()
    check(f"health is {answer.status}, not {wanted}", answer.status == wanted)


def refused(fds, more=()):
    pid, notify = start(fds, more)
    check("what is not ours was taken", end(pid, 0) == 125)
    notify.close()


unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
unix.bind(path)
os.chmod(path, 0o666)
unix.listen(16)
tcp = socket.create_server(("127.0.0.1", 0))

pid, notify = start([unix.fileno(), tcp.fileno()])
told(notify, "READY=1")
check("its mode is not berth's", os.stat(path).st_mode & 0o7 == 0)
get(Unix("berth"), 200)
get(http.client.HTTPConnection(*tcp.getsockname(), timeout=20 * times), 401)
# The launcher sees that who asks came by this socket (P-7).
for method, where, body, wanted in (("POST", "", '{"session_id": "s1"}', 201), ("DELETE", "/s1?delete_volume=true", None, 200)):
    asker = Unix("berth")
    asker.request(method, "/v1/workspaces/local/sessions" + where, body, {"Content-Type": "application/json"})
    answer = asker.getresponse()
    check(f"{method} is {answer.status}: {answer.read()}", answer.status == wanted)
os.kill(pid, signal.SIGHUP)
check("no time of the reload", "\nMONOTONIC_USEC=" in told(notify, "RELOADING=1"))
told(notify, "READY=1")
get(http.client.HTTPConnection(*tcp.getsockname(), timeout=20 * times), 401)
get(Unix("berth"), 200)
os.kill(pid, signal.SIGTERM)
told(notify, "STOPPING=1")
check("the end was not in order", end(pid, 0) == 0)
check("the manager's socket is gone", os.path.exists(path))

# Between two berths: the connection waits.
waiting = Unix("berth")
waiting.connect()
pid, notify = start([unix.fileno(), tcp.fileno()])
told(notify, "READY=1")
get(waiting, 200)
check("the second end", end(pid) == 0)

# For another process, which is none of berth's: it makes its own.
pair = socket.socketpair()
refused([pair[0].fileno()])
refused([unix.fileno(), unix.fileno()])
refused([unix.fileno()], ("--socket", f"{place}/other.sock"))
everywhere = socket.create_server(("0.0.0.0", 0))
refused([everywhere.fileno()])
abstract = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
abstract.bind(f"\0berth-test-{os.getpid()}")
abstract.listen(1)
refused([abstract.fileno()])
check("a refusal has removed the socket", os.path.exists(path))
os.unlink(path)
