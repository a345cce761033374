// This file tests what of the TypeScript package needs no berth: globs, whose socket is used, and what a
// service that fails is told. typescript.mjs runs it with its own.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import * as http from "node:http";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import { Client, SandboxProvider, SessionHandle } from "berth";
import { globMatcher } from "./package/dist/paths.js";
import { checkSocket, defaultSockets, Transport } from "./package/dist/transport.js";
import { check, fails, main, same, SLOWER, test } from "./harness.mjs";

const scratch = () => mkdtempSync(`${tmpdir()}/units.`);

/** Does `work` with other variables; undefined: without that one. */
async function withEnv(changes, work) {
  const set = (variables) => Object.entries(variables).forEach(([name, value]) => (value === undefined ? delete process.env[name] : (process.env[name] = value)));
  const before = Object.fromEntries(Object.keys(changes).map((name) => [name, process.env[name]]));
  set(changes);
  try {
    await work();
  } finally {
    set(before);
  }
}

/** A service of one function, on a socket. */
async function serve(path, answer) {
  const server = http.createServer(answer);
  await new Promise((resolve) => server.listen(path, resolve));
  return { host: typeof path === "string" ? `unix:${path}` : `http://127.0.0.1:${server.address().port}`, close: () => (server.close(), server.closeAllConnections()) };
}

const json = (response, body, status = 200) => response.writeHead(status, { "content-type": status < 400 ? "application/json" : "application/problem+json" }).end(JSON.stringify(body));
const problem = (response, status, code) => json(response, { type: `urn:berth:problem:${code}`, title: code, status, code, detail: "so it is" }, status);

// ---- globs ------------------------------------------------------------------------------------------

/** The same by a regular expression, which takes for ever with some patterns. */
function byExpression(glob) {
  const escape = (c) => c.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
  let out = "";
  let depth = 0;
  for (let i = 0; i < glob.length; i++) {
    const c = glob.charAt(i);
    if (c === "*" && glob[i + 1] === "*") {
      const alone = (i === 0 || glob[i - 1] === "/") && (i + 2 === glob.length || glob[i + 2] === "/");
      if (alone && glob[i + 2] === "/") {
        out += "(?:[^/]+/)*";
        i += 2;
      } else {
        out += alone ? ".*" : "[^/]*";
        i++;
      }
    } else if (c === "*") out += "[^/]*";
    else if (c === "?") out += "[^/]";
    else if (c === "[" && glob.indexOf("]", i + 2) > 0) {
      const end = glob.indexOf("]", i + 2);
      const body = glob.slice(i + 1, end).replace(/\\/g, "\\\\").replace(/^[!^]/, "^");
      out += body.startsWith("^") ? `(?!/)[${body}]` : `(?!/)[${body.replace(/\[/g, "\\[")}]`;
      i = end;
    } else if (c === "{" && glob.indexOf("}", i) > 0) {
      out += "(?:";
      depth++;
    } else if (c === "}" && depth > 0) {
      out += ")";
      depth--;
    } else if (c === "," && depth > 0) out += "|";
    else if (c === "\\" && i + 1 < glob.length) out += escape(glob.charAt(++i));
    else out += escape(c);
  }
  return new RegExp(`^${out}${")".repeat(depth)}$`, "s");
}

test("globs match what they say", () => {
  const names = "a b ab abc a.ts b.tsx .a .a.ts a/b a/b/c a/b/c.ts src/a.ts src/deep/b.ts src/deep/deeper/c.js node_modules/x/c.ts x/node_modules/y/z.js a-b a]b a\\b {a} {a,b} a,b a* a? [a] a\nb A.ts 1 10 12.txt d/.git/config ünï.ts aXb a/X/b a/X/Y/b b.d.ts".split(" ");
  const globs = [
    ..."a * ** *.ts **/*.ts src/*.ts src/** src/**/*.ts **/b **/src/**/b.ts **/node_modules/** **/.git/** *.{ts,js} **/*.{ts,tsx,js} {a,b}.ts {a,src/a}.ts {a,{b,c}}.ts {a{b,},c} {,a}b {a {a} {a,b a,b a} } , ? ?? a?b [ab] [a-c].ts [!a] [^a]* [a-]b a[/]b a[!x]b [a [] [!] a[-x]b a[\\]b \\* a\\* a\\? \\{a\\} \\[a\\] a\\ a**b **a a/**/b a/** **/ /a a/ *** a/*/b a/*/*/b .* .*/* [0-9]* [0-9].txt [0-9][0-9].txt ünï.* *.d.ts {**/a,b} **/{a,b}.ts {src,a}/** {src/**,a}/*.ts".split(" "),
    "a\nb",
  ];
  for (const glob of globs) {
    const [is, was] = [globMatcher(glob), byExpression(glob)];
    for (const name of [...names, ""]) same(is(name), was.test(name), `${glob} on ${JSON.stringify(name)}:`);
  }
  // Of these the expression was wrong, or none.
  same(globMatcher("?")("\u{1f600}"), true);
  same(globMatcher("[\u{1f600}]")("\u{1f600}"), true);
  same(globMatcher("[z-a]")("b"), false);
  same(globMatcher("a[]]b")("a]b"), true);
});

