"""This file is the host in tests/attack/network.sh, and who looks at all of its interfaces: it listens where a
session must not come, and counts packets that must not be. It never sends one.

What was begun before `forbid` is of somebody before: packets that had come by then, and the rest of TCP connections that
were seen by then, whose ends are told late on a busy host. A SYN begins another one, whoever had its ports before.

Words on standard input, a line each, each answered by a line:
    forbid NETWORK… [/TEXT…]   from now on: packets to these, and packets with these texts in them
    count                      how many there were, and the first of them, since `forbid`
    accepted                   how many connections the host's listeners had"""
import ipaddress
import select
import socket
import struct
import sys
import threading
import time

PORTS = (80, 2222, 6000)
accepted = []
forbidden, needles, seen = [], [], []
since, connections, earlier = 0, set(), set()  # TCP: since `forbid`, and before it
packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
SO_TIMESTAMPNS = 35
packets.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
lock = threading.Lock()


def host(family, address, port):
    listener = socket.create_server((address, port), family=family, backlog=64)
    while True:
        connection, sender = listener.accept()
        accepted.append(f"{sender[0]} to {port}")
        connection.sendall(b"the host\n")
        connection.close()


def connection_of(packet, ends, at):
    """The same for both directions, and whether this packet asks for it; None: it is of none."""
    if len(packet) < at + 14:
        return None, False
    ports = struct.unpack_from(">HH", packet, at)
    half = len(ends) // 2
    return frozenset(((ends[:half], ports[0]), (ends[half:], ports[1]))), packet[at + 13] & 0x12 == 0x02


def look(packet, kind, when):
    if kind == 0x0800 and len(packet) >= 20:
        ends, protocol, at = packet[12:20], packet[9], (packet[0] & 15) * 4
    elif kind == 0x86dd and len(packet) >= 40:
        ends, protocol, at = packet[8:40], packet[6], 40
    else:
        return
    to = ipaddress.ip_address(ends[len(ends) // 2:])
    connection, begins = connection_of(packet, ends, at) if protocol == 6 else (None, False)
    if connection and when < since:
        earlier.add(connection)
    elif connection and begins:
        earlier.discard(connection)
    if when < since or connection in earlier:
        return
    if connection:
        connections.add(connection)
    if any(to.version == n.version and to in n for n in forbidden) or any(n in packet.lower() for n in needles):
        seen.append(f"to {to}, protocol {packet[9] if kind == 0x0800 else packet[6]}, {len(packet)} bytes")


def capture():
    while True:
        packet, ancillary, _, where = packets.recvmsg(65536, socket.CMSG_SPACE(16))
        came = [data for level, kind, data in ancillary if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS)]
        seconds, nanoseconds = struct.unpack("qq", came[0])
        with lock:
            look(packet, where[1], seconds * 1000000000 + nanoseconds)


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
            earlier |= connections
            connections.clear()
            since = time.time_ns()
        print("forbidden", flush=True)
    elif command == "count":
        print(counted(), flush=True)
    else:
        print(len(accepted), *accepted[:1], flush=True)
