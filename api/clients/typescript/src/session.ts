// This file is sessions and commands as objects: output that goes on by number after a connection ended,
// each frame once and in order; it never starts a command twice.
import { createHash, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Client, waitBefore, type CallOptions } from "./client.js";
import { BerthConnectionError } from "./errors.js";
import type { Collection, Event, Exec, ExecStartBody, FileChange, FileEntry, FileInfo, FileList, OutputFrame, OutputGap, Session, SessionCreateBody, Uploaded, WatchEnd } from "./generated.js";
import { events, type ServerEvent } from "./sse.js";

export type OutputStream = OutputFrame["stream"];
export type Frame =
  | { type: OutputStream; seq: number; time: string; data: Buffer }
  | { type: "gap"; fromSeq: number; toSeq: number; bytes: number }
  | { type: "exit"; seq: number; exec: Exec };

export type Change =
  | ({ event: "ready" | "created" | "modified" | "attributes" | "removed" | "renamed" | "overflow" | "gone" } & FileChange)
  | ({ event: "end" } & WatchEnd);

export interface FollowOptions {
  /** The number to begin behind. */
  after?: number;
  /** false: end with what is there now. */
  follow?: boolean;
  signal?: AbortSignal;
  /** How long to look for the service again after a connection ended, in ms. Default 60 s. */
  retryMs?: number;
}

/** Until this, an end of a stream is one that is followed: the service is stopping, or was killed. */
class Resumed {
  private failedSince: number | undefined;
  private pause = 25;
  constructor(private readonly retryMs: number, private readonly signal: AbortSignal | undefined) {}
  came(): void {
    this.failedSince = undefined;
    this.pause = 25;
  }
  async failed(error: unknown): Promise<void> {
    this.failedSince ??= Date.now();
    this.signal?.throwIfAborted();
    const wait = waitBefore(error, true, this.pause);
    if (wait === undefined || Date.now() + wait > this.failedSince + this.retryMs) throw error;
    this.pause = Math.min(this.pause * 2, 2000);
    await sleep(wait, undefined, this.signal ? { signal: this.signal } : {});
  }
}

function frameOf(event: ServerEvent): Frame | undefined {
  switch (event.event) {
    case "stdout":
    case "stderr":
    case "tty":
    case "background": {
      const data = event.data as OutputFrame;
      return { type: event.event, seq: data.seq, time: data.time, data: data.data_base64 === undefined ? Buffer.from(data.data ?? "") : Buffer.from(data.data_base64, "base64") };
    }
    case "gap": {
      const gap = event.data as OutputGap;
      return { type: "gap", fromSeq: gap.from_seq, toSeq: gap.to_seq, bytes: gap.bytes };
    }
    case "exit":
      return { type: "exit", seq: event.id ?? 0, exec: event.data as Exec };
    default:
      return undefined;
  }
}

/** The command's output: frames in the order of their numbers, none twice, the end as the last. */
async function* output(client: Client, path: ExecPath, options: FollowOptions, first?: AsyncGenerator<ServerEvent>): AsyncGenerator<Frame, void, undefined> {
  const follow = options.follow ?? true;
  const resumed = new Resumed(options.retryMs ?? 60_000, options.signal);
  let after = options.after ?? 0;
  let ended = false;
  for (let stream = first; ; stream = undefined) {
    try {
      if (!stream) {
        const headers: Record<string, string> = { accept: "text/event-stream" };
        if (after > 0) headers["last-event-id"] = String(after);
        stream = events(await client.ask("execOutput", { path, query: { follow } }, { headers, signal: options.signal, retryMs: 0 }));
      }
      for await (const event of stream) {
        resumed.came();
        const frame = frameOf(event);
        if (!frame || (event.id !== undefined && event.id <= after)) continue;
        after = event.id ?? after;
        ended ||= frame.type === "exit";
        yield frame;
      }
      if (!follow || ended) return;
      await resumed.failed(new BerthConnectionError("a stream ended before its command"));
    } catch (error) {
      await resumed.failed(error);
    }
  }
}

type SessionPath = { workspace_id: string; session_id: string };
type ExecPath = SessionPath & { exec_id: string };

/** A command that was accepted. */
export class ExecHandle {
  constructor(readonly client: Client, readonly path: ExecPath, readonly accepted: Exec) {}

