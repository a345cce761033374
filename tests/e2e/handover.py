"""This file holds what a service owes of the files that a session is given (uploads) and gives (outputs): checked
before the session is touched, never changed by its commands, told whole or not at all. Over a real `berth serve`."""

import hashlib
import http.client
import urllib.parse

from service import *

BINARY = bytes(range(256)) * 3000
MIB = 1 << 20


def sha(data):
    return hashlib.sha256(data).hexdigest()


def give(session, name, data, size=None, digest=None, body=None, **more):
    query = urllib.parse.urlencode({"name": name, "size": len(data) if size is None else size, "sha256": digest or sha(data)})
    return call("POST", session.path + "/uploads?" + query, data if body is None else body, timeout=60, **more)


def collect(session, path=None):
    return session.post("outputs/collect", None if path is None else {"path": path})


def one_id():
    return os.environ["TEST_ONE_ID"] == "yes"


def need_ids():
    if one_id():
        raise Skip("this user has one id in a session")


def sh(session, shell):
    done = session.run(shell)
    return done["exit_code"], done["text"]


@case
def a_session_with_one_id_keeps_nothing_from_its_commands_and_says_so():
    s = Session("one-id").made()
    answer = give(s, "f", b"x")
    if one_id():
        check(answer.is_(409, "invalid_state").json["detail"].find("/etc/subuid") > 0, answer)
    else:
        answer.is_(200)
    s.destroy()


@case
def a_command_of_another_user_is_refused_where_a_session_has_one_id():
    s = Session("one-id-exec").made()
    for user, uid in (("root", "0"), ("5:7", "5")):
        if one_id():
            answer = s.post("execs?wait_ms=20000", {"argv": ["id", "-u"], "user": user})
            check("/etc/subuid" in answer.is_(422, "capability_unavailable").raw.decode(), answer)
        else:
            same(s.run("id -u", user=user)["text"], uid + "\n")
    same(s.run("id -u", user="user")["text"], "1000\n")
    s.destroy()


@case
def an_upload_is_there_whole_and_no_command_changes_it():
    need_ids()
    s = Session("given").made()
    answer = give(s, "data/in é.bin", BINARY).is_(200).json
    same((answer["path"], answer["size"], answer["sha256"], answer["mode"]),
         ("/mnt/session/uploads/data/in é.bin", len(BINARY), sha(BINARY), "0644"))
    give(s, "run", b"#!/bin/sh\necho ran\n").is_(200)
    give(s, "none", b"").is_(200)
    same(s.read(urllib.parse.quote("/mnt/session/uploads/data/in é.bin")).raw, BINARY)
    status, text = sh(s, "cd /mnt/session/uploads && sha256sum < 'data/in é.bin'")
    same((status, text[:64]), (0, sha(BINARY)))
    tries = ("echo x >> run", ": > run", "rm -f run", "mv run other", "chmod u+w run", "touch new", "mkdir new", "ln run data/l",
             "./run", "rm -rf data", "mv ../uploads ../other", "rmdir ../uploads", "touch -d @1 run", "ln -s /etc/passwd l")
    for words in tries:
        status, text = sh(s, "cd /mnt/session/uploads && " + words)
        check(status != 0, words, text)
    for method, path in (("PUT", "/files?path=/mnt/session/uploads/run"), ("DELETE", "/files?path=/mnt/session/uploads/run"),
                         ("PUT", "/files?path=/mnt/session/uploads/new")):
        call(method, s.path + path, b"x" if method == "PUT" else None).is_(403, "forbidden")
    same(s.read("/mnt/session/uploads/run").raw, b"#!/bin/sh\necho ran\n")
    done = s.run("cd /mnt/session/uploads; echo x >> run; echo $?; touch new; echo $?; chmod 777 run; echo $?", user="root")
    check("0" not in done["text"].split(), "commands that are root", done["text"])
    give(s, "run", b"another").is_(200)
    same(s.read("/mnt/session/uploads/run").raw, b"another", "it is replaced by who gave it")
    s.destroy()


