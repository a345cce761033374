"""This file holds what a service owes of who watches a directory of a session: every change or word of its loss, an
end that says why, and nobody held up by a watcher that does not read. Over a real `berth serve`."""

from service import *


class Watch:
    """A watch that is read in the background."""

    def __init__(self, session, path, recursive=False):
        self.stream = Stream("%s/files/watch?path=%s%s" % (session.path, path, "&recursive=true" if recursive else ""), timeout=60)
        self.seen, self.whole = [], False
        threading.Thread(target=self.read, daemon=True).start()
        until(lambda: self.seen)
        same(self.seen[0]["event"], "ready")

    def read(self):
        try:
            for event in self.stream:
                self.seen.append(event)
            self.whole = True
        except (OSError, http.client.HTTPException, ValueError, AttributeError):
            pass

    def has(self, event, path):
        return any(e["event"] == event and e.get("path") == path for e in self.seen)

    def told(self, *wanted):
        for event, path in wanted:
            until(lambda: self.has(event, path))

    def ended(self, code):
        until(lambda: self.seen[-1]["event"] == "end" and self.whole)
        same(self.seen[-1]["code"], code, self.seen[-1])
        return self.seen[-1]


@case
def what_changes_is_told_by_name_and_kind():
    s = Session("watched").made()
    s.run("mkdir -p d/sub; echo x >d/old; ln -s /tmp d/link")
    w = Watch(s, "/workspace/d")
    s.run("cd d; echo x >new; echo y >>old; chmod 600 old; mv old moved; rm new; echo z >sub/below; echo t >/tmp/through; mkdir more")
    at = "/workspace/d/"
    w.told(("created", at + "new"), ("modified", at + "old"), ("attributes", at + "old"), ("renamed", at + "old"), ("created", at + "moved"),
           ("removed", at + "new"), ("created", at + "more"))
    s.write(at + "by-request", b"1").is_(200)
    w.told(("created", at + "by-request"))
    check(not any(".berth-write-" in e["path"] for e in w.seen if "path" in e), "half-written files are nobody's")
    check(not any(e["path"].startswith((at + "sub/", at + "link/", "/tmp")) for e in w.seen if "path" in e), "below, or through a link")
    types = {e["name"]: e["type"] for e in w.seen if e["event"] == "created"}
    same((types["more"], types["by-request"]), ("directory", "file"))
    same([e["id"] for e in w.seen if e["id"]], [], "numbers")
    s.run("printf x >\"$(printf '/workspace/d/\\377')\"")
    until(lambda: any(e.get("name_base64") == "/w==" for e in w.seen))
    s.run("mv d elsewhere")
    w.ended(None)
    same(w.seen[-2]["event"], "gone")
    s.destroy()


@case
def below_a_directory_new_ones_are_watched_and_moved_ones_are_known_by_their_new_name():
    s = Session("below").made()
    s.run("mkdir -p t/a/b out; ln -s ../out t/link; ln -s ../../out t/a/link")
    w = Watch(s, "/workspace/t", True)
    s.run("cd t; echo x >a/b/f; mkdir -p n/m/o; echo x >n/m/o/f; mv a c; echo y >c/b/g; echo z >../out/hidden; mkdir ../out/d")
    at = "/workspace/t/"
    w.told(("created", at + "a/b/f"), ("created", at + "n/m/o"), ("created", at + "n/m/o/f"), ("renamed", at + "a"), ("created", at + "c"),
           ("created", at + "c/b/g"))
    s.run("cd t; mv c/b ../out/b; echo x >../out/b/unseen; rm -r n; echo last >last")
    w.told(("renamed", at + "c/b"), ("removed", at + "n/m/o/f"), ("removed", at + "n"), ("created", at + "last"))
    check(not any("hidden" in e.get("path", "") or "unseen" in e.get("path", "") or "link/" in e.get("path", "") for e in w.seen), w.seen)
    s.run("cd t; mkdir -p " + " ".join("m%d" % i for i in range(1100)))
    until(lambda: w.seen[-1]["event"] == "end")
    same(w.seen[-1]["code"], "too_large")
    check("overflow" in [e["event"] for e in w.seen])
    call("GET", s.path + "/files/watch?path=/workspace/t&recursive=true").is_(413, "too_large")
    s.destroy()