  get id(): string {
    return this.path.exec_id;
  }
  output(options: FollowOptions = {}): AsyncGenerator<Frame, void, undefined> {
    return output(this.client, this.path, options);
  }
  get(options?: CallOptions): Promise<Exec> {
    return this.client.call("execGet", { path: this.path }, options);
  }
  /** Its end, however long that takes. */
  async wait(options: CallOptions = {}): Promise<Exec> {
    for (;;) {
      const exec = await this.client.call("execGet", { path: this.path, query: { wait_ms: 60_000 } }, options);
      if (exec.state === "ended") return exec;
    }
  }
  signal(signal: string | number, tree = false): Promise<Exec> {
    return this.client.call("execSignal", { path: this.path, body: { signal, tree } });
  }
  resize(rows: number, cols: number): Promise<Exec> {
    return this.client.call("execResize", { path: this.path, body: { rows, cols } });
  }
  cancel(options?: CallOptions): Promise<Exec> {
    return this.client.call("execCancel", { path: this.path, body: {} }, options);
  }
  /** Writes at `offset`, where that many bytes have gone in before; so nothing goes in twice. */
  async write(data: Uint8Array, offset?: number): Promise<number> {
    const query = offset === undefined ? {} : { offset };
    return (await this.client.call("execStdin", { path: this.path, query, body: data })).offset;
  }
  closeStdin(): Promise<Exec> {
    return this.client.call("execCloseStdin", { path: this.path, body: {} });
  }
}

/** A command whose output is being read from its beginning: `for await (const frame of running)`. */
export class RunningExec extends ExecHandle implements AsyncIterable<Frame> {
  constructor(client: Client, path: ExecPath, accepted: Exec, private first: AsyncGenerator<ServerEvent> | undefined, private readonly options: FollowOptions) {
    super(client, path, accepted);
  }
  [Symbol.asyncIterator](): AsyncGenerator<Frame, void, undefined> {
    const first = this.first;
    this.first = undefined;
    return output(this.client, this.path, this.options, first);
  }
}

export interface RunResult {
  exec: Exec;
  stdout: Buffer;
  stderr: Buffer;
}

export class SessionHandle {
  private readonly path: SessionPath;
  constructor(readonly client: Client, readonly workspaceId: string, readonly id: string) {
    this.path = { workspace_id: workspaceId, session_id: id };
  }

  static async create(client: Client, workspaceId: string, body: SessionCreateBody = {}, options?: CallOptions): Promise<SessionHandle> {
    const made = await client.call("sessionCreate", { path: { workspace_id: workspaceId }, body }, options);
    return new SessionHandle(client, workspaceId, made.session_id);
  }

  get(options?: CallOptions): Promise<Session> {
    return this.client.call("sessionGet", { path: this.path }, options);
  }
  park(mode: "stop" | "freeze" = "stop"): Promise<Session> {
    return this.client.call("sessionPark", { path: this.path, body: { mode } });
  }
  resume(options?: CallOptions): Promise<Session> {
    return this.client.call("sessionResume", { path: this.path, body: {} }, options);
  }
  interrupt(reason?: string): Promise<Session> {
    return this.client.call("sessionInterrupt", { path: this.path, body: reason === undefined ? {} : { reason } });
  }
  destroy(deleteVolume = false, options?: CallOptions): Promise<Session> {
    return this.client.call("sessionDestroy", { path: this.path, query: { delete_volume: deleteVolume } }, options);
  }

  // ---- commands ----

  /** Starts a command; the answer is its acceptance. */
  async start(body: ExecStartBody, options: CallOptions = {}): Promise<ExecHandle> {
    const exec = await this.client.call("execStart", { path: this.path, body }, options);
    return new ExecHandle(this.client, { ...this.path, exec_id: exec.exec_id }, exec);
  }

  /** Starts a command and reads its output in the same request. */
  async exec(body: ExecStartBody, options: FollowOptions & CallOptions = {}): Promise<RunningExec> {
    const key = options.idempotencyKey ?? randomUUID();
    const resumed = new Resumed(options.retryMs ?? 30_000, options.signal);
    for (;;) {
      try {
        const answer = await this.client.ask("execStart", { path: this.path, body }, { idempotencyKey: key, headers: { accept: "text/event-stream" }, signal: options.signal });
        const stream = events(answer);
        const { value, done } = await stream.next();
        if (done || value.event !== "exec") throw new BerthConnectionError("a stream ended before its command was named");
        const exec = value.data as Exec;
        return new RunningExec(this.client, { ...this.path, exec_id: exec.exec_id }, exec, stream, options);
      } catch (error) {
        await resumed.failed(error);
      }
    }
  }

  /** Runs a command to its end and keeps what it printed. */
  async run(body: ExecStartBody, options: FollowOptions & CallOptions = {}): Promise<RunResult> {
    const parts: Record<"stdout" | "stderr", Buffer[]> = { stdout: [], stderr: [] };
    let exec: Exec | undefined;
    for await (const frame of await this.exec(body, options)) {
      if (frame.type === "exit") exec = frame.exec;
      else if (frame.type === "stderr") parts.stderr.push(frame.data);
      else if (frame.type !== "gap") parts.stdout.push(frame.data);
    }
    if (!exec) throw new BerthConnectionError("a stream ended before its command");
    return { exec, stdout: Buffer.concat(parts.stdout), stderr: Buffer.concat(parts.stderr) };
  }

