"""This file holds what a service owes of trees that go in and out as tar archives, with the archivers that people
use, over a real `berth serve`. It never reads an archive itself."""

import io
import shutil
import stat
import subprocess
import tarfile
import tempfile

from service import *

BINARY = b"\0\1\2\xff" * 5000
LONG = "long-" * 40 + "end"


def tree(top):
    os.makedirs(top + "/d/empty")
    os.makedirs(top + "/" + LONG)
    for name, content, mode in (("d/binary", BINARY, 0o644), ("run", b"#!/bin/sh\n", 0o755), ("none", b"", 0o600),
                                (LONG + "/" + LONG, b"long", 0o644), ("name with blank\n", b"x", 0o644), ("grüße", b"y", 0o640)):
        with open(top + "/" + name, "wb") as file:
            file.write(content)
        os.chmod(top + "/" + name, mode)
        os.utime(top + "/" + name, (1700000000, 1700000000))
    os.symlink("d/binary", top + "/link")
    os.symlink("/nowhere/" + "x" * 150, top + "/dangling")
    os.link(top + "/run", top + "/d/same")


def told(top):
    """What can be compared of a tree."""
    found = {}
    for directory, names, files in os.walk(top):
        for name in names + files:
            path = os.path.join(directory, name)
            st = os.lstat(path)
            what = os.readlink(path) if stat.S_ISLNK(st.st_mode) else None
            if stat.S_ISREG(st.st_mode):
                with open(path, "rb") as file:
                    what = (file.read(), oct(st.st_mode & 0o7777), int(st.st_mtime))
            found[os.path.relpath(path, top)] = (stat.S_IFMT(st.st_mode), what)
    return found


def by_python(top, form):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        archive.add(top, arcname=".")
    return out.getvalue()


def by_program(*words):
    return subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout


def unpacked_by(words, archive, top):
    os.makedirs(top)
    subprocess.run([*words, "-C", top], input=archive, check=True, stderr=subprocess.DEVNULL)
    return told(top)


def python_unpacks(archive, top):
    os.makedirs(top)
    with tarfile.open(fileobj=io.BytesIO(archive)) as one:
        one.extractall(top)
    return told(top)


def put(session, path, archive, **more):
    return call("PUT", session.path + "/tar?path=" + path, archive, timeout=30, **more)


@case
def a_tree_goes_in_and_comes_out_with_every_archiver():
    s = Session("archives").made()
    top = tempfile.mkdtemp()
    os.makedirs(top + "/from")
    tree(top + "/from")
    want = told(top + "/from")
    makers = {
        "gnu": by_program("tar", "-C", top + "/from", "--format=gnu", "-cf", "-", "."),
        "gnu-posix": by_program("tar", "-C", top + "/from", "--format=posix", "-cf", "-", "."),
        "python-pax": by_python(top + "/from", tarfile.PAX_FORMAT),
        "python-gnu": by_python(top + "/from", tarfile.GNU_FORMAT),
    }
    if shutil.which("bsdtar"):
        makers["bsdtar"] = by_program("bsdtar", "-C", top + "/from", "-cf", "-", ".")
    for name, archive in makers.items():
        told_back = put(s, "/workspace/" + name, archive).is_(200).json
        same(told_back["entries"], len(want), name)
        out = call("GET", s.path + "/tar?path=/workspace/" + name, timeout=30).is_(200)
        same(out.headers["Content-Type"], "application/x-tar")
        same(unpacked_by(["tar", "-xpf", "-"], out.raw, top + "/gnu-" + name), want, name, "to GNU tar")
        same(python_unpacks(out.raw, top + "/python-" + name), want, name, "to Python")
        if shutil.which("bsdtar"):
            same(unpacked_by(["bsdtar", "-xpf", "-"], out.raw, top + "/bsd-" + name), want, name, "to bsdtar")
    done = s.run("ls -la /workspace/gnu; stat -c %h /workspace/gnu/run")
    check(done["text"].endswith("2\n") if "text" in done else True, done)
    s.did("park")
    same(python_unpacks(call("GET", s.path + "/tar?path=/workspace/gnu").is_(200).raw, top + "/parked"), want, "of a parked session")
    put(s, "/workspace/new", makers["gnu"]).is_(409, "invalid_state")
    s.did("resume")
    call("GET", s.path + "/tar?path=/workspace/gnu/run").is_(400)
    call("GET", s.path + "/tar?path=/workspace/absent").is_(404)
    call("GET", s.path + "/tar?path=/workspace/gnu", headers={"Range": "bytes=0-5"}).is_(400)
    shutil.rmtree(top)
    s.destroy().is_(200)