test("no glob takes long, whatever the name", async () => {
  const long = "a".repeat(250);
  for (const [glob, name] of [
    ["*a".repeat(20) + "*b", long],
    ["*a".repeat(125) + "b", long],
    ["**/" + "*a".repeat(60) + "b", `${long}/${long}`],
    ["**/".repeat(60) + "b", "a/".repeat(125) + "a"],
    ["{a,a}".repeat(50) + "b", long],
    ["{a,{a,{a,*}}}".repeat(15) + "b", long],
    ["a**".repeat(60) + "b", long],
  ]) {
    const is = globMatcher(glob);
    const begun = process.cpuUsage(); // other processes do not count
    same(is(name), false, glob);
    const took = process.cpuUsage(begun);
    const ms = (took.user + took.system) / 1000;
    check(ms < 200 * SLOWER, glob, "took", ms, "ms of the processor");
  }
  check((await fails(() => globMatcher("*".repeat(5000)))).includes("at most"));
});

// ---- whose socket -----------------------------------------------------------------------------------

test("where berth is when nobody says it", () => {
  const system = "/run/berth/berth.sock";
  same(defaultSockets({}, 0), [system]);
  same(defaultSockets({}, 7), [system, "/tmp/berth-7/berth.sock"]);
  same(defaultSockets({ XDG_RUNTIME_DIR: "/run/user/7" }, 7), [system, "/run/user/7/berth/berth.sock"]);
  same(defaultSockets({ XDG_RUNTIME_DIR: "here" }, 7), [system, "/tmp/berth-7/berth.sock"]);
  same(defaultSockets({ BERTH_RUNTIME_DIR: "" }, 0), [system]);
  same(defaultSockets({ BERTH_RUNTIME_DIR: "/d" }, 7), ["/d/berth.sock"]);
});

test("a socket that nobody named is root's or the caller's own", async () => {
  const top = scratch();
  const uid = process.geteuid();
  const directory = `${top}/d`;
  const path = `${directory}/berth.sock`;
  const said = () => fails(() => checkSocket(path, uid));
  check((await said()).includes("ENOENT"));
  mkdirSync(directory, { mode: 0o700 });
  check((await said()).includes("ENOENT"));
  writeFileSync(path, "");
  check((await said()).includes("no socket"));
  rmSync(path);
  const service = await serve(path, (_, response) => json(response, { status: "ok" }));
  same(checkSocket(path, uid), undefined);
  for (const mode of [0o720, 0o702, 0o1777]) {
    chmodSync(directory, mode);
    check((await said()).includes("others may write"), mode);
  }
  chmodSync(directory, 0o755);
  symlinkSync(directory, `${top}/link`);
  check((await fails(() => checkSocket(`${top}/link/berth.sock`, uid))).includes("a link"));
  symlinkSync(path, `${directory}/link`);
  check((await fails(() => checkSocket(`${directory}/link`, uid))).includes("a link"));

  await withEnv({ BERTH_HOST: undefined, BERTH_RUNTIME_DIR: directory }, async () => {
    const client = new Client({ retryMs: 0 });
    same(await client.call("health", { path: {} }), { status: "ok" });
    same(client.transport.host, `unix:${path}`);
    // It is looked at each time; one that is named is not.
    chmodSync(directory, 0o777);
    const message = await fails(() => client.call("health", { path: {} }));
    check(message.includes("others may write") && message.includes(`BERTH_HOST=unix:${path}`), message);
    await fails(() => client.transport.check());
    for (const named of [new Client({ host: `unix:${path}` }), ((process.env.BERTH_HOST = `unix:${path}`), new Client())]) {
      same(await named.call("health", { path: {} }), { status: "ok" });
      named.close();
    }
    client.close();
    chmodSync(directory, 0o755);
    if (uid === 0) {
      for (const what of [path, directory]) {
        chownSync(what, 65534, 65534);
        check((await said()).includes("of user 65534"), what);
        same(checkSocket(path, 65534), undefined, "his own, or root's");
        chownSync(what, 0, 0);
      }
    }
  });
  service.close();
  rmSync(top, { recursive: true });
});

