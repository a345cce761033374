// This file tests the TypeScript package over a real `berth serve`: the client, a provider's operations with
// the real tools of the agent, and the factory. Arguments: parts of names of tests.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as pi from "@earendil-works/pi-coding-agent";
import { BerthError, Client, createPiTools, createProviderFactory, SandboxProvider, SessionHandle } from "berth";
import { check, fails, gateway, main, relay, same, Service, SOCKET, test, until } from "./harness.mjs";
import "./units.mjs";

const HOST = `unix:${SOCKET}`;
const client = new Client({ host: HOST });
const service = await new Service().start();
const sha256 = (data) => createHash("sha256").update(data).digest("hex");
let made = 0;

async function session(body = {}, of = client) {
  return SessionHandle.create(of, "w", { session_id: `s${made++}`, owner: "tests", ...body });
}
async function provider(options = {}) {
  return new SandboxProvider(await session({}, new Client({ host: HOST })), { deleteVolume: true, ...options });
}
const run = async (s, shell, more = {}) => (await s.run({ shell, ...more })).stdout.toString();
const textOf = (result) => result.content.map((part) => part.text).join("");

// ---- the client -------------------------------------------------------------------------------------

test("the example of the README prints what it says", () => {
  const done = spawnSync(process.execPath, ["example.mjs"], { cwd: new URL(".", import.meta.url).pathname, encoding: "utf8", timeout: 60_000 });
  same(done.stderr, "");
  same(done.stdout, "stdout: hello\nstderr: from hello.sh\nended: exit 3\nhello.sh 48\ncommands: 1\n");
  same(done.status, 0);
});

test("a refusal is an error with its code, and nothing else is", async () => {
  const missing = new SessionHandle(client, "w", "nobody");
  const error = await missing.get().catch((problem) => problem);
  check(error instanceof BerthError, error);
  same([error.code, error.status], ["not_found", 404]);
  check(error.requestId, "no request id");
  check((await fails(() => client.call("sessionCreate", { path: { workspace_id: "w" }, body: { nothing: 1 } }))).startsWith("invalid_request"));
  const nobody = new Client({ host: "unix:/nonexistent/berth.sock", retryMs: 0 });
  same((await nobody.call("health", { path: {} }).catch((problem) => problem)).name, "BerthConnectionError");
});

test("over TCP the token is sent, and over the unix socket it is not", async () => {
  const seen = [];
  const between = await relay(0, [], (chunk) => seen.push(chunk.toString("latin1")));
  const tcp = new Client({ host: `http://127.0.0.1:${between.port}`, token: "the-token" });
  same((await tcp.call("health", { path: {} })).status, "ok");
  check(/\r\nauthorization: Bearer the-token\r\n/i.test(seen.join("")), seen.join(""));
  const p = new SandboxProvider(await session({}, tcp), { deleteVolume: true });
  same((await p.operations.ls.stat("/workspace")).isDirectory(), true);
  const silent = new Client({ host: HOST, token: "the-token" });
  same(silent.transport.token, undefined);
  between.close();
});

test("a provider over TCP is disposed in one synchronous call", async () => {
  const between = await gateway();
  const p = new SandboxProvider(await session({}, new Client({ host: `http://127.0.0.1:${between.port}`, token: "t" })), { deleteVolume: true });
  const handle = new SessionHandle(client, "w", p.session.id);
  p.dispose();
  check(["destroying", "destroyed"].includes((await handle.get()).state));
  same(p.isPoisoned(), false);
  between.close();
});

test("a create whose answer is lost is made once, and answered", async () => {
  const path = `${SOCKET}.create`;
  const between = await relay(path, [0, 20]);
  const broken = new Client({ host: `unix:${path}` });
  const s = await session({ session_id: "once" }, broken);
  same(between.broken(), 2, "connections that broke");
  same((await s.get()).incarnation, 1);
  broken.close();
  between.close();
  await s.destroy(true).catch(() => undefined);
  await new SessionHandle(client, "w", "once").destroy(true);
});