@case
def what_an_archive_leaves_out_is_counted_and_named_behind_it():
    s = Session("left-out").made()
    s.run("mkdir -p t/closed t/open; mkfifo 't/open/a b,c'; touch t/secret t/kept; chmod 0 t/closed t/secret; printf x >\"$(printf 't/\\377')\"")

    def trailers(path):
        connection = Socket(20)
        connection.connect()
        connection.sock.sendall(("GET /v1%s/tar?path=%s HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n" % (s.path, path)).encode())
        raw = b"".join(iter(lambda: connection.sock.recv(65536), b""))
        connection.close()
        check(b"\r\nTrailer: X-Berth-Left-Out, X-Berth-Left-Out-Names\r\n" in raw.split(b"\r\n\r\n")[0], raw[:400])
        return raw[raw.rindex(b"\r\n0\r\n") + 5:].decode()
    told = trailers("/workspace/t")
    check(told.startswith("X-Berth-Left-Out: 3\r\nX-Berth-Left-Out-Names: ") and told.endswith("\r\n\r\n"), told)
    same(sorted(told.split("\r\n")[1].split(": ")[1].split(", ")), ["closed", "open/a%20b%2Cc", "secret"])
    same(trailers("/workspace/t/open"), "X-Berth-Left-Out: 1\r\nX-Berth-Left-Out-Names: a%20b%2Cc\r\n\r\n")
    s.run("mkdir many; cd many; i=0; while [ $i -lt 300 ]; do mkfifo pipe-number-$i; i=$((i+1)); done; mkdir ../none")
    told = trailers("/workspace/many")
    check(told.startswith("X-Berth-Left-Out: 300\r\n") and 20 < told.count(", ") < 100, told)
    same(trailers("/workspace/none"), "X-Berth-Left-Out: 0\r\n\r\n")
    out = call("GET", s.path + "/tar?path=/workspace/t").is_(200).raw
    same(sorted(name for name in told_names(out)), ["kept", "open", "\udcff"])
    s.destroy().is_(200)


def told_names(archive):
    with tarfile.open(fileobj=io.BytesIO(archive)) as one:
        return one.getnames()


def entry(name, kind=tarfile.REGTYPE, content=b"", link="", mode=0o644):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    info.size = len(content)
    return info, content


def archive_of(*entries):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


@case
def FS_1_a_hostile_archive_stays_in_the_tree_that_it_is_for():
    s = Session("hostile").made()
    s.write("/workspace/victim/f", b"whole").is_(200)
    bad = {
        "absolute": [entry("/workspace/victim/f", content=b"evil")],
        "up": [entry("../victim/f", content=b"evil")],
        "up-inside": [entry("a/../../victim/f", content=b"evil")],
        "through-a-link": [entry("l", tarfile.SYMTYPE, link="../victim"), entry("l/f", content=b"evil")],
        "through-an-absolute-link": [entry("l", tarfile.SYMTYPE, link="/workspace/victim"), entry("l/f", content=b"evil")],
        "hard-link-out": [entry("h", tarfile.LNKTYPE, link="/workspace/victim/f"), entry("h", content=b"evil")],
        "hard-link-up": [entry("h", tarfile.LNKTYPE, link="../victim/f")],
        "hard-link-through-a-link": [entry("l", tarfile.SYMTYPE, link="../victim"), entry("h", tarfile.LNKTYPE, link="l/f")],
        "hard-link-to-a-link": [entry("l", tarfile.SYMTYPE, link="../victim/f"), entry("h", tarfile.LNKTYPE, link="l")],
        "device": [entry("dev", tarfile.CHRTYPE)],
        "block": [entry("dev", tarfile.BLKTYPE)],
        "fifo": [entry("fifo", tarfile.FIFOTYPE)],
        "sparse": [entry("sparse", tarfile.GNUTYPE_SPARSE)],
        "a-file-for-the-top": [entry(".", content=b"evil")],
    }
    for name, entries in bad.items():
        answer = put(s, "/workspace/" + name, archive_of(entry("before", content=b"kept"), *entries))
        answer.is_(400, "invalid_request", name)
        check("What came before it was written." in answer.json["detail"], name, answer.json["detail"])
        same(s.read("/workspace/%s/before" % name).raw, b"kept", name)
    same(s.read("/workspace/victim/f").raw, b"whole")
    names = call("GET", s.path + "/files/list?path=/workspace/victim").json["entries"]
    same([e["name"] for e in names], ["f"])
    put(s, "/workspace/modes", archive_of(entry("set", content=b"x", mode=0o6755), entry("twice", content=b"1"),
                                          entry("twice", content=b"22"))).is_(200)
    same(call("HEAD", s.path + "/files?path=/workspace/modes/set").headers["X-Berth-Mode"], "0755")
    same(s.read("/workspace/modes/twice").raw, b"22", "the later of two")
    whole = archive_of(entry("a", content=b"a" * 3000))
    for n in (0, 100, 512, 600, 3000, 512 + 3072):
        put(s, "/workspace/torn", whole[:n]).is_(400)
    put(s, "/workspace/torn", b"\x1f\x8b" + b"x" * 1000).is_(400)
    put(s, "/workspace/torn", whole + b"more behind it").is_(400)
    # A size that no file can have, and no bytes: nothing is made of it.
    info, _ = entry("huge")
    info.size = 1 << 60
    put(s, "/workspace/huge", info.tobuf(tarfile.GNU_FORMAT)).is_(413)
    check(call("HEAD", s.path + "/files?path=/workspace/huge/huge").status == 404, "nothing of it is there")
    s.destroy().is_(200)