@case
def what_is_not_what_was_said_never_reaches_the_session():
    s = Session("refused").made()
    at = s.path + "/uploads?"
    bad = ("name=f&size=1", "name=f&sha256=" + "0" * 64, "size=1&sha256=" + "0" * 64, "name=f&size=x&sha256=" + "0" * 64,
           "name=f&size=1&sha256=" + "0" * 63, "name=f&size=1&sha256=" + "A" * 64, "name=f&size=-1&sha256=" + "0" * 64,
           "name=f&size=1&sha256=" + "0" * 64 + "&path=/x")
    for query in bad:
        call("POST", at + query, b"x").is_(400, "invalid_request", query)
    for name in ("", "/f", "../f", "a/../f", "a//f", "a/", ".", "a\nb", "a\\b", "a\x7f", ".berth-write-0", "a/.berth-write-0",
                 "x" * 256, "x/" * 2100 + "x"):
        give(s, name, b"x").is_(400, "invalid_request", repr(name[:20]))
    call("POST", at + "name=%ff&size=1&sha256=" + sha(b"x"), b"x").is_(400, "invalid_request")
    for size in (2, 4):
        check("size mismatch" in give(s, "f", b"abc", size=size).is_(400, "invalid_request").json["detail"], size)
    detail = give(s, "f", b"abc", digest=sha(b"abd")).is_(400, "invalid_request").json["detail"]
    check("failed integrity validation" in detail and "was not touched" in detail, detail)
    give(s, "f", b"abc", size=5 << 30).is_(400)
    give(s, "f", b"abc", key="k").is_(400, "invalid_request")
    give(Session("nobody"), "f", b"abc").is_(404, "not_found")
    same(sh(s, "ls -A /mnt/session/uploads"), (0, ""))
    s.destroy()