test("output goes on by number over broken connections, and the command ran once", async () => {
  const s = await session();
  const path = `${SOCKET}.output`;
  const between = await relay(path, [0, 900, 3000, 1, 5000, 20000, 300]);
  const broken = new Client({ host: `unix:${path}` });
  const running = await new SessionHandle(broken, "w", s.id).exec({ shell: "echo x >>/workspace/ran; i=0; while [ $i -lt 3000 ]; do echo line $i; echo err $i >&2; i=$((i+1)); done; exit 5" });
  let last = 0;
  const text = { stdout: "", stderr: "" };
  let end;
  for await (const frame of running) {
    check(frame.seq > last, "frame", frame.seq, "after", last);
    last = frame.seq;
    if (frame.type === "exit") end = frame.exec;
    else text[frame.type] += frame.data;
  }
  check(between.broken() >= 6, between.broken(), "connections broke");
  same([end.reason, end.exit_code], ["exit", 5]);
  const lines = (word) => Array.from({ length: 3000 }, (_, i) => `${word} ${i}\n`).join("");
  check(text.stdout === lines("line"), "stdout differs");
  check(text.stderr === lines("err"), "stderr differs");
  same((await s.readFile("/workspace/ran")).toString(), "x\n");
  broken.close();
  between.close();
  await s.destroy(true);
});

test("a service that is killed and started again is not noticed by who follows", async () => {
  const s = await session();
  const running = await s.exec({ shell: "i=0; while [ $i -lt 30 ]; do echo $i; i=$((i+1)); sleep 0.1; done" });
  let text = "";
  let killed = false;
  for await (const frame of running) {
    if (frame.type === "stdout") text += frame.data;
    if (!killed && text.includes("3\n")) {
      killed = true;
      await service.stop("SIGKILL");
      await service.start();
    }
  }
  same(text, Array.from({ length: 30 }, (_, i) => `${i}\n`).join(""));
  const types = [];
  for await (const event of s.events({ follow: false })) types.push(event.type);
  same(types.slice(0, 2), ["session.created", "session.running"]);
  await s.destroy(true);
});

test("standard input, signals and the end are a command's own", async () => {
  const s = await session();
  const cat = await s.start({ argv: ["cat"], stdin: "pipe" });
  same(await cat.write(Buffer.from("hello ")), 6);
  same(await cat.write(Buffer.from("world"), 6), 11);
  await cat.closeStdin();
  same((await cat.wait()).exit_code, 0);
  let out = "";
  for await (const frame of cat.output()) if (frame.type === "stdout") out += frame.data;
  same(out, "hello world");
  const sleeper = await s.start({ argv: ["sleep", "100"] });
  await sleeper.signal("TERM");
  same((await sleeper.wait()).signal, 15);
  const bytes = await s.run({ shell: "printf '\\377\\000\\376'" });
  same([...bytes.stdout], [255, 0, 254]);
  await s.destroy(true);
});

test("events are followed to the session's end", async () => {
  const s = await session();
  const types = [];
  const followed = (async () => {
    for await (const event of s.events()) types.push(event.type);
  })();
  await s.park();
  await s.resume();
  await s.destroy(true);
  await followed;
  same([types[0], types.at(-1)], ["session.created", "session.deleted"]);
});

// ---- operations -------------------------------------------------------------------------------------

test("bash streams, and says how a command ended", async () => {
  const p = await provider();
  const exec = async (command, more = {}) => {
    const parts = [];
    const done = await p.operations.bash.exec(command, "/workspace", { onData: (data) => parts.push([Date.now(), data.toString()]), ...more });
    return { ...done, parts, text: parts.map((part) => part[1]).join("") };
  };
  const streamed = await exec("echo a; sleep 1; echo b >&2; exit 7");
  same([streamed.exitCode, streamed.text], [7, "a\nb\n"]);
  check(streamed.parts.at(-1)[0] - streamed.parts[0][0] > 500, "it came at the end");
  same((await exec("kill -9 $$")).exitCode, 137, "a signal");
  same((await exec("exit 255")).exitCode, 255);
  same(await fails(() => exec("echo begun; sleep 100", { timeout: 1 })), "timeout:1");
  same(await fails(() => exec("sleep 100", { timeout: 0.5 })), "timeout:0.5");
  same((await exec("echo $0 $BASH_VERSION")).text.startsWith("/bin/bash "), true);
  same(await fails(() => p.operations.bash.exec("true", "/workspace/nowhere", { onData: () => {} })), "Working directory does not exist: /workspace/nowhere");
  check((await fails(() => p.operations.bash.exec("true", "/etc", { onData: () => {} }))).includes("may be named"));
  const big = await exec("head -c 5000000 /dev/zero | tr '\\0' x");
  same([big.exitCode, big.text.length], [0, 5000000]);
  p.dispose();
});

