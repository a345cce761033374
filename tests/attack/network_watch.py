"""This file is the host in tests/attack/network.sh, and who looks at all of its interfaces: it listens where a
session must not come, and counts packets that must not be. It never sends one.

Words on standard input, a line each, each answered by a line:
    forbid NETWORK… [/TEXT…]   from now on: packets to these, and packets with these texts in them
    count                      how many there were, and the first of them, since `forbid`
    accepted                   how many connections the host's listeners had"""
import ipaddress
import select
import socket
import sys
import threading

PORTS = (80, 2222, 6000)
accepted = []
forbidden, needles, seen = [], [], []
packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
lock = threading.Lock()


def host(family, address, port):
    listener = socket.create_server((address, port), family=family, backlog=64)
    while True:
        connection, sender = listener.accept()
        accepted.append(f"{sender[0]} to {port}")
        connection.sendall(b"the host\n")
        connection.close()


def look(packet, kind):
    if kind == 0x0800 and len(packet) >= 20:
        to = ipaddress.ip_address(packet[16:20])
    elif kind == 0x86dd and len(packet) >= 40:
        to = ipaddress.ip_address(packet[24:40])
    else:
        return
    if any(to.version == n.version and to in n for n in forbidden) or any(n in packet.lower() for n in needles):
        seen.append(f"to {to}, protocol {packet[9] if kind == 0x0800 else packet[6]}, {len(packet)} bytes")


def capture():
    while True:
        packet, where = packets.recvfrom(65536)
        with lock:
            look(packet, where[1])


def counted():
    while select.select([packets], [], [], 0.3)[0]:
        threading.Event().wait(0.05)
    with lock:
        return f"{len(seen)} {seen[0] if seen else ''}"


for port in PORTS:
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        threading.Thread(target=host, args=(family, address, port), daemon=True).start()
threading.Thread(target=capture, daemon=True).start()
print("watching", flush=True)
for line in sys.stdin:
    command, *words = line.split()
    if command == "forbid":
        with lock:
            forbidden[:] = [ipaddress.ip_network(w) for w in words if not w.startswith("/")]
            needles[:] = [w[1:].encode().lower() for w in words if w.startswith("/")]
            seen.clear()
            accepted.clear()
        print("forbidden", flush=True)
    elif command == "count":
        print(counted(), flush=True)
    else:
        print(len(accepted), *accepted[:1], flush=True)
