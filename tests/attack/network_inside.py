"""This file is a hostile program in a session of tests/attack/network.sh: it tries what its words say, and tells
each try in a line as the other attack programs do. Success is a byte from the other side, or an answer.

    tcp ADDRESS PORT   udp ADDRESS PORT   ask NAME [RESOLVER [stream]]   raw DOMAIN TYPE PROTOCOL   bind PORT
    turns NAME TIMES   for SECONDS WORDS…: the tries behind it, again and again"""
import errno
import socket
import struct
import sys
import time

count = 0


def told(name, how, began):
    global count
    count += 1
    late = time.monotonic() - began > 3
    print(f"try {name}: {'SUCCEEDED' if how.startswith('!') else 'LATE' if late else 'denied'} {how.lstrip('!')}", flush=True)


def error(e):
    return errno.errorcode.get(e.errno, type(e).__name__) if e.errno else "TIMEOUT"


def tcp(address, port):
    began = time.monotonic()
    try:
        with socket.create_connection((address, int(port)), 5) as s:
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            data = s.recv(64)
            told(f"tcp {address} {port}", f"!{data!r}" if data else "closed", began)
    except (OSError, ValueError) as e:
        told(f"tcp {address} {port}", error(e) if isinstance(e, OSError) else "no address", began)


def udp(address, port):
    began = time.monotonic()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(1)
        try:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            s.connect((address, int(port)))
            s.send(b"x")
            s.send(b"leak-of-a-session")
            told(f"udp {address} {port}", f"!{s.recv(64)!r}", began)
        except OSError as e:
            told(f"udp {address} {port}", "!silence" if isinstance(e, socket.timeout) else error(e), began)


def question(name):
    labels = b"".join(bytes([len(part)]) + part for part in name) + b"\0"
    return b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + labels + struct.pack(">HH", 1, 1)


def ask(name, resolver="192.0.2.2", how="udp"):
    """An answer that has an address is success."""
    began = time.monotonic()
    parts = [part.encode().decode("unicode_escape").encode("latin-1") for part in name.split("|")]
    asked = question(parts)
    try:
        family = socket.AF_INET6 if ":" in resolver else socket.AF_INET
        kind = socket.SOCK_STREAM if how == "stream" else socket.SOCK_DGRAM
        with socket.socket(family, kind) as s:
            s.settimeout(3)
            s.connect((resolver, 53))
            s.sendall((struct.pack(">H", len(asked)) if how == "stream" else b"") + asked)
            data = s.recv(2048)
        data = data[2:] if how == "stream" else data
        found = len(data) >= 12 and struct.unpack(">H", data[6:8])[0] > 0
        told(f"ask {name} {resolver} {how}", "!an address" if found else f"rcode {data[3] & 15 if len(data) > 3 else 'cut'}", began)
    except OSError as e:
        told(f"ask {name} {resolver} {how}", error(e), began)


def raw(domain, kind, protocol):
    began = time.monotonic()
    try:
        socket.socket(int(domain), int(kind), int(protocol)).close()
        told(f"raw {domain} {kind} {protocol}", "!a socket", began)
    except OSError as e:
        told(f"raw {domain} {kind} {protocol}", error(e), began)


def bind(port):
    began = time.monotonic()
    for family in (socket.AF_INET, socket.AF_INET6):
        with socket.socket(family, socket.SOCK_STREAM) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("", int(port)))
                s.listen()
                told(f"bind {port}", "!listens", began)
            except OSError as e:
                told(f"bind {port}", error(e), began)


def turns(name, times):
    for _ in range(int(times)):
        tcp(name, 80)


VERBS = {"tcp": tcp, "udp": udp, "ask": ask, "raw": raw, "bind": bind, "turns": turns}


def run(words):
    at = 0
    while at < len(words):
        end = at + 1
        while end < len(words) and words[end] not in VERBS:
            end += 1
        VERBS[words[at]](*words[at + 1:end])
        at = end


if sys.argv[1] == "for":
    end = time.monotonic() + float(sys.argv[2])
    while time.monotonic() < end:
        run(sys.argv[3:])
else:
    run(sys.argv[1:])
print("done inside", count, flush=True)