test("bash goes on over a service that is killed in the middle", async () => {
  const p = await provider();
  let text = "";
  let again;
  const done = await p.operations.bash.exec("for i in 1 2 3 4 5 6 7 8 9 10; do echo $i; sleep 0.2; done; exit 4", "/workspace", {
    onData: (data) => {
      text += data;
      again ??= service.stop("SIGKILL").then(() => service.start());
    },
    timeout: 50,
  });
  await again;
  same([done.exitCode, text], [4, "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n"]);
  p.dispose();
});

test("an abort ends the command and all it started, before the call ends", async () => {
  const p = await provider();
  for (const when of ["before", "running"]) {
    const abort = new AbortController();
    if (when === "before") abort.abort();
    const begun = Date.now();
    same(
      await fails(() =>
        p.operations.bash.exec("(setsid sleep 987 &) ; echo started; sleep 987", "/workspace", {
          onData: () => abort.abort(),
          signal: abort.signal,
          timeout: 50,
        }),
      ),
      "aborted",
      when,
    );
    check(Date.now() - begun < 40_000, "it took its time");
  }
  await until(async () => !(await run(p.session, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")).includes("sleep 987"));
  p.dispose();
});

test("a command whose output cannot be taken is ended with all it started", async () => {
  const p = await provider();
  const full = () => {
    throw new Error("no room");
  };
  same(await fails(() => p.operations.bash.exec("(setsid sleep 986 &) ; echo started; sleep 986", "/workspace", { onData: full, timeout: 1e9 })), "no room");
  await until(async () => !(await run(p.session, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")).includes("sleep 986"));
  p.dispose();
});

test("nothing of the caller's environment goes in but what is allowed", async () => {
  const p = await provider({ envAllowed: ["TERM", "MINE"] });
  let text = "";
  await p.operations.bash.exec("env", "/workspace", { onData: (data) => (text += data), env: { ...process.env, TERM: "vt100", MINE: "yes", PATH: "/workspace", BASH_ENV: "/workspace/x", LD_PRELOAD: "/x" } });
  check(text.includes("TERM=vt100\n") && text.includes("MINE=yes\n"), text);
  for (const name of ["HOST_SECRET", "BASH_ENV", "LD_PRELOAD", "PATH=/workspace", "BERTH_"]) check(!text.includes(name), name, text);
  p.dispose();
});

test("what lies in the workspace is not what runs", async () => {
  const p = await provider();
  const trap = "#!/bin/sh\necho trapped >>/workspace/.trapped\necho /workspace/secret\n";
  for (const name of ["find", "grep", "rg", "fd", "bash", "sh", "ls", "env", "cat"]) await p.session.writeFile(`/workspace/${name}`, trap, "0755");
  for (const name of [".bashrc", ".bash_profile", ".profile", ".ripgreprc"]) await p.session.writeFile(`/workspace/${name}`, "echo trapped >>/workspace/.trapped\n");
  await p.operations.bash.exec("true", "/workspace", { onData: () => {}, env: { PATH: "/workspace", BASH_ENV: "/workspace/.bashrc", ENV: "/workspace/.profile" } });
  same((await p.operations.find.glob("*.none", "/workspace", { ignore: [], limit: 10 })).length, 0);
  check((await p.operations.grep.grep("trapped")).files.includes("/workspace/find"));
  await p.operations.ls.readdir("/workspace");
  same(await p.operations.ls.exists("/workspace/.trapped"), false);
  p.dispose();
});

test("files: paths, binaries, parents, and what is not there", async () => {
  const p = await provider();
  const { read, write, edit, ls, find } = p.operations;
  await write.writeFile("/workspace/a/b/c.txt", "text ünï\n");
  same((await read.readFile("/workspace/a/b/c.txt")).toString(), "text ünï\n");
  const binary = Buffer.from(Array.from({ length: 100_000 }, (_, i) => (i * 7) & 255));
  await p.session.writeFile("/workspace/bin", binary);
  same(sha256(await read.readFile("/workspace/bin")), sha256(binary));
  for (const path of ["/etc/passwd", "/workspace/../etc/passwd", "/workspacex", "/", "../etc"])
    for (const work of [() => read.readFile(path), () => write.writeFile(path, "x"), () => edit.access(path), () => ls.exists(path), () => find.glob("*", path, {})])
      check((await fails(work)).includes("may be named"), path);
  check((await fails(() => write.writeFile("/mnt/session/uploads/x", "x"))).includes("may be named"));
  same(await find.exists("/workspace/none"), false);
  same(await find.exists("/workspace/a"), true);
  same(await fails(() => read.access("/workspace/none")), "ENOENT: no such file or directory, access '/workspace/none'");
  await run(p.session, "ln -s a link; ln -s nowhere broken; mkfifo pipe", { cwd: "/workspace" });
  const names = await ls.readdir("/workspace"); // and what holds protected names
  same(names.filter((name) => !name.startsWith(".")).sort(), ["a", "bin", "broken", "link", "pipe"]);
  same((await ls.stat("/workspace/a")).isDirectory(), true);
  same((await ls.stat("/workspace/link")).isDirectory(), true, "through a link");
  same((await ls.stat("/workspace/bin")).isDirectory(), false);
  check((await fails(() => ls.stat("/workspace/broken"))).startsWith("ENOENT"));
  check((await fails(() => read.readFile("/workspace/pipe"))).startsWith("not_a_regular_file"));
  p.dispose();
});

test("find and grep: globs, limits, hidden and binary files", async () => {
  const p = await provider();
  await run(p.session, "mkdir -p src/deep node_modules/x .hidden; echo needle >src/a.ts; echo needle >src/deep/b.ts; echo needle >node_modules/x/c.ts; echo Needle >.hidden/d.ts; printf 'needle\\000' >src/e.bin; i=0; while [ $i -lt 150 ]; do echo many >src/m$i.txt; i=$((i+1)); done; echo x >'src/new\nline.ts'", { cwd: "/workspace" });
  const { find, glob, grep } = p.operations;
  const ignore = ["**/node_modules/**", "**/.git/**"];
  const names = async (pattern, where = "/workspace") => (await find.glob(pattern, where, { ignore, limit: 1000 })).map((path) => path.slice("/workspace/".length));
  same(await names("*.ts"), [".hidden/d.ts", "src/a.ts", "src/deep/b.ts", "src/new\nline.ts"]);
  same(await names("src/*.ts"), ["src/a.ts", "src/new\nline.ts"]);
  same(await names("**/{a,b}.ts"), ["src/a.ts", "src/deep/b.ts"]);
  same(await names("[ab].ts", "/workspace/src"), ["src/a.ts", "src/deep/b.ts"]);
  same((await names("*.txt")).length, 100, "at most");
  same((await glob.glob("m1?.txt", "/workspace", { limit: 3 })).length, 3);
  same((await grep.grep("needle")).files, ["/workspace/node_modules/x/c.ts", "/workspace/src/a.ts", "/workspace/src/deep/b.ts"]);
  same((await grep.grep("needle", { ignoreCase: true, glob: "d.*" })).files, ["/workspace/.hidden/d.ts"]);
  const many = await grep.grep("many", { headLimit: 5 });
  same([many.files.length, many.truncated], [5, true]);
  same((await grep.grep("(", { literal: true })).files, []);
  check((await fails(() => grep.grep("("))).length > 0);
  same((await grep.grep("-e", { path: "/workspace/src" })).files, []);
  p.dispose();
});

test("the agent's own tools work in a session", async () => {
  const p = await provider();
  const tools = createPiTools(pi, p);
  let n = 0;
  const use = async (name, input, signal, onUpdate) => textOf(await tools[name].execute(`call-${n++}`, input, signal, onUpdate));
  await use("write", { path: "src/hello.py", content: "print('hello')\nprint('there')\n" });
  check((await use("read", { path: "src/hello.py" })).includes("print('there')"));
  await use("edit", { path: "src/hello.py", edits: [{ oldText: "there", newText: "again" }] });
  check((await use("bash", { command: "cat src/hello.py; pwd; id -u" })).includes("print('again')\n/workspace\n1000"));
  check((await use("find", { pattern: "**/*.py" })).includes("src/hello.py"));
  check((await use("ls", { path: "." })).includes("src/"));
  same(await use("grep", { pattern: "again" }), "/workspace/src/hello.py");
  check((await fails(() => use("bash", { command: "echo partial; sleep 60", timeout: 1 }))).includes("timed out after 1 seconds"));
  check((await fails(() => use("bash", { command: "exit 3" }))).includes("exited with code 3"));
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 500);
  check((await fails(() => use("bash", { command: "echo before; sleep 60" }, abort.signal))).includes("aborted"));
  check((await fails(() => use("read", { path: "/etc/shadow" }))).length > 0);
  const updates = [];
  check((await use("bash", { command: "seq 1 200000" }, undefined, (update) => updates.push(textOf(update)))).includes("200000"));
  check(updates.length > 1, "no update while it ran");
  p.dispose();
});

test("a session that is gone is an error, never an answer", async () => {
  const p = await provider();
  const exec = p.operations.bash.exec("echo up; sleep 100", "/workspace", { onData: () => void p.session.destroy(true).catch(() => {}) });
  if (process.env.DEBUG) setTimeout(async () => console.log(JSON.stringify(await p.session.client.call("execList", { path: { workspace_id: "w", session_id: p.session.id } }))), 1000);
  const message = await exec.then((done) => `status ${done.exitCode}`, (error) => error.message);
  check(message !== "status 0" && message !== "status null", message);
  check((await fails(() => p.operations.find.exists("/workspace/x"))).length > 0);
  check((await fails(() => p.operations.read.access("/workspace/x"))).length > 0);
  await until(() => p.isPoisoned());
  p.dispose();
});

test("a disposed provider says so, at once and for ever", async () => {
  const p = await provider();
  const { id } = p.session;
  const under = fails(() => p.operations.bash.exec("sleep 100", "/workspace", { onData: () => {} }));
  await until(async () => (await client.call("execList", { path: { workspace_id: "w", session_id: id } })).execs.length > 0);
  same(p.dispose(), undefined);
  p.dispose();
  same(await under, "Sandbox provider is disposed", "under way");
  const { bash, read, write, edit, find, glob, grep, ls } = p.operations;
  for (const work of [() => bash.exec("true", "/workspace", { onData: () => {} }), () => read.readFile("/workspace/x"), () => write.mkdir("/workspace/x"), () => edit.access("/workspace/x"), () => find.exists("/workspace"), () => glob.glob("*"), () => grep.grep("x"), () => ls.readdir("/workspace"), () => p.materializeFileResources([]), () => p.collectOutputFiles()])
    same(await fails(work), "Sandbox provider is disposed");
  await until(async () => (await new SessionHandle(client, "w", id).get()).state === "destroyed");
});

test("files that are given are checked before one is written; what is collected is whole", async () => {
  const p = await provider();
  const file = (path, text, more = {}) => ({ path, content: Buffer.from(text), size: text.length, sha256: sha256(text), ...more });
  check((await fails(() => p.materializeFileResources([file("/workspace/one", "1"), file("/workspace/two", "22", { size: 3 })]))).endsWith("size mismatch"));
  check((await fails(() => p.materializeFileResources([file("/workspace/one", "1"), file("/workspace/two", "22", { sha256: sha256("x") })]))).endsWith("failed integrity validation"));
  check((await fails(() => p.materializeFileResources([file("/etc/one", "1")]))).includes("may be named"));
  same(await p.operations.ls.exists("/workspace/one"), false, "written");
  await p.materializeFileResources([file("/workspace/in/one", "1")]);
  same((await p.session.stat("/workspace/in/one")).mode, "0444");
  await p.materializeFileResources([file("/mnt/session/uploads/in/two", "22")]);
  same(await run(p.session, "cat in/two; rm -f in/two; echo x >>in/two; chmod 777 in/two; ls in", { cwd: "/mnt/session/uploads" }), "22two\n");
  check((await fails(() => p.session.upload("../out", "x"))).includes("name"));
  same(await p.collectOutputFiles(), []);
  await run(p.session, "echo out >f", { cwd: "/mnt/session/outputs" });
  same((await p.collectOutputFiles("/mnt/session/outputs")).map((f) => f.content.toString()), ["out\n"]);
  await run(p.session, "mkdir -p outputs/d; printf b >outputs/d/b; printf a >outputs/a; ln -s /etc/passwd outputs/link", { cwd: "/workspace" });
  const collected = await p.collectOutputFiles();
  same(collected.map((f) => [f.path, f.content.toString(), f.sha256]), [["a", "a", sha256("a")], ["d/b", "b", sha256("b")]]);
  await run(p.session, "i=0; while [ $i -lt 120 ]; do : >outputs/n$i; i=$((i+1)); done", { cwd: "/workspace" });
  check((await fails(() => p.collectOutputFiles())).includes("more than may be collected"));
  same(p.outputFiles.length, 2, "the set before");
  p.dispose();
});

test("a watch tells what changes, and why it ends", async () => {
  const s = await session();
  const seen = [];
  let parked; // once: a write is told as modified more than once
  for await (const change of s.watch("/workspace", { recursive: true })) {
    seen.push(change.event);
    if (change.event === "ready") await s.run({ shell: "mkdir d; echo x >d/f" });
    if (change.path === "/workspace/d/f" && change.event === "modified" && !parked) parked = await s.park();
    if (change.event === "end") same(change.code, "unavailable");
  }
  check(seen[0] === "ready" && seen.includes("created") && seen.at(-1) === "end", seen.join(" "));
  check((await fails(async () => { for await (const _ of s.watch("/workspace")); })).includes("invalid_state"));
  await s.destroy(true);
});

// ---- the factory ------------------------------------------------------------------------------------

test("a factory destroys what its owner left, once, and tries again when it could not", async () => {
  const left = await session({ owner: "planner" });
  const others = await session({ owner: "somebody" });
  let host = "unix:/nonexistent/berth.sock";
  const factory = createProviderFactory({ get host() { return host; }, owner: "planner", deleteVolume: true, retryMs: 0 });
  await fails(() => factory("w", "f1"));
  same((await left.get()).state, "running", "nothing was reaped");
  host = HOST;
  const [one, two] = await Promise.all([factory("w", "f1", { labels: { k: "v" } }), factory("w", "f2")]);
  await until(async () => (await left.get()).state === "destroyed");
  same((await others.get()).state, "running");
  same((await one.session.get()).labels, { k: "v" });
  same((await two.session.get()).owner, "planner");
  await one.session.park();
  const again = await factory("w", "f1");
  same((await again.session.get()).state, "running", "taken and resumed");
  check((await fails(() => factory("w", others.id))).startsWith("session_exists"));
  for (const p of [one, two, again]) p.dispose();
  await others.destroy(true);
});

test("with a token, what is left goes workspace by workspace", async () => {
  const between = await relay(0, []);
  const left = await session({ owner: "planner" });
  const far = await SessionHandle.create(client, "other", { session_id: left.id, owner: "planner" });
  const factory = createProviderFactory({ host: `http://127.0.0.1:${between.port}`, token: "t", owner: "planner", deleteVolume: true });
  const p = await factory("w", "t1");
  await until(async () => (await left.get()).state === "destroyed");
  same((await far.get()).state, "running", "another workspace");
  const other = await factory("other", "t2");
  await until(async () => (await far.get()).state === "destroyed");
  // Not dispose(): it is synchronous, and the relay is of this process.
  for (const made of [p, other]) await made.session.destroy(true);
  between.close();
});

const failed = await main(process.argv.slice(2));
for (const owner of ["tests", "planner", "somebody"]) await client.call("reap", { path: {}, body: { owner } });
client.close();
await service.stop();
process.exit(failed ? 1 : 0);
