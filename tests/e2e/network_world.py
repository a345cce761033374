"""This file is what a session's network may reach in tests/e2e/*network.sh: a resolver and a few
servers in a network namespace of the test's own; it never asks anybody."""
import socket
import struct
import sys
import threading

WEB = "93.184.215.14"
NAMES = {"web.example": WEB, "other.example": WEB, "inner.example": "10.1.2.3"}


def answer(question):
    """An A record, NXDOMAIN, or nothing of another type."""
    labels, at = [], 12
    while question[at]:
        labels.append(question[at + 1:at + 1 + question[at]].decode())
        at += question[at] + 1
    kind = struct.unpack(">H", question[at + 1:at + 3])[0]
    asked = question[12:at + 5]
    address = NAMES.get(".".join(labels).lower())
    if not address or kind != 1:
        return question[:2] + struct.pack(">HHHHH", 0x8180 if address else 0x8183, 1, 0, 0, 0) + asked
    record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 30, 4) + socket.inet_aton(address)
    return question[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0) + asked + record


def resolve(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind((address, 53))
        while True:
            question, sender = udp.recvfrom(512)
            udp.sendto(answer(question), sender)


def listen(address, port, serve):
    listener = socket.create_server((address, port), backlog=64)

    def accept():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()


def web(connection):
    with connection:
        request = b""
        while b"\r\n\r\n" not in request:
            part = connection.recv(4096)
            if not part:
                return
            request += part
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nworld\n")


def speaks_first(connection):
    with connection:
        connection.sendall(b"220 who is there\n")
        try:
            connection.sendall(b"hello " + connection.recv(100))
        except ConnectionResetError:  # the client was cut, or left
            pass


listen(WEB, 80, web)
listen(WEB, 2222, speaks_first)
listen("10.1.2.3", 80, web)
threading.Thread(target=resolve, args=("93.184.215.53",), daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
