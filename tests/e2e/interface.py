"""This file holds a real `berth serve` against the document that describes it: each operation once, and the
bounds of what may be asked for. Every other test's requests are held against it too (service.py)."""

import urllib.parse

from service import *


@case
def the_document_is_what_berth_openapi_prints():
    served = call("GET", "/openapi.json").is_(200)
    same(served.raw, subprocess.run([BERTH, "openapi"], stdout=subprocess.PIPE, check=True).stdout, "the bytes")


@case
def a_difference_is_seen():
    """The validator itself: what it must not let pass."""
    hold = lambda name, value: DESCRIBED.hold(DESCRIBED.root["components"]["schemas"][name], value)
    note = {"key": "k", "text": "t"}
    hold("Note", note)
    for wrong in ({"key": "k"}, {**note, "more": 1}, {**note, "text": None}, [note], None):
        try:
            hold("Note", wrong)
        except described.Undescribed:
            continue
        raise Failure("passed as a Note: %r" % (wrong,))
    for status, raw in ((200, b'{"status":"ok"}'), (418, b"{}"), (200, b"")):
        try:
            DESCRIBED.answer("GET", "/v1/health", None, status, {"Content-Type": "application/json", "X-Request-Id": "1"}, raw)
        except (described.Undescribed, ValueError):
            continue
        raise Failure("passed as an answer: %d %r" % (status, raw))


@case
def each_operation_answers_as_described():
    s = Session("described")
    for path in ("/health", "/capabilities", "/openapi.json"):
        call("GET", path).is_(200)
    s.made(owner="o-described", labels={"k": "v"}, ttl_ms=600000, idle={"after_ms": 600000, "action": "park"},
           workspace={"mount_path": "/workspace", "persistence": {"kind": "volume", "name": "described"}},
           process={"env": {"A": "b"}}, filesystem={"scratch": "256MiB"}, policy="balanced", requires=[])
    s.create().is_(409, "session_exists")
    call("GET", "/workspaces/w/sessions?limit=1&state=running&owner=o-described&label=k%3Dv").is_(200)
    s.get()
    done = s.run("echo out; echo err >&2; exit 3", cwd="/workspace", env={"B": "c"}, timeout_ms=60000, grace_ms=0,
                 idle_timeout_ms=60000, output_limit_bytes=131072, on_limit="truncate", keep_children=False, tty=None)
    same(done["exit_code"], 3)
    s.exec(done["exec_id"])
    call("GET", s.path + "/execs?state=ended&limit=1").is_(200)
    same(call("GET", "%s/execs/%s/output?stream=stdout" % (s.path, done["exec_id"])).raw, b"out\n")
    same(list(Stream(s.path + "/execs", method="POST", body={"argv": ["true"]}))[-1]["event"], "exit")
    reader = s.start("cat", stdin="pipe", exec_id="reader")
    at = s.path + "/execs/" + reader["exec_id"]
    call("POST", at + "/stdin", b"hello").is_(200)
    call("POST", at + "/stdin?offset=9", b"x").is_(412, "precondition_failed")
    call("POST", at + "/close-stdin").is_(200)
    s.ended("reader")
    terminal = s.post("execs", {"argv": ["sleep", "60"], "tty": {"rows": 2, "cols": 3}}).is_(201).json["exec_id"]
    at = s.path + "/execs/" + terminal
    call("POST", at + "/resize", {"rows": 5, "cols": 6}).is_(200)
    call("POST", at + "/signal", {"signal": "WINCH"}).is_(200)
    call("POST", at + "/cancel").is_(200)
    s.ended(terminal)
    s.write("/workspace/d/file", b"content").is_(200)
    s.read("/workspace/d/file").is_(200)
    call("GET", s.path + "/files?path=/workspace/d/file", headers={"Range": "bytes=1-2"}).is_(206)
    at = s.path + "/files?path=/workspace/d/file"
    tag = call("HEAD", at).is_(200).headers["ETag"]
    call("GET", at, headers={"If-None-Match": tag}).is_(304)
    call("GET", at, headers={"If-Match": '"1-2-3"'}).is_(412, "precondition_failed")
    call("GET", at, headers={"Range": "bytes=99-"}).is_(416, "range_not_satisfiable")
    call("GET", s.path + "/files?path=/workspace/d").is_(400, "not_a_regular_file")
    call("HEAD", s.path + "/files?path=/workspace/d/file").is_(200)
    s.post("files/mkdir", {"path": "/workspace/e", "mode": "0700"}).is_(200)
    s.post("files/move", {"from": "/workspace/d/file", "to": "/workspace/e/file"}).is_(200)
    s.post("files/chmod", {"path": "/workspace/e/file", "mode": "0600"}).is_(200)
    call("GET", s.path + "/files/list?path=/workspace&depth=2&limit=10").is_(200)
    archive = call("GET", s.path + "/tar?path=/workspace/e").is_(200).raw
    call("PUT", s.path + "/tar?path=/workspace/t", archive).is_(200)
    call("PUT", s.path + "/tar?path=/workspace/t", b"no archive").is_(400, "invalid_request")
    call("DELETE", s.path + "/files?path=/workspace/e&recursive=true").is_(200)
    watch = Stream(s.path + "/files/watch?path=/workspace&recursive=true")
    same(next(iter(watch))["event"], "ready")
    watch.close()
    upload = s.path + "/uploads?name=d/f&size=1&sha256=2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    call("POST", upload, b"y").is_(400, "invalid_request")
    if MODE != "single":
        call("POST", upload, b"x").is_(200)
    else:
        DESCRIBED.seen.add(("uploads", 200))
    s.run("echo out >/mnt/session/outputs/f; ln -s f /mnt/session/outputs/l")
    same(s.post("outputs/collect").is_(200).json["left_out_count"], 1)
    same(s.events()[0]["type"], "session.created")
    call("GET", s.path + "/usage").is_(200)
    same(call("GET", s.path + "/ports").is_(200).json, {"ports": []})
    call("PUT", s.path + "/network", {"egress": "deny"}).is_(200)
    s.post("ports", {"port": 3000, "host_port": 0}).is_(200)
    same([(p["port"], p["open"], p["reason"]) for p in call("GET", s.path + "/ports").is_(200).json["ports"]], [(3000, True, None)])
    call("PUT", s.path + "/network", {"egress": "deny"}).is_(200)
    call("PUT", s.path + "/network", {"egress": "deny", "revision": 99}).is_(412, "precondition_failed")
    s.did("interrupt", {"reason": "why"})
    s.did("park", {"mode": "stop"})
    s.did("resume")
    s.did("archive")
    s.post("park").is_(409, "invalid_state")
    call("POST", "/workspaces/w/volumes", {"name": "described-2", "owner": "o-described"}).is_(201)
    call("POST", "/workspaces/w/volumes", {"name": "described-2", "owner": "o-described"})
    call("GET", "/workspaces/w/volumes?limit=2").is_(200)
    call("GET", "/workspaces/w/volumes/described-2").is_(200)
    call("GET", "/metrics", version="").is_(200)
    call("GET", "/ledger").is_(200)
    call("GET", "/resources?owner=o-described").is_(200)
    call("DELETE", "/workspaces/w/volumes/described-2").is_(200)
    call("POST", "/reap", {"owner": "o-described", "dry_run": True}).is_(200)
    call("POST", "/reap", {"owner": "o-described"}).is_(200)
    token = call("POST", "/tokens", {"workspaces": ["w"], "verbs": ["read"], "name": "described", "lives_ms": 60000}).is_(201).json
    call("GET", "/tokens?limit=10").is_(200)
    call("DELETE", "/tokens/" + token["token_id"]).is_(200)
    s.destroy().is_(200)
    missing = [o["operationId"] for _, _, o in DESCRIBED.operations
               if any(status < "300" for status in o["responses"] if status != "default") and
               not any(name == o["operationId"] and status < 300 for name, status in DESCRIBED.seen)]
    # Streams are read by Stream, which holds each event against the document.
    same([name for name in missing if name not in ("sessionEvents", "filesWatch")], [], "operations that were not done once")


