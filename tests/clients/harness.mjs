// This file is what the tests of the TypeScript package share: a service as a child, a relay that breaks
// connections, and verdicts. It never decides what a test means.
import { spawn } from "node:child_process";
import { openSync } from "node:fs";
import * as net from "node:net";

const LOG = openSync(`${process.env.CLIENTS_DIR}/serve.log`, "a");
export const SLOWER = Number(process.env.TEST_SLOWER ?? 1);
export const SOCKET = `${process.env.BERTH_RUNTIME_DIR}/berth.sock`;
const cases = [];

export const test = (name, body) => cases.push({ name, body });

export function check(condition, ...words) {
  if (!condition) throw new Error(words.join(" ").slice(0, 600) || "is not so");
}

export function same(got, wanted, what = "") {
  const [a, b] = [JSON.stringify(got), JSON.stringify(wanted)];
  check(a === b, what, "got", a?.slice(0, 250), "expected", b?.slice(0, 250));
}

/** The message of what `work` throws. */
export async function fails(work) {
  try {
    await work();
  } catch (error) {
    return error.message;
  }
  throw new Error("it did not fail");
}

export async function until(what, seconds = 20) {
  for (const end = Date.now() + seconds * 1000 * SLOWER; ; ) {
    if (await what()) return;
    check(Date.now() < end, "not within", seconds, "s:", what);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export class Service {
  async start() {
    this.child = spawn(process.env.BERTH, ["serve"], { stdio: ["ignore", "pipe", LOG] });
    this.ended = new Promise((resolve) => this.child.once("exit", resolve));
    let said = "";
    for await (const chunk of this.child.stdout) {
      said += chunk;
      if (said.includes("serving on")) break;
    }
    check(said.includes("serving on"), "the service did not start");
    return this;
  }
  async stop(signal = "SIGTERM") {
    this.child.kill(signal);
    await this.ended;
  }
}

/** A socket before the service's (path 0: a port of loopback), whose connections end after so many bytes of answers as `lengths` says, in
 * turn; a length of 0 takes the request and gives nothing back. Afterwards it lets everything through. */
export async function relay(path, lengths, saw = () => {}) {
  const left = [...lengths];
  const server = net.createServer((client) => {
    const upstream = net.connect(SOCKET);
    const budget = left.length ? left.shift() : Infinity;
    let given = 0;
    const end = () => {
      client.destroy();
      upstream.destroy();
    };
    client.on("data", saw).pipe(upstream);
    upstream.on("data", (chunk) => {
      const part = chunk.subarray(0, Math.max(0, budget - given));
      given += chunk.length;
      client.write(part, () => given >= budget && end());
      if (given >= budget && part.length === 0) end();
    });
    for (const socket of [client, upstream]) socket.on("error", end).on("close", end);
  });
  await new Promise((resolve) => server.listen(path === 0 ? { port: 0, host: "127.0.0.1" } : path, resolve));
  return { port: server.address().port, broken: () => lengths.length - left.length, close: () => server.close() };
}

/** A port of loopback before the service's socket, in a process of its own: for callers that wait
 * synchronously. */
export async function gateway() {
  const program = `const net = require("net"); net.createServer((client) => {
    const upstream = net.connect(process.argv[1]);
    client.pipe(upstream).pipe(client);
    for (const socket of [client, upstream]) socket.on("error", () => { client.destroy(); upstream.destroy(); });
  }).listen(0, "127.0.0.1", function () { console.log(this.address().port); });`;
  const child = spawn(process.execPath, ["-e", program, SOCKET], { stdio: ["ignore", "pipe", "inherit"] });
  for await (const line of child.stdout) return { port: Number(line), close: () => child.kill() };
}

export async function main(chosen) {
  let failed = 0;
  for (const { name, body } of cases) {
    if (chosen.length && !chosen.some((word) => name.includes(word))) continue;
    let timer;
    const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error("no end within 60 s")), 60_000 * SLOWER)));
    try {
      await Promise.race([body(), late]);
      console.log(`ok ${name}`);
    } catch (error) {
      failed++;
      console.log(`not ok ${name}: ${error.stack?.split("\n").slice(0, 4).join(" | ")}`);
    }
    clearTimeout(timer);
  }
  return failed;
}