@case
def FS_2_what_a_watcher_does_not_read_is_lost_and_told_and_holds_nobody_up():
    s = Session("flood").made()
    s.run("mkdir /tmp/d")
    stream = Stream(s.path + "/files/watch?path=/tmp/d", timeout=60)
    events = iter(stream)
    same(next(events)["event"], "ready")
    name = s.start("python3 -c \"import os\nfor i in range(15000): os.close(os.open('/tmp/d/f%d' % (i % 50), os.O_CREAT | os.O_WRONLY)); os.unlink('/tmp/d/f%d' % (i % 50))\"")["exec_id"]
    until(lambda: s.exec(name)["state"] == "ended", 60)
    same(s.exec(name)["exit_code"], 0)
    s.write("/workspace/beside", b"x").is_(200)
    for count, event in enumerate(events):
        if event["event"] == "overflow":
            break
        check(count < 200000, "the overflow is not told")
    s.run("touch /tmp/d/after")
    for event in events:
        if event.get("path") == "/tmp/d/after":
            break
    stream.close()
    s.destroy()


@case
def a_watch_ends_with_what_it_watches_and_says_why(service):
    s = Session("ends").made()
    w = Watch(s, "/workspace")
    s.did("interrupt")
    w.ended("unavailable")
    w = Watch(s, "/workspace")
    s.run("kill -9 -1")  # everything of the user but the shell itself
    w.ended("unavailable")
    for verb in ("park", "archive"):
        w = Watch(s, "/workspace")
        s.did(verb)
        w.ended("unavailable")
        call("GET", s.path + "/files/watch?path=/workspace").is_(409, "invalid_state", verb)
        if verb == "park":
            s.did("resume")
    s.destroy()
    s = Session("ends-2").made()
    w = Watch(s, "/workspace")
    service.kill("front")
    service.healthy()
    same([e["event"] for e in w.seen], ["ready"], "it broke off")
    w = Watch(s, "/workspace", True)
    s.run("echo x >f")
    w.told(("created", "/workspace/f"))
    s.destroy()
    w.ended("unavailable")


@case
def watches_are_counted_and_what_cannot_be_watched_is_refused():
    s = Session("counted").made()
    s.run("echo x >f; mkdir closed; chmod 0 closed")
    at = s.path + "/files/watch?path="
    call("GET", at + "/workspace/f").is_(400, "invalid_request")
    call("GET", at + "/workspace/none").is_(404, "not_found")
    call("GET", at + "/workspace/closed").is_(403, "forbidden")
    call("GET", at + "/proc").is_(403, "forbidden")
    call("GET", at + "workspace").is_(400, "invalid_request")
    call("GET", at + "/workspace", headers={"Last-Event-ID": "3"}).is_(400, "invalid_request")
    call("GET", at + "/workspace&recursive=maybe").is_(400, "invalid_request")
    call("GET", session_path("nobody") + "/files/watch?path=/workspace").is_(404, "not_found")
    open_ones = [Watch(s, "/workspace") for _ in range(16)]
    call("GET", at + "/workspace").is_(429, "rate_limited")
    s.write("/workspace/g", b"x").is_(200)
    for w in open_ones:
        w.told(("created", "/workspace/g"))
    open_ones[0].stream.reply.close()
    open_ones[0].stream.close()
    until(lambda: call_status(at + "/workspace") != 429)
    s.destroy()


def call_status(path):
    connection = Socket(10)
    connection.request("GET", "/v1" + path)
    status = connection.getresponse().status
    connection.close()
    return status


@case
def SES_6_who_only_watches_does_not_keep_a_session_from_being_idle():
    s = Session("idle").made(idle={"after_ms": 700, "action": "park"})
    w = Watch(s, "/workspace")
    w.ended("unavailable")
    until(lambda: s.get()["state"] == "parked")
    s.destroy()


if __name__ == "__main__":
    main(Service())