test("the next place is tried where nobody listens, and one that answered is kept", async () => {
  const top = scratch();
  const [one, two] = ["one", "two"].map((name) => (mkdirSync(`${top}/${name}`, { mode: 0o700 }), `${top}/${name}/berth.sock`));
  const transport = new Transport({ host: `unix:${one}` });
  const place = (path) => ({ ...transport.places[0], host: `unix:${path}`, unnamed: path, options: { socketPath: path, host: "berth" } });
  transport.places = [place(one), place(two)];
  const ask = async () => {
    const answer = await transport.ask({ method: "GET", path: "/" });
    answer.resume();
    return answer.headers["x-name"];
  };
  check((await fails(ask)).includes("ENOENT"));
  const second = await serve(two, (_, response) => response.writeHead(200, { "x-name": "two" }).end());
  same(await ask(), "two");
  same(transport.host, `unix:${two}`);
  const first = await serve(one, (_, response) => response.writeHead(200, { "x-name": "one" }).end());
  same(await ask(), "two");
  transport.places = [place(one), place(two)];
  same(await ask(), "one");
  // Whoever could be somebody else's ends it.
  transport.places = [place(one), place(two)];
  chmodSync(`${top}/one`, 0o777);
  check((await fails(ask)).includes("others may write"));
  transport.close();
  first.close();
  second.close();
  rmSync(top, { recursive: true });
});

// ---- requests ---------------------------------------------------------------------------------------

test("a body that breaks off is asked for again, with the same key", async () => {
  const keys = [];
  const service = await serve(0, (request, response) => {
    request.resume();
    keys.push(request.headers["idempotency-key"]);
    response.writeHead(200, { "content-type": request.method === "GET" ? "application/octet-stream" : "application/json", "content-length": 10 });
    if (keys.length % 3) response.write('{"ses', () => response.destroy());
    else response.end('{"x": "y"}');
  });
  const client = new Client({ host: service.host, token: "t" });
  same(await client.call("sessionCreate", { path: { workspace_id: "w" }, body: {} }), { x: "y" });
  same(keys.length, 3);
  check(keys[0] && keys.every((key) => key === keys[0]), keys);
  same((await new SessionHandle(client, "w", "s").readFile("/x")).toString(), '{"x": "y"}');
  same(keys.length, 6);
  client.close();
  service.close();
});

test("a name in a path is one segment", async () => {
  const client = new Client({ host: "unix:/nonexistent/berth.sock", retryMs: 0 });
  for (const id of [".", ".."]) check((await fails(() => new SessionHandle(client, "w", id).get())).includes("cannot be"), id);
  same(new SandboxProvider(new SessionHandle(client, "w", "..")).dispose(), undefined);
});

test("events of a name that was used again go on behind the first end", async () => {
  const event = (seq, type) => `id: ${seq}\nevent: ${type}\ndata: ${JSON.stringify({ seq, type, time: "", data: {} })}\n\n`;
  const asked = [];
  const service = await serve(0, (request, response) => {
    asked.push(request.headers["last-event-id"]);
    response.writeHead(200, { "content-type": "text/event-stream" });
    if (asked.length === 1) response.write(event(1, "session.deleted") + event(2, "session.created"), () => response.destroy());
    else response.end(event(3, "session.deleted"));
  });
  const client = new Client({ host: service.host, token: "t" });
  const seen = [];
  for await (const { seq } of new SessionHandle(client, "w", "s").events()) seen.push(seq);
  same(seen, [1, 2, 3]);
  same(asked, [undefined, "2"]);
  client.close();
  service.close();
});

