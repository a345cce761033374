// This file is what an agent's tools do, done in a session: the operations that tools of the Pi coding
// agent take. What runs for find and grep is the image's, by its absolute path: never what lies in the
// workspace. Nothing of the caller's environment goes in but what is allowed by name.
import { randomUUID } from "node:crypto";
import { posix } from "node:path";
import { setImmediate, setTimeout as sleep } from "node:timers/promises";
import { BerthConnectionError, BerthError, isProblem } from "./errors.js";
import type { Exec } from "./generated.js";
import { globMatcher, inside } from "./paths.js";
import type { SessionHandle } from "./session.js";

export const LIMITS = { matches: 100, rawBytes: 1 << 20, outBytes: 64 << 10, searchMs: 10_000, fileBytes: 64 << 20 } as const;
/** Names of the caller's variables that a command may get. What they say concerns output only. */
export const ENV_ALLOWED: readonly string[] = ["LANG", "LC_ALL", "LC_CTYPE", "TZ", "TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "CI"];

export interface BashOptions {
  onData: (data: Buffer) => void;
  signal?: AbortSignal | undefined;
  /** Seconds. */
  timeout?: number | undefined;
  env?: Record<string, string | undefined> | undefined;
}

export interface GrepOptions {
  path?: string;
  /** Only files whose names match, as `*.ts`. */
  glob?: string;
  ignoreCase?: boolean;
  /** The pattern is a text, not a regular expression. */
  literal?: boolean;
  /** At most so many files, 1 to 100. */
  headLimit?: number;
  signal?: AbortSignal | undefined;
}

export interface Operations {
  bash: { exec(command: string, cwd: string, options: BashOptions): Promise<{ exitCode: number | null }> };
  read: { readFile(path: string): Promise<Buffer>; access(path: string): Promise<void> };
  write: { writeFile(path: string, content: string): Promise<void>; mkdir(path: string): Promise<void> };
  edit: { readFile(path: string): Promise<Buffer>; writeFile(path: string, content: string): Promise<void>; access(path: string): Promise<void> };
  find: { exists(path: string): Promise<boolean>; glob(pattern: string, cwd: string, options: { ignore?: string[]; limit?: number }): Promise<string[]> };
  glob: { glob(pattern: string, cwd?: string, options?: { ignore?: string[]; limit?: number }): Promise<string[]> };
  grep: { grep(pattern: string, options?: GrepOptions): Promise<{ files: string[]; truncated: boolean }> };
  ls: { exists(path: string): Promise<boolean>; stat(path: string): Promise<{ isDirectory(): boolean }>; readdir(path: string): Promise<string[]> };
}

export interface OperationsOptions {
  session: SessionHandle;
  cwd: string;
  /** What may be read and searched beside `cwd`. */
  alsoReadable: readonly string[];
  envAllowed: readonly string[];
  /** Throws when the provider is disposed. */
  check: () => void;
  /** Ends what is under way when the provider is disposed. */
  signal: AbortSignal;
  /** Told of failures that mean that the session will not come back. */
  failed: (error: unknown) => void;
}

/** A year, the longest that a command may be given; and what a timer of this process can wait. */
const TIMEOUT_MS_MAX = 365 * 24 * 3600 * 1000;
const TIMER_MS_MAX = 2 ** 31 - 1;
const CANCEL_MS = 10_000;

const DISPOSED = "Sandbox provider is disposed";

/** Only a command that ended by itself has a status of its own. */
function numberOf(exec: Exec): number {
  if (exec.reason === "exit" && exec.exit_code !== null) return exec.exit_code;
  return exec.reason === "oom" || exec.reason === "output_limit" ? 137 : exec.signal !== null ? 128 + exec.signal : 130;
}

/** The end of a command as what a tool is told. A failure is never `null`, which tools take for success. */
function outcome(exec: Exec, timeout: number | undefined): { exitCode: number } {
  switch (exec.reason) {
    case "timeout":
    case "idle_timeout":
      throw new Error(`timeout:${timeout ?? 0}`);
    case "start_failed":
    case "not_started":
    case "lost":
    case null:
      throw new Error(`the command ended as "${exec.reason ?? "unknown"}"${exec.error ? `: ${exec.error.step}: ${exec.error.message}` : ""}`);
    default:
      return { exitCode: numberOf(exec) };
  }
}

export function createOperations(o: OperationsOptions): Operations {
  const { session, cwd } = o;
  const readable = [cwd, ...o.alsoReadable];
  const workspace = [cwd];

  /** Every operation: refused after disposal, also when that comes in the middle of it. */
  async function during<T>(work: () => Promise<T>): Promise<T> {
    o.check();
    try {
      return await work();
    } catch (error) {
      if (o.signal.aborted) throw new Error(DISPOSED);
      o.failed(error);
      throw error;
    }
  }

  async function typeOf(path: string): Promise<string | undefined> {
    try {
      return (await session.stat(path, { signal: o.signal })).type;
    } catch (error) {
      // Only "it is not there" is that; all else is no answer.
      if (isProblem(error, "not_found")) {
        await session.get({ signal: o.signal });
        return undefined;
      }
      throw error;
    }
  }

  function missing(verb: string, path: string): Error {
    return Object.assign(new Error(`ENOENT: no such file or directory, ${verb} '${path}'`), { code: "ENOENT", path });
  }

  // ---- commands ----

  let shell: Promise<string> | undefined;
  const shellPath = (): Promise<string> => {
    shell ??= typeOf("/bin/bash").then((type) => (type === "file" ? "/bin/bash" : "/bin/sh"));
    shell.catch(() => (shell = undefined));
    return shell;
  };

  function allowed(env: Record<string, string | undefined> | undefined): Record<string, string> {
    const out: Record<string, string> = {};
    for (const name of o.envAllowed) {
      const value = env?.[name];
      if (typeof value === "string" && !value.includes("\0")) out[name] = value;
    }
    return out;
  }

  async function bash(command: string, where: string, options: BashOptions): Promise<{ exitCode: number }> {
    const { signal, timeout } = options;
    if (signal?.aborted) throw new Error("aborted");
    const place = inside(where, workspace);
    const timeoutMs = timeout !== undefined && timeout > 0 ? Math.min(Math.max(1, Math.ceil(timeout * 1000)), TIMEOUT_MS_MAX) : undefined;
    const execId = `bash-${randomUUID()}`;
    const path = { workspace_id: session.workspaceId, session_id: session.id, exec_id: execId };
    const ends = AbortSignal.any([o.signal, ...(signal ? [signal] : [])]);
    let asked = false;
    let accepted = false;
    let end: Exec | undefined;
    // By the id that it was given, so that a start whose answer did not come is ended too; that one may
    // still be on its way. What is left undone is said by what it gives.
    const cancel = async (): Promise<unknown> => {
      const begun = Date.now();
      const options = { retryMs: 0, signal: AbortSignal.any([o.signal, AbortSignal.timeout(CANCEL_MS)]) };
      for (let pause = 50; ; pause = Math.min(pause * 2, 1600)) {
        try {
          await session.client.call("execCancel", { path, body: {} }, options);
          return undefined;
        } catch (error) {
          if (isProblem(error, "not_found")) {
            if (accepted || Date.now() - begun > 3000) return undefined;
          } else if (isProblem(error, "invalid_state")) {
            // It has ended, or the service does not have it at hand yet.
            const found = await session.client.call("execGet", { path }, options).catch((other: unknown) => other);
            if (isProblem(found, "not_found") || (found as Partial<Exec>).state === "ended") return undefined;
          } else if (!(error instanceof BerthConnectionError) && !isProblem(error, "unavailable", "rate_limited", "in_progress", "internal")) return error;
          if (o.signal.aborted || Date.now() - begun + pause > CANCEL_MS) return error;
          await sleep(pause);
        }
      }
    };
    // The service ends it; this is for when the service is not there to do it.
    const late = timeoutMs !== undefined && timeoutMs + 30_000 <= TIMER_MS_MAX ? AbortSignal.timeout(timeoutMs + 30_000) : undefined;
    try {
      const argv = [await shellPath(), "-c", command];
      ends.throwIfAborted();
      asked = true;
      const running = await session.exec(
        { argv, cwd: place, env: allowed(options.env), exec_id: execId, ...(timeoutMs === undefined ? {} : { timeout_ms: timeoutMs }) },
        { signal: late ? AbortSignal.any([ends, late]) : ends },
      );
      accepted = true;
      for await (const frame of running) {
        if (frame.type === "exit") end = frame.exec;
        else if (frame.type === "gap") options.onData(Buffer.from(`\n[${frame.bytes} bytes of output are not kept]\n`));
        else options.onData(frame.data);
      }
      if (!end) throw new Error("the command's end did not come");
    } catch (error) {
      // Nobody follows it any more, whatever the reason: it must not run on. Unless it was refused.
      const refused = !accepted && error instanceof BerthError && !isProblem(error, "unavailable", "in_progress", "internal");
      const left = asked && !end && !refused && !o.signal.aborted ? await cancel() : undefined;
      const cause = left === undefined ? undefined : { cause: left };
      if (signal?.aborted) throw new Error("aborted", cause);
      if (o.signal.aborted) throw new Error(DISPOSED);
      if (late?.aborted) throw new Error(`timeout:${timeout}`, cause);
      throw error;
    }
    if (signal?.aborted) throw new Error("aborted");
    if (end.reason === "start_failed" && (await typeOf(place)) !== "directory") throw new Error(`Working directory does not exist: ${where}`);
    return outcome(end, timeout);
  }

  /** A program of the image. What it printed, whole records of it; `cut` when there was more or no time. */
  async function program(argv: string[], signal: AbortSignal | undefined): Promise<{ records: string[]; cut: boolean; code: number; message: string }> {
    const result = await session.run(
      { argv, cwd: "/", env: { LC_ALL: "C.UTF-8" }, timeout_ms: LIMITS.searchMs, grace_ms: 0, output_limit_bytes: LIMITS.rawBytes, on_limit: "kill" },
      { signal: signal ? AbortSignal.any([o.signal, signal]) : o.signal },
    );
    const cut = result.exec.reason === "output_limit" || result.exec.reason === "timeout";
    const records = result.stdout.subarray(0, LIMITS.rawBytes).toString("utf8").split("\0");
    records.pop(); // what stands behind the last end: nothing, or half a name
    return { records, cut, code: cut ? 0 : outcome(result.exec, undefined).exitCode, message: result.stderr.toString("utf8", 0, 400).trim() };
  }

  /** As many as fit. */
  function bounded(names: string[], limit: number): { names: string[]; cut: boolean } {
    const out: string[] = [];
    let bytes = 0;
    for (const name of names) {
      bytes += Buffer.byteLength(name) + 1;
      if (out.length >= limit || bytes > LIMITS.outBytes) return { names: out, cut: true };
      out.push(name);
    }
    return { names: out, cut: false };
  }

  /** Names are the sandbox's and may be many: others of this process have their turn meanwhile. */
  async function filtered(names: string[], is: (name: string) => boolean): Promise<string[]> {
    const begun = performance.now();
    const out: string[] = [];
    let turn = begun;
    for (const name of names) {
      if (is(name)) out.push(name);
      if (performance.now() - turn < 10) continue;
      await setImmediate();
      o.check();
      turn = performance.now();
      if (turn - begun > LIMITS.searchMs) throw new Error("the pattern takes too long for what is there");
    }
    return out;
  }

  async function glob(pattern: string, where = cwd, options: { ignore?: string[]; limit?: number } = {}): Promise<string[]> {
    const place = inside(where, readable);
    if (pattern.includes("\0")) throw new Error("a pattern has no NUL");
    const limit = Math.min(Math.max(options.limit ?? LIMITS.matches, 1), LIMITS.matches);
    const wanted = globMatcher(pattern.includes("/") ? pattern.replace(/^\.?\//, "") : `**/${pattern}`);
    const ignored = (options.ignore ?? []).map(globMatcher);
    // Directories that are ignored by name are not entered.
    const pruned = (options.ignore ?? []).map((g) => /^\*\*\/([^*?[\]{}/\\]+)\/\*\*$/.exec(g)?.[1]).filter((name) => name !== undefined);
    const prune = pruned.length ? ["(", "-type", "d", "(", ...pruned.flatMap((name, i) => [...(i ? ["-o"] : []), "-name", name]), ")", "-prune", ")", "-o"] : [];
    const found = await program(["/usr/bin/find", place, "-mindepth", "1", ...prune, "-printf", "%P\\0"], undefined);
    if (found.code !== 0 && found.records.length === 0) throw new Error(`find: ${found.message || `status ${found.code}`}`);
    const names = await filtered(found.records, (name) => wanted(name) && !ignored.some((g) => g(name)));
    return bounded(names.sort().map((name) => posix.join(place, name)), limit).names;
  }

  async function grep(pattern: string, options: GrepOptions = {}): Promise<{ files: string[]; truncated: boolean }> {
    const place = inside(options.path ?? cwd, readable);
    const limit = Math.min(Math.max(Math.trunc(options.headLimit ?? LIMITS.matches), 1), LIMITS.matches);
    if (pattern.includes("\0") || options.glob?.includes("\0")) throw new Error("a pattern has no NUL");
    const argv = ["/usr/bin/grep", "-r", "-l", "-I", "-Z", options.literal ? "-F" : "-E", "--exclude-dir=.git"];
    if (options.ignoreCase) argv.push("-i");
    if (options.glob) argv.push(`--include=${options.glob}`);
    const found = await program([...argv, "-e", pattern, "--", place], options.signal);
    // 1: nothing matches. 2: something could not be read, or the pattern is none.
    if (found.code > 1 && found.records.length === 0 && found.message) throw new Error(found.message);
    const kept = bounded(found.records.sort(), limit);
    return { files: kept.names, truncated: kept.cut || found.cut };
  }

  // ---- files ----

  const readFile = async (path: string): Promise<Buffer> => {
    const place = inside(path, readable);
    try {
      return await session.readFile(place, { signal: o.signal, max: LIMITS.fileBytes });
    } catch (error) {
      if (isProblem(error, "not_found")) throw missing("open", path);
      throw error;
    }
  };
  const access = async (path: string, roots: readonly string[]): Promise<void> => {
    if ((await typeOf(inside(path, roots))) === undefined) throw missing("access", path);
  };
  const mkdir = async (path: string): Promise<void> => {
    const place = inside(path, workspace);
    if (place !== cwd) await session.mkdir(place, { signal: o.signal });
  };
  /** Parents are made by the same operation, and the file is there whole or not at all. */
  const writeFile = async (path: string, content: string): Promise<void> => {
    listing = undefined;
    await session.writeFile(inside(path, workspace), content, undefined, { signal: o.signal });
  };
  const exists = async (path: string): Promise<boolean> => (await typeOf(inside(path, readable))) !== undefined;

  /** What the last listing said of its entries, for a moment: ls asks for each of them. */
  let listing: { directory: string; at: number; types: Map<string, string> } | undefined;
  const readdir = async (path: string): Promise<string[]> => {
    const place = inside(path, readable);
    const types = new Map<string, string>();
    for await (const entry of session.list(place, 1, { signal: o.signal })) types.set(entry.name ?? Buffer.from(entry.name_base64 ?? "", "base64").toString("latin1"), entry.type);
    listing = { directory: place, at: Date.now(), types };
    return [...types.keys()];
  };
  const stat = async (path: string): Promise<{ isDirectory(): boolean }> => {
    const place = inside(path, readable);
    const known = listing && Date.now() - listing.at < 2000 && listing.directory === posix.dirname(place) ? listing.types.get(posix.basename(place)) : undefined;
    const type = known === undefined || known === "symlink" ? await typeOf(place) : known;
    if (type === undefined) throw missing("stat", path);
    return { isDirectory: () => type === "directory" };
  };

  return {
    bash: { exec: (command, where, options) => during(() => bash(command, where, options)) },
    read: { readFile: (path) => during(() => readFile(path)), access: (path) => during(() => access(path, readable)) },
    write: { writeFile: (path, content) => during(() => writeFile(path, content)), mkdir: (path) => during(() => mkdir(path)) },
    edit: {
      readFile: (path) => during(() => readFile(inside(path, workspace))),
      writeFile: (path, content) => during(() => writeFile(path, content)),
      access: (path) => during(() => access(path, workspace)),
    },
    find: { exists: (path) => during(() => exists(path)), glob: (pattern, where, options) => during(() => glob(pattern, where, options)) },
    glob: { glob: (pattern, where, options) => during(() => glob(pattern, where, options)) },
    grep: { grep: (pattern, options) => during(() => grep(pattern, options)) },
    ls: { exists: (path) => during(() => exists(path)), stat: (path) => during(() => stat(path)), readdir: (path) => during(() => readdir(path)) },
  };
}
