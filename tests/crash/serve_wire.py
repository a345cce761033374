"""This file is what clients over TCP have more than those on the unix socket: a token that they change, a
workspace that has a twin with the same names and keys, and addresses that no session may reach.

The campaign runs in a network namespace of its own (tests/crash/wire.sh), where everything is this test's.
"""
import socket
import threading

from serve_client import Client, Session, path_of
from serve_http import Failure, Wire

PORT = 8080  # below those that the kernel gives out: else a connection may become its own listener
HOST_ADDRESS, CANARY_PORT = "203.0.113.1", 8099


class Canary:
    """A server on an address of the host: no session reaches it, whoever of berth is dead (NET-5, NET-7)."""

    def __init__(self, tally):
        self.tally = tally
        self.listener = socket.create_server((HOST_ADDRESS, CANARY_PORT))
        socket.create_connection((HOST_ADDRESS, CANARY_PORT)).close()  # it would be noticed
        self.listener.accept()[0].close()
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        while True:
            connection, _ = self.listener.accept()
            connection.close()
            self.tally.add("a session has reached an address of the host")

    def attempt(self):
        """Words of a shell that try it, and go on either way."""
        return f"bash -c ': </dev/tcp/{HOST_ADDRESS}/{CANARY_PORT}' 2>/dev/null; "


class WireClient(Client):
    """Client I has workspace I modulo their number; those of the same quotient are twins."""

    def __init__(self, number, campaign, workspaces, names=2):
        super().__init__(number, None, campaign.tally, campaign.seed, campaign.gate, names=names)
        self.owner, self.owner_name = campaign.http, campaign.owner
        self.workspace, self.label = workspaces[number % len(workspaces)], number // len(workspaces)
        self.others = [workspace for workspace in workspaces if workspace != self.workspace]
        self.sessions = [Session(f"c{self.label}s{i}", self.workspace) for i in range(names)]
        self.token_id, text = self.new_token()
        self.http = Wire(self.owner, text)
        self.owed = [self.token, self.cross]  # once at least, however few rounds there are

    def step(self):
        if self.owed:
            return self.owed.pop()(self.rng.choice(self.sessions))
        return super().step()

    def more(self):
        return self.cross, self.write, self.write  # files: so that their workers are met

    def more_of_create(self):
        return {"owner": self.owner_name}

    def rules(self):
        return self.rng.choice(({"egress": "deny"}, {"egress": "public-only"},
                                {"egress": "deny", "allow": [{"cidr": "198.51.100.0/24", "ports": [443]}]}))

    def new_token(self):
        made = self.owner.until_definite("POST", "/v1/tokens", {"workspaces": [self.workspace], "lives_ms": 86400000})
        if made.status != 201:
            raise Failure(f"no token: {made}")
        return made.json()["token_id"], made.json()["token"]

    def token(self, _):
        """Another one from now on; the one before is worthless at once, and after whatever dies."""
        before_id, before = self.token_id, self.http.token
        self.token_id, self.http.token = self.new_token()
        if self.http.until_definite("GET", f"{path_of(self.workspace)}/sessions?limit=1").status != 200:
            raise Failure("a token that was made is not taken")
        if self.owner.until_definite("DELETE", f"/v1/tokens/{before_id}").status != 200:
            raise Failure("a token that was made could not be revoked")
        after = Wire(self.owner, before).until_definite("GET", f"{path_of(self.workspace)}/sessions?limit=1")
        if after.status != 401:
            raise Failure(f"a token that was revoked is taken: {after}")
        self.tally["tokens made, used and revoked"] += 1

    def cross(self, session):
        """The twin's session of the same name, seen from here: there is nothing (W-3)."""
        there = f"{path_of(self.rng.choice(self.others))}/sessions"
        for method, path, body in (("GET", f"{there}/{session.name}", None), ("GET", there, None),
                                   ("POST", f"{there}/{session.name}/execs", {"argv": ["true"]}),
                                   ("DELETE", f"{there}/{session.name}", None)):
            answer = self.http.until_definite(method, path, body)
            if answer.status != 404:
                raise Failure(f"{method} {path} with a token of {self.workspace}: {answer}")
        self.tally["refused in another workspace"] += 1