  execHandle(exec: Exec): ExecHandle {
    return new ExecHandle(this.client, { ...this.path, exec_id: exec.exec_id }, exec);
  }

  /** What happens to the session; with `follow`, until it is deleted. */
  async *events(options: FollowOptions = {}): AsyncGenerator<Event, void, undefined> {
    const follow = options.follow ?? true;
    const resumed = new Resumed(options.retryMs ?? 60_000, options.signal);
    let after = options.after ?? 0;
    let deleted = false; // the last event says so; a name that was used again has more behind it
    for (;;) {
      try {
        const headers: Record<string, string> = after > 0 ? { "last-event-id": String(after) } : {};
        const answer = await this.client.ask("sessionEvents", { path: this.path, query: { follow } }, { headers: { accept: "text/event-stream", ...headers }, signal: options.signal, retryMs: 0 });
        for await (const event of events(answer)) {
          resumed.came();
          const data = event.data as Event;
          if (data.seq <= after) continue;
          after = data.seq;
          deleted = data.type === "session.deleted";
          yield data;
        }
        if (!follow || deleted) return;
        await resumed.failed(new BerthConnectionError("a stream ended before its session"));
      } catch (error) {
        await resumed.failed(error);
      }
    }
  }

  // ---- files ----

  async readFile(path: string, options: CallOptions & { max?: number } = {}): Promise<Buffer> {
    return (await this.client.read("fileRead", { path: this.path, query: { path } }, { max: Infinity, ...options })).body;
  }
  writeFile(path: string, data: Uint8Array | string, mode?: string, options?: CallOptions): Promise<FileInfo> {
    const query = mode === undefined ? { path } : { path, mode };
    return this.client.call("fileWrite", { path: this.path, query, body: typeof data === "string" ? Buffer.from(data) : data }, options);
  }
  /** Of what a link leads to. */
  async stat(path: string, options?: CallOptions): Promise<{ type: string; size: number; mode: string }> {
    const answer = await this.client.ask("fileStat", { path: this.path, query: { path } }, options);
    answer.resume();
    const head = (name: string): string => String(answer.headers[name] ?? "");
    return { type: head("x-berth-type"), size: Number(head("content-length") || 0), mode: head("x-berth-mode") };
  }
  mkdir(path: string, options?: CallOptions): Promise<FileInfo> {
    return this.client.call("filesMkdir", { path: this.path, body: { path } }, options);
  }
  /** A file that commands of the session read as `/mnt/session/uploads/NAME` and cannot change. It goes with a
   * park that stops. */
  upload(name: string, data: Uint8Array | string, options?: CallOptions): Promise<Uploaded> {
    const body = typeof data === "string" ? Buffer.from(data) : data;
    const query = { name, size: body.byteLength, sha256: createHash("sha256").update(body).digest("hex") };
    return this.client.call("uploads", { path: this.path, query, body }, options);
  }
  /** The regular files beneath a directory with their hashes, all or none; their bytes are read by `readFile()`
   * with the header If-Match. */
  collect(path?: string, options?: CallOptions): Promise<Collection> {
    return this.client.call("collect", { path: this.path, body: path === undefined ? {} : { path } }, options);
  }
  /** What changes in a directory, `ready` first; ends with `end`, or throws when the connection broke: then look at
   * what is there, and watch anew. */
  async *watch(path: string, options: { recursive?: boolean; signal?: AbortSignal } = {}): AsyncGenerator<Change, void, undefined> {
    const answer = await this.client.ask("filesWatch", { path: this.path, query: { path, recursive: options.recursive ?? false } }, { headers: { accept: "text/event-stream" }, signal: options.signal });
    for await (const event of events(answer)) {
      const kind = event.event as Change["event"];
      yield { event: kind, ...(event.data as object) } as Change;
      if (kind === "end") return;
    }
  }
  move(from: string, to: string): Promise<FileInfo> {
    return this.client.call("filesMove", { path: this.path, body: { from, to } });
  }
  remove(path: string, recursive = false): Promise<unknown> {
    return this.client.call("fileRemove", { path: this.path, query: { path, recursive } });
  }
  async *list(path: string, depth = 1, options?: CallOptions): AsyncGenerator<FileEntry, void, undefined> {
    for (let after: string | undefined; ; ) {
      const page: FileList = await this.client.call("filesList", { path: this.path, query: { path, depth, limit: 1000, ...(after === undefined ? {} : { after }) } }, options);
      yield* page.entries;
      if (page.next === null || page.next === undefined) return;
      after = page.next;
    }
  }
}
