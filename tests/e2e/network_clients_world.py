"""This file is what programs of every day reach in tests/e2e/network_clients.sh: a resolver whose names have many
addresses, others tomorrow, or private ones, and servers that speak what the clients speak; it never asks anybody.
Words: a certificate with its key, dropbear's key of this host; without them nobody speaks TLS or ssh here."""
import base64
import hashlib
import socket
import ssl
import struct
import subprocess
import sys
import threading

WEB = "93.184.215.14"
UNSERVED = [f"93.184.215.{n}" for n in range(16, 20)]
# What is answered: the first time, the second …, then always the last.
NAMES = {
    "web.example": [[WEB]], "pg.example": [[WEB]], "redis.example": [[WEB]], "git.example": [[WEB]],
    "ws.example": [[WEB]], "six.example": [["2606:2800:220:1::6"]],
    "dual.example": [["93.184.215.15", "2606:2800:220:1::15"]],
    "half.example": [[WEB, "2606:2800:220:1::dead"]],
    "many.example": [[*UNSERVED, WEB]],
    "moves.example": [[WEB], ["93.184.215.15"]],
    "turns.example": [[WEB], ["10.1.2.3"]],
    "own.example": [["93.184.216.9", "2606:2800:221::9"]], "looped.example": [["127.0.0.1", "::1"]],
}
asked_times = {}


def answer(question):
    labels, at = [], 12
    while question[at]:
        labels.append(question[at + 1:at + 1 + question[at]].decode())
        at += question[at] + 1
    kind = struct.unpack(">H", question[at + 1:at + 3])[0]
    asked = question[12:at + 5]
    name = ".".join(labels).lower()
    # Each mode of the tests has names of its own beneath these: what changes begins anew for it.
    turns = NAMES.get(".".join(name.split(".")[-2:]))
    if not turns:
        return question[:2] + struct.pack(">HHHHH", 0x8183, 1, 0, 0, 0) + asked
    turn = asked_times[name, kind] = asked_times.get((name, kind), -1) + 1
    family = {1: socket.AF_INET, 28: socket.AF_INET6}.get(kind)
    found = [a for a in turns[min(turn, len(turns) - 1)] if family == (socket.AF_INET6 if ":" in a else socket.AF_INET)]
    records = b""
    for address in found:
        packed = socket.inet_pton(family, address)
        records += b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 0, len(packed)) + packed
    return question[:2] + struct.pack(">HHHHH", 0x8180, 1, len(found), 0, 0) + asked + records


def resolve(udp):
    while True:
        question, sender = udp.recvfrom(512)
        udp.sendto(answer(question), sender)


def listen(address, port, serve):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, port), family=family, backlog=64)

    def one(connection):
        try:
            with connection:
                serve(connection)
        except (OSError, EOFError):
            pass  # who leaves in the middle is no concern of the world's

    def accept():
        while True:
            threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()


def exactly(connection, length):
    data = b""
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def head_of(connection):
    head = b""
    while b"\r\n\r\n" not in head:
        part = connection.recv(4096)
        if not part:
            raise EOFError
        head += part
    return head


def web(connection):
    head_of(connection)
    body = f"world at {connection.getsockname()[0]}\n".encode()
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))


def https(connection):
    with CONTEXT.wrap_socket(connection, server_side=True) as inner:
        web(inner)


def websocket(connection):
    """Echoes one text frame."""
    head = head_of(connection)
    lines = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
    key = {name.lower(): value for name, value in lines.items()}[b"sec-websocket-key"]
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       b"Sec-WebSocket-Accept: %s\r\n\r\n" % accept)
    length = exactly(connection, 2)[1] & 127
    mask, data = exactly(connection, 4), exactly(connection, length)
    said = b"echo " + bytes(c ^ mask[i % 4] for i, c in enumerate(data))
    connection.sendall(bytes([0x81, len(said)]) + said)


def postgres(connection):
    """Refuses TLS, lets everybody in, and answers each query with one row."""
    def message(kind, body=b""):
        return kind + struct.pack(">I", len(body) + 4) + body
    start = exactly(connection, struct.unpack(">I", exactly(connection, 4))[0] - 4)
    while struct.unpack(">I", start[:4])[0] in (80877103, 80877104):
        connection.sendall(b"N")
        start = exactly(connection, struct.unpack(">I", exactly(connection, 4))[0] - 4)
    connection.sendall(message(b"R", struct.pack(">I", 0)) + message(b"S", b"server_version\0" b"15.0\0")
                       + message(b"S", b"client_encoding\0UTF8\0") + message(b"Z", b"I"))
    while True:
        kind = exactly(connection, 1)
        exactly(connection, struct.unpack(">I", exactly(connection, 4))[0] - 4)
        if kind != b"Q":
            return
        column = b"said\0" + struct.pack(">IHIHIH", 0, 0, 25, 65535, 0xffffffff, 0)
        row = b"from the database"
        connection.sendall(message(b"T", struct.pack(">H", 1) + column)
                           + message(b"D", struct.pack(">HI", 1, len(row)) + row)
                           + message(b"C", b"SELECT 1\0") + message(b"Z", b"I"))


def redis(connection):
    reader = connection.makefile("rb")
    while True:
        words = [reader.read(int(reader.readline()[1:]) + 2)[:-2] for _ in range(int(reader.readline()[1:] or 0))]
        if not words:
            return
        connection.sendall(b"+from the store\r\n" if words[0].upper() == b"GET" else b"*0\r\n")


if sys.argv[1:]:
    CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CONTEXT.load_cert_chain(sys.argv[1])
    listen(WEB, 443, https)
for where in (WEB, "93.184.215.15", "10.1.2.3", "2606:2800:220:1::6", "2606:2800:220:1::15"):
    listen(where, 80, web)
listen(WEB, 8080, websocket)
listen(WEB, 5432, postgres)
listen(WEB, 6379, redis)
names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.bind(("93.184.215.53", 53))
threading.Thread(target=resolve, args=(names,), daemon=True).start()


def start_ssh(key):
    """In the foreground, so that it is a child of this one, and ends with it."""
    child = subprocess.Popen(["dropbear", "-F", "-s", "-p", WEB + ":22", "-r", key, "-P", key + ".pid"],
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(200):
        try:
            socket.create_connection((WEB, 22), 1).close()
            return child
        except OSError:
            threading.Event().wait(0.05)
    return child


ssh = start_ssh(sys.argv[2]) if sys.argv[2:] else None
print("ready", flush=True)
sys.stdin.read()
if ssh:
    ssh.kill()