@case
def an_upload_without_a_length_is_counted_too():
    need_ids()
    s = Session("chunked").made()

    def chunked(data, size, digest):
        connection = Socket(20)
        connection.request("POST", "/v1%s/uploads?name=f&size=%d&sha256=%s" % (s.path, size, digest), iter([data[:1000], data[1000:]]),
                           encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
        reply = connection.getresponse()
        text = reply.read()
        connection.close()
        return reply.status, text
    same(chunked(BINARY, len(BINARY), sha(BINARY))[0], 200)
    same(s.read("/mnt/session/uploads/f").raw, BINARY)
    for size in (len(BINARY) - 1, len(BINARY) + 1):
        status, text = chunked(BINARY, size, sha(BINARY))
        check(status == 400 and b"size mismatch" in text, size, status, text)
    # One that breaks off leaves what was there.
    connection = Socket(20)
    connection.putrequest("POST", "/v1%s/uploads?name=f&size=5&sha256=%s" % (s.path, sha(b"whole")))
    connection.putheader("Content-Length", "5")
    connection.endheaders(b"who")
    connection.close()
    same(s.read("/mnt/session/uploads/f").raw, BINARY)
    same(sh(s, "ls -A /mnt/session/uploads")[1], "f\n")
    s.destroy()


@case
def uploads_live_as_long_as_an_incarnation(service):
    need_ids()
    s = Session("lives").made()
    give(s, "f", b"kept").is_(200)
    if capability("lifecycle.park_freeze"):
        s.did("park", {"mode": "freeze"})
        give(s, "g", b"x").is_(409, "invalid_state")
        s.did("resume")
        same(s.read("/mnt/session/uploads/f").raw, b"kept")
    service.again()
    service.healthy()
    same(s.read("/mnt/session/uploads/f").raw, b"kept", "over SIGKILL of every process of berth")
    give(s, "g", b"after").is_(200)
    s.did("park")
    give(s, "f", b"x").is_(409, "invalid_state")
    s.did("resume")
    same(sh(s, "ls -A /mnt/session/uploads; ls -A /mnt/session/outputs"), (0, ""))
    give(s, "f", b"again").is_(200)
    s.did("archive")
    give(s, "f", b"x").is_(409, "invalid_state")
    s.destroy()


@case
def a_full_scratch_is_told_and_leaves_what_was_there():
    need_ids()
    s = Session("full").made(filesystem={"scratch": "8MiB"})
    give(s, "f", b"old").is_(200)
    give(s, "f", b"x" * (16 * MIB)).is_(507, "insufficient_storage")
    same(s.read("/mnt/session/uploads/f").raw, b"old")
    same(sh(s, "ls -A /mnt/session/uploads")[1], "f\n")
    s.destroy()


@case
def outputs_are_told_sorted_with_their_hashes():
    s = Session("outputs").made()
    same(collect(s).is_(200).json, {"path": "/mnt/session/outputs", "files": [], "bytes": 0, "left_out": [], "left_out_count": 0})
    sh(s, "cd /mnt/session/outputs && mkdir -p b/c && printf one > b/c/1 && printf two > a && : > 'z é' && ln -s a l && mkfifo p && "
          "python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('s')\" && chmod 700 a")
    answer = collect(s).is_(200).json
    same([(f["name"], f["size"], f["sha256"], f["mode"]) for f in answer["files"]],
         [("a", 3, sha(b"two"), "0700"), ("b/c/1", 3, sha(b"one"), "0644"), ("z é", 0, sha(b""), "0644")])
    same((answer["bytes"], answer["left_out_count"]), (6, 3))
    same([(e["name"], e["type"]) for e in answer["left_out"]], [("l", "symlink"), ("p", "other"), ("s", "other")])
    at = s.path + "/files?path=/mnt/session/outputs/b/c/1"
    tag = {"If-Match": answer["files"][1]["etag"]}
    same(call("GET", at, headers=tag).is_(200).raw, b"one")
    sh(s, "printf two > /mnt/session/outputs/b/c/1")
    call("GET", at, headers=tag).is_(412, "precondition_failed")
    sh(s, "mkdir /workspace/o && printf w > /workspace/o/f")
    same(collect(s, "/workspace/o").is_(200).json["files"][0]["sha256"], sha(b"w"))
    collect(s, "/workspace/o/f").is_(400, "invalid_request")
    collect(s, "/nowhere").is_(404, "not_found")
    collect(s, "relative").is_(400, "invalid_request")
    s.post("outputs/collect", {"paths": "/"}).is_(400, "invalid_request")
    s.post("outputs/collect", {}, key="k").is_(400, "invalid_request")
    s.did("park")
    same(collect(s, "/workspace/o").is_(200).json["files"][0]["sha256"], sha(b"w"), "of a parked session")
    collect(s).is_(404, "not_found")
    s.did("archive")
    same(collect(s, "/workspace/o").is_(200).json["bytes"], 1)
    s.destroy()


@case
def outputs_beyond_a_bound_are_refused_whole():
    s = Session("bounds-of-outputs").made(filesystem={"scratch": "400MiB"})
    over = {
        "files": ("for i in $(seq 101); do : > f$i; done", 413, "too_large"),
        "bytes": ("truncate -s $((25 * 1024 * 1024 + 1)) big", 413, "too_large"),
        "sum": ("for i in 1 2 3 4 5; do truncate -s 25M f$i; done", 413, "too_large"),
        "depth": ("mkdir -p " + "d/" * 40, 413, "too_large"),
        "control": ("touch \"$(printf 'a\\nb')\"", 400, "invalid_request"),
        "backslash": ("touch 'a\\b'", 400, "invalid_request"),
        "bytes-of-no-text": ("touch \"$(printf '\\377')\"", 400, "invalid_request"),
        "unsafe-link": ("ln -s x \"$(printf 'a\\001')\"", 400, "invalid_request"),
        "unreadable": ("touch secret; chmod 000 secret", 403, "forbidden"),
        "closed": ("mkdir closed; chmod 000 closed", 403, "forbidden"),
    }
    for name, (make, status, code) in over.items():
        sh(s, "mkdir /workspace/%s && cd /workspace/%s && touch good && %s" % (name, name, make))
        check("Nothing is collected" in collect(s, "/workspace/" + name).is_(status, code, name).json["detail"] or status == 403, name)
    sh(s, "mkdir /workspace/most && cd /workspace/most && for i in 1 2 3 4; do truncate -s 25M f$i; done")
    same(collect(s, "/workspace/most").is_(200).json["bytes"], 100 * MIB, "exactly the most")
    s.destroy()


@case
def FS_1_outputs_are_never_what_a_link_leads_to_whatever_is_renamed_meanwhile():
    s = Session("renames").made()
    sh(s, "mkdir -p /workspace/secret /workspace/o/d && printf secret > /workspace/secret/f && printf plain > /workspace/o/d/f")
    storm = s.start("cd /workspace/o; while :; do mv d e; ln -s ../secret d; rm d; mv e d; done")
    wanted, seen = sha(b"plain"), 0
    for _ in range(60):
        answer = collect(s, "/workspace/o")
        check(answer.status in (200, 503, 404), answer)
        for file in answer.json["files"] if answer.status == 200 else []:
            seen += 1
            same(file["sha256"], wanted, file["name"])
    s.post("execs/%s/cancel" % storm["exec_id"]).is_(200)
    s.ended(storm["exec_id"])
    same(collect(s, "/workspace/o").status in (200, 404), True)
    s.destroy()


@case
def a_worker_that_is_ended_in_an_upload_leaves_the_old_file(service):
    need_ids()
    s = Session("ended").made()
    give(s, "f", b"old").is_(200)
    big = b"n" * (64 * MIB)
    for verb in ("interrupt", "kill"):
        waits = in_background(lambda: give(s, "f", big))
        if verb == "kill":
            service.kill("front")
            service.healthy()
        else:
            s.did("interrupt")
        try:
            status = waits(60).status
            check(status in (200, 503), verb, status)
        except (OSError, http.client.HTTPException, Failure):
            pass
        now = s.read("/mnt/session/uploads/f").raw
        check(now in (b"old", big), verb, len(now))
        give(s, "f", b"old").is_(200)
        same(sh(s, "ls -A /mnt/session/uploads")[1], "f\n", verb)
    s.destroy()


if __name__ == "__main__":
    main(Service())