@case
def FS_3_an_upload_says_what_it_is_and_what_it_replaces():
    import base64
    import hashlib
    s = Session("uploads").made()
    at = s.path + "/files?path=/workspace/f"

    def digest(data):
        return {"Content-Digest": "sha-256=:%s:" % base64.b64encode(hashlib.sha256(data).digest()).decode()}
    first = call("PUT", at, BINARY, headers={**digest(BINARY), "If-None-Match": "*"}).is_(200).headers["ETag"]
    same(call("HEAD", at).headers["ETag"], first)
    call("PUT", at, b"other", headers={"If-None-Match": "*"}).is_(412, "precondition_failed")
    call("PUT", at, b"other", headers=digest(b"another")).is_(400)
    same(s.read("/workspace/f").raw, BINARY, "as it was")
    s.run("printf x | dd of=/workspace/f conv=notrunc status=none; touch -d @1 /workspace/f")
    call("PUT", at, b"other", headers={"If-Match": first}).is_(412, "precondition_failed")
    now = call("HEAD", at).headers["ETag"]
    call("GET", at, headers={"If-None-Match": now}).is_(304)
    whole = call("GET", at, headers={"If-Range": first, "Range": "bytes=0-3"}).is_(200).raw
    same(whole, b"x" + BINARY[1:])
    same(call("GET", at, headers={"If-Range": now, "Range": "bytes=0-3"}).is_(206).raw, whole[:4])
    call("PUT", at, b"other", headers={"If-Match": now, **digest(b"other")}).is_(200)
    call("DELETE", at, headers={"If-Match": now}).is_(412, "precondition_failed")
    call("DELETE", at, headers={"If-Match": call("HEAD", at).headers["ETag"]}).is_(200)
    new = s.path + "/files?path=/workspace/new/%s/f"
    call("PUT", new % "a", b"x", headers={"If-Match": first}).is_(412, "precondition_failed")
    call("PUT", new % "a/b", b"x", headers={"If-Match": "*"}).is_(412, "precondition_failed")
    call("PUT", new % "c/d", b"x", headers=digest(b"y")).is_(400)
    same(s.run("ls")["text"], "", "directories that were made for nothing")
    call("PUT", new % "a", b"x", headers={"If-None-Match": "*"}).is_(200)
    call("PUT", new % "a/./e//g", b"x", headers=digest(b"y")).is_(400)
    same(s.run("find new")["text"], "new\nnew/a\nnew/a/f\n")
    at = s.path + "/files?path=/workspace/d"
    s.run("mkdir d")
    tag = {"If-Match": call("HEAD", at).headers["ETag"]}
    s.run("mkdir d/e")
    call("DELETE", at, headers=tag).is_(412, "precondition_failed")
    tag = {"If-Match": call("HEAD", at).headers["ETag"]}
    call("DELETE", at + "&recursive=true", headers=tag).is_(400, "invalid_request")
    s.run("rmdir d/e")
    call("DELETE", at, headers={"If-Match": call("HEAD", at).headers["ETag"]}).is_(200)
    s.run("mkdir -p d/e")
    call("DELETE", at + "&recursive=true", headers={"If-Match": "*"}).is_(200)
    call("DELETE", at + "&recursive=true", headers={"If-Match": "*"}).is_(404)
    s.destroy().is_(200)


if __name__ == "__main__":
    main(Service())