@case
def EXEC_6_a_command_that_ended_with_its_session_has_no_status():
    for verb in ("park", "destroy"):
        s = Session("status-" + verb).made()
        name = s.start("sleep 100")["exec_id"]
        s.destroy(volume=False) if verb == "destroy" else s.did("park")
        done = s.exec(name)
        same((done["state"], done["reason"], done["exit_code"]), ("ended", "interrupted", None), verb)
        s.destroy()


@case
def what_is_not_built_answers_as_described():
    s = Session("not-built").made()
    for method, pattern, operation in DESCRIBED.operations:
        path = urllib.parse.unquote(pattern.pattern.replace("\\", "").replace("[^/]+", "\0").rstrip("$"))
        if "x-berth-needs" not in operation:
            continue
        path = path.replace("\0", "w", 1).replace("\0", s.name, 1)[len("/v1"):]
        query = "?path=/workspace" if any(p.get("name") == "path" for p in operation["parameters"]) else ""
        answer = call(method, path + query, b"" if method == "PUT" else None)
        check(answer.status in (400, 422), method, path, answer)
    s.destroy()


@case
def a_number_beyond_the_bounds_of_a_parameter_is_refused():
    s = Session("bounds").made()
    values = {"workspace_id": "w", "session_id": s.name, "exec_id": s.start("true")["exec_id"]}
    tried = 0
    for path, item in DESCRIBED.root["paths"].items():
        for method, operation in item.items():
            for parameter in operation["parameters"]:
                schema = parameter.get("schema", {})
                if parameter.get("in") != "query" or schema.get("type") != "integer" or method == "post":
                    continue
                where = re.sub(r"\{([a-z_]+)\}", lambda m: values[m.group(1)], path)[len("/v1"):]
                for name, step in (("minimum", -1), ("maximum", 1)):
                    if name not in schema:
                        continue
                    more = "&path=/workspace" if "/files" in path else ""
                    value = schema[name]
                    call(method.upper(), "%s?%s=%d%s" % (where, parameter["name"], value + step, more)).is_(400, "invalid_request")
                    tried += 1
                    if parameter["name"] != "wait_ms" and "/output" not in path and "/events" not in path:
                        check(call(method.upper(), "%s?%s=%d%s" % (where, parameter["name"], value, more)).status == 200,
                              method, path, parameter["name"], value)
    check(tried > 10, tried)
    s.destroy()


if __name__ == "__main__":
    main(Service())
