"""This file speaks HTTP to one service, over its unix socket or TCP; it never decides whether an answer is right.

A request is repeated with its key until the answer is definite: a connection that broke says nothing
about what was done.
"""
import http.client
import json
import random
import socket
import threading
import time

PATIENCE_S = 60.0
stopped, ticked = 0.0, time.monotonic()


def watch_clock():
    """Who is stopped for a while, with everything that it watches, has not waited."""
    global stopped, ticked
    while True:
        time.sleep(0.05)
        now = time.monotonic()
        if now - ticked > 0.5:
            stopped += now - ticked
        ticked = now


def clock():
    now = time.monotonic()
    return (now if now - ticked <= 0.5 else ticked) - stopped


threading.Thread(target=watch_clock, daemon=True).start()
BROKEN = (OSError, http.client.HTTPException, ValueError)


class Failure(Exception):
    """Something that the contract forbids was seen."""


class Connection(http.client.HTTPConnection):
    def __init__(self, path, timeout=20.0):
        super().__init__("berth", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.replayed = response.getheader("Idempotent-Replayed") == "true"
        self.body = response.read()  # raises when it was cut

    def json(self):
        return json.loads(self.body)

    def code(self):
        try:
            return self.json().get("code", "")
        except ValueError:
            return ""

    def is_definite(self):
        return not (self.status in (429, 500, 503, 507) or (self.status == 409 and self.code() == "in_progress"))

    def __str__(self):
        return f"{self.status} {self.body[:400].decode(errors='replace')}"


class Http:
    """`port`: where the service listens for TCP; 0: where nobody does now."""

    def __init__(self, socket_path, tally, port=0):
        self.socket_path, self.tally, self.port = socket_path, tally, port
        if port == 0:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]

    def connection(self, timeout):
        return Connection(self.socket_path, timeout)

    def caller(self):
        """Fields that say who asks: on the unix socket the kernel does."""
        return {}

    def over_tcp(self, method, path, token, patience=PATIENCE_S):
        end, last = clock() + patience, None
        while clock() < end:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20.0)
                connection.request(method, path, headers={"Authorization": f"Bearer {token}"})
                answer = Answer(connection.getresponse())
                connection.close()
                if answer.is_definite():
                    return answer
                last = str(answer)
            except BROKEN as broken:
                last = repr(broken)
            time.sleep(random.uniform(0.002, 0.05))
        raise Failure(f"no answer over TCP in {patience} s: {method} {path}: {last}")

    def open(self, method, path, body=None, key=None, headers=None, timeout=20.0):
        connection = self.connection(timeout)
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        all_headers = {**self.caller(), **(headers or {})}
        if data is not None:
            all_headers["Content-Type"] = "application/octet-stream" if data is body else "application/json"
        if key:
            all_headers["Idempotency-Key"] = key
        connection.request(method, path, data, all_headers)
        return connection

    def once(self, method, path, body=None, key=None, timeout=20.0):
        connection = self.open(method, path, body, key, timeout=timeout)
        try:
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def until_definite(self, method, path, body=None, key=None, patience=PATIENCE_S):
        """Repeats; returns the first definite answer."""
        end, last = clock() + patience, None
        while clock() < end:
            try:
                # A client that leaves at once, and comes back. Of what has no key the one that was left
                # may be done after the next thing of that name was made.
                if (key or method == "GET") and random.random() < 0.1:
                    self.open(method, path, body, key).close()
                answer = self.once(method, path, body, key)
                if answer.status == 500:
                    self.tally.add(f"internal error at {method} {path}: {answer}")
                if answer.is_definite():
                    return answer
                last = str(answer)
                self.tally["answers that say: again"] += 1
            except BROKEN as broken:
                last = repr(broken)
                self.tally["requests whose connection broke"] += 1
            time.sleep(random.uniform(0.002, 0.05))
        raise Failure(f"no answer in {patience} s: {method} {path} {str(body)[:200]}: {last}")

    def verb(self, method, path, body, key, expected, reopened=None):
        """One verb under a key; sometimes once more, and then the same bytes must come, unless
        `reopened` says of the first answer that its key was given back (IDEM-4)."""
        answer = self.until_definite(method, path, body, key)
        if expected and answer.status not in expected:
            raise Failure(f"{method} {path} {json.dumps(body)} (key {key}): {answer}")
        if key and random.random() < 0.4:
            again = self.until_definite(method, path, body, key)
            self.tally["replays compared"] += 1
            differs = (again.status, again.body) != (answer.status, answer.body) or not again.replayed
            if differs and reopened and reopened(answer):
                if again.status not in expected:
                    raise Failure(f"{method} {path} {json.dumps(body)} (key {key}), again: {again}")
                return again
            if differs:
                raise Failure(f"{method} {path} key {key}: first {answer}; then {again} replayed={again.replayed}")
        return answer


class Wire(Http):
    """Over TCP, with a token: its holder may take another one between two requests."""

    def __init__(self, owner, token):
        super().__init__(owner.socket_path, owner.tally, owner.port)
        self.token = token

    def connection(self, timeout):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def caller(self):
        return {"Authorization": f"Bearer {self.token}"}


def events_of(response):
    """(id or None, name, data) of a stream of server-sent events, until it ends or breaks."""
    number = name = None
    data = []
    while True:
        line = response.readline()
        if not line:
            return
        if not line.endswith(b"\n"):
            raise ConnectionError("a line was cut")
        line = line.rstrip(b"\r\n")
        if not line:
            if name is not None or data:
                yield number, name, b"\n".join(data)
            number = name = None
            data = []
        elif line.startswith(b"id:"):
            number = int(line[3:])
        elif line.startswith(b"event:"):
            name = line[6:].strip().decode()
        elif line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