// ---- commands ---------------------------------------------------------------------------------------

/** A provider whose service is `execs`: what a start, a cancel and a look are answered. */
async function commands(execs) {
  const seen = [];
  const service = await serve(0, async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    const what = /\/(cancel|output)\b/.exec(request.url)?.[1] ?? (request.url.includes("/execs/") ? "get" : request.url.endsWith("/execs") ? "start" : "other");
    seen.push(what);
    if (what === "other") {
      if (request.url.includes("/files")) response.writeHead(200, { "x-berth-type": "file" }).end();
      else json(response, { state: "running" });
    } else execs[what](response, body && JSON.parse(body), seen.filter((word) => word === what).length);
  });
  const client = new Client({ host: service.host, token: "t", retryMs: 200 });
  const p = new SandboxProvider(new SessionHandle(client, "w", "s"));
  const exec = (options) => p.operations.bash.exec("true", "/workspace", { onData: () => {}, ...options });
  return { exec, seen, count: (word) => seen.filter((other) => other === word).length, close: () => (client.close(), service.close()) };
}

const frames = (response, ...list) => {
  response.writeHead(200, { "content-type": "text/event-stream" });
  for (const [event, id, data] of list) response.write(`event: ${event}\n${id === undefined ? "" : `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`);
};
const EXEC = ["exec", undefined, { exec_id: "e", state: "running" }];
const EXIT = ["exit", 2, { exec_id: "e", state: "ended", reason: "exit", exit_code: 0, signal: null }];
const OUT = ["stdout", 1, { seq: 1, stream: "stdout", time: "", data: "x" }];

test("every timeout is one that can be waited for", async () => {
  const asked = [];
  const c = await commands({ start: (response, body) => (asked.push(body.timeout_ms), frames(response, EXEC, EXIT), response.end()) });
  const warnings = [];
  const warned = (warning) => warnings.push(warning.name);
  process.on("warning", warned);
  const timeouts = [0.0001, 1.0005, 0.1 + 0.2, 2 ** 31 / 1000, 3e6, 1e12, Infinity, 0, -1, NaN, undefined];
  for (const timeout of timeouts) same(await c.exec({ timeout }), { exitCode: 0 }, timeout);
  same(asked, [1, 1001, 301, 2 ** 31, 3e9, 31_536_000_000, 31_536_000_000, undefined, undefined, undefined, undefined]);
  await new Promise((resolve) => setTimeout(resolve, 20));
  same(warnings, []);
  same(c.count("cancel"), 0);
  process.off("warning", warned);
  c.close();
});

test("a command that nobody follows any more is cancelled", async () => {
  const running = { start: (response) => frames(response, EXEC, OUT), cancel: (response) => json(response, { state: "ended" }) };
  const throwing = await commands(running);
  same(await fails(() => throwing.exec({ onData: () => { throw new Error("no room"); } })), "no room");
  same(throwing.count("cancel"), 1);
  throwing.close();

  // The output is refused after the connection ended.
  const lost = await commands({ ...running, start: (response) => (frames(response, EXEC, OUT), response.end()), output: (response) => problem(response, 500, "internal") });
  check((await fails(() => lost.exec())).startsWith("internal"));
  same(lost.count("cancel"), 1);
  lost.close();

  // A start that was refused left nothing.
  const refused = await commands({ ...running, start: (response) => problem(response, 400, "invalid_request") });
  check((await fails(() => refused.exec())).startsWith("invalid_request"));
  same(refused.count("cancel"), 0);
  refused.close();
});

test("a cancel is asked again until the command is known to have ended", async () => {
  const abort = () => {
    const controller = new AbortController();
    return { signal: controller.signal, onData: () => controller.abort() };
  };
  const start = (response) => frames(response, EXEC, OUT);
  const again = await commands({ start, cancel: (response, _, n) => (n === 1 ? problem(response, 503, "unavailable") : n === 2 ? response.destroy() : json(response, {})) });
  same(await fails(() => again.exec(abort())), "aborted");
  same(again.count("cancel"), 3);
  again.close();

  const states = await commands({ start, cancel: (response) => problem(response, 409, "invalid_state"), get: (response, _, n) => json(response, { state: n < 3 ? "running" : "ended" }) });
  same(await fails(() => states.exec(abort())), "aborted");
  same([states.count("cancel"), states.count("get")], [3, 3]);
  states.close();

  const gone = await commands({ start, cancel: (response) => problem(response, 404, "not_found") });
  same(await fails(() => gone.exec(abort())), "aborted");
  same(gone.count("cancel"), 1);
  gone.close();

  const forbidden = await commands({ start, cancel: (response) => problem(response, 403, "forbidden") });
  const error = await forbidden.exec(abort()).catch((thrown) => thrown);
  same([error.message, error.cause?.code, forbidden.count("cancel")], ["aborted", "forbidden", 1]);
  forbidden.close();
});

test("what is collected is what was told, or an error", async () => {
  const told = { path: "/workspace/outputs", bytes: 1, left_out: [], left_out_count: 0, files: [{ name: "f", size: 1, sha256: createHash("sha256").update("x").digest("hex"), etag: '"1"' }] };
  const session = (content, asked = {}) => ({
    workspaceId: "w",
    id: "s",
    get: async () => ({ state: "running" }),
    collect: async () => told,
    readFile: async (path, options) => (Object.assign(asked, { path, match: options.headers["if-match"] }), Buffer.from(content)),
  });
  const asked = {};
  same((await new SandboxProvider(session("x", asked)).collectOutputFiles()).map((f) => f.content.toString()), ["x"]);
  same(asked, { path: "/workspace/outputs/f", match: '"1"' });
  check((await fails(() => new SandboxProvider(session("xy")).collectOutputFiles())).includes("size mismatch"));
  check((await fails(() => new SandboxProvider(session("y")).collectOutputFiles())).includes("failed integrity validation"));
});

// ---- the end ----------------------------------------------------------------------------------------

test("a disposal that failed is tried again; only berth says that there is nothing", async () => {
  // In a process of its own: dispose() waits synchronously.
  const program = `let n = 0; require("http").createServer((request, response) => {
    const [status, type] = [[500, "application/problem+json"], [404, "text/html"], [404, "application/problem+json"], [200, "application/json"]][n++];
    response.writeHead(status, { "content-type": type }).end("{}");
    console.log(request.method + " " + request.url);
  }).listen(0, "127.0.0.1", function () { console.log(this.address().port); });`;
  const child = spawn(process.execPath, ["-e", program], { stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  const port = await new Promise((resolve) => child.stdout.on("data", (chunk) => ((said += chunk), said.includes("\n") && resolve(Number.parseInt(said)))));
  const p = new SandboxProvider(new SessionHandle(new Client({ host: `http://127.0.0.1:${port}`, token: "t" }), "w", "s"));
  same(p.isPoisoned(), false);
  const states = [1, 2, 3, 4].map(() => (p.dispose(), p.isPoisoned()));
  same(states, [true, true, false, false]);
  same(await fails(() => p.operations.read.readFile("/workspace/x")), "Sandbox provider is disposed");
  await new Promise((resolve) => setTimeout(resolve, 50));
  same(said.match(/DELETE \/v1\/workspaces\/w\/sessions\/s\?delete_volume=false/g)?.length, 3);
  child.kill();
});

test("a disposal is given whom TLS believes, and nothing else", async () => {
  const top = scratch();
  const executable = process.execPath;
  // In place of node: a program that says what it was given.
  writeFileSync(`${top}/node`, `#!/bin/sh\n/usr/bin/env >${top}/env\n`, { mode: 0o755 });
  await withEnv({ NODE_EXTRA_CA_CERTS: "/ca.pem", SSL_CERT_FILE: "/f.pem", SSL_CERT_DIR: "/d", HOST_SECRET: "x", NODE_OPTIONS: "--no-warnings" }, () => {
    process.execPath = `${top}/node`;
    new SandboxProvider(new SessionHandle(new Client({ host: "http://127.0.0.1:1", token: "t" }), "w", "s")).dispose();
    process.execPath = executable;
  });
  const names = readFileSync(`${top}/env`, "utf8").split("\n").map((line) => line.split("=")[0]).filter((name) => name && !["PWD", "OLDPWD", "SHLVL", "_"].includes(name));
  same(names.sort(), ["NODE_EXTRA_CA_CERTS", "SSL_CERT_DIR", "SSL_CERT_FILE"]);
  rmSync(top, { recursive: true });
});

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exit((await main(process.argv.slice(2))) ? 1 : 0);
