// This file is the typed client: each operation of the interface by its name, with idempotency keys and
// with asking again where that is safe; it never asks again for what could be done twice.
import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { BerthConnectionError, BerthError, isProblem } from "./errors.js";
import { operations, type OperationId, type Operations, type Problem } from "./generated.js";
import { readAll, Transport, type Address } from "./transport.js";

export interface ClientOptions extends Address {
  /** How long a request is asked again, in ms; 0: never. Default 30 s. */
  retryMs?: number;
  /** Largest answer that is kept in memory. Default 256 MiB. */
  answerBytesMax?: number;
}

type Given<T> = keyof T extends never ? { [name: string]: never } : T;
type Optional<T> = { [K in keyof T as T[K] extends undefined ? never : K]: T[K] };

export interface CallOptions {
  /** Made when it is not given, for operations that take one. */
  idempotencyKey?: string;
  signal?: AbortSignal | undefined;
  headers?: Record<string, string>;
  retryMs?: number;
}

export type Arguments<Id extends OperationId> = Given<Operations[Id]["path"]> extends infer P
  ? { path: P; query?: Operations[Id]["query"] } & Optional<{ body: Operations[Id]["body"] }>
  : never;

/** Operations that may be repeated although they take no key: doing them twice is doing them once. */
const REPEATABLE: ReadonlySet<string> = new Set<OperationId>(["filesMkdir", "filesChmod", "uploads", "collect"]);
/** Before these nothing was sent. */
const NOT_CONNECTED = new Set(["ECONNREFUSED", "ENOENT"]);

export class Client {
  readonly transport: Transport;
  private readonly retryMs: number;
  private readonly answerBytesMax: number;

  constructor(options: ClientOptions = {}) {
    this.transport = new Transport(options);
    this.retryMs = options.retryMs ?? 30_000;
    this.answerBytesMax = options.answerBytesMax ?? 256 << 20;
  }

  close(): void {
    this.transport.close();
  }

  /** Does an operation and gives its answer. */
  async call<Id extends OperationId>(id: Id, args: Arguments<Id>, options: CallOptions = {}): Promise<Operations[Id]["answer"]> {
    const { answer, body } = await this.read(id, args, options);
    const type = answer.headers["content-type"] ?? "";
    return (type.startsWith("application/json") ? JSON.parse(body.toString("utf8")) : body) as Operations[Id]["answer"];
  }

  /** A successful answer with all of its body, which is asked for again when it breaks off. */
  async read<Id extends OperationId>(id: Id, args: Arguments<Id>, options: CallOptions & { max?: number } = {}): Promise<{ answer: IncomingMessage; body: Buffer }> {
    return this.asked(id, args, options, async (answer) => ({ answer, body: await readAll(answer, options.max ?? this.answerBytesMax) }));
  }

  /** The head of a successful answer. Its body may still break off: call() and read() ask again for that. */
  async ask<Id extends OperationId>(id: Id, args: Arguments<Id>, options: CallOptions = {}): Promise<IncomingMessage> {
    return this.asked(id, args, options, async (answer) => answer);
  }

  /** Each time with the same key. */
  private async asked<Id extends OperationId, T>(id: Id, args: Arguments<Id>, options: CallOptions, take: (answer: IncomingMessage) => Promise<T>): Promise<T> {
    const operation = operations[id];
    const { path, query, body } = args as { path: Record<string, string>; query?: Record<string, unknown>; body?: unknown };
    const headers: Record<string, string> = { accept: "application/json", ...options.headers };
    const raw = body instanceof Uint8Array;
    if (body !== undefined && !raw) headers["content-type"] = "application/json";
    if (raw) headers["content-type"] = "application/octet-stream";
    if (operation.key) headers["idempotency-key"] = options.idempotencyKey ?? randomUUID();
    const repeatable = operation.method !== "POST" || operation.key || REPEATABLE.has(id);
    const request = {
      method: operation.method,
      path: fill(operation.path, path) + search(query),
      headers,
      ...(body === undefined ? {} : { body: raw ? body : Buffer.from(JSON.stringify(body)) }),
      signal: options.signal,
    };
    return this.again(repeatable, options, async () => take(await this.once(request, !repeatable)));
  }

  private async once(request: Parameters<Transport["ask"]>[0], fresh: boolean): Promise<IncomingMessage> {
    const answer = await this.transport.ask(request, fresh);
    const status = answer.statusCode ?? 0;
    if (status < 400) return answer;
    throw await problemOf(answer, request.method === "HEAD");
  }

  private async again<T>(repeatable: boolean, options: CallOptions, once: () => Promise<T>): Promise<T> {
    const end = Date.now() + (options.retryMs ?? this.retryMs);
    for (let pause = 25; ; pause = Math.min(pause * 2, 2000)) {
      try {
        return await once();
      } catch (error) {
        const wait = waitBefore(error, repeatable, pause);
        if (wait === undefined || Date.now() + wait > end) throw error;
        await sleep(wait, undefined, options.signal ? { signal: options.signal } : {});
      }
    }
  }
}

/** Milliseconds until it is right to ask again; undefined: never. */
export function waitBefore(error: unknown, repeatable: boolean, pause: number): number | undefined {
  const jittered = pause * (0.5 + Math.random());
  if (error instanceof BerthConnectionError) {
    const code = (error.cause as NodeJS.ErrnoException | undefined)?.code;
    return repeatable || NOT_CONNECTED.has(code ?? "") ? jittered : undefined;
  }
  if (isProblem(error, "unavailable", "rate_limited", "in_progress") && repeatable)
    return Math.max(jittered, error.code === "in_progress" ? 0 : (error.problem.retry_after ?? 0) * 1000);
  return undefined;
}

const TITLES: Partial<Record<number, Problem["code"]>> = { 400: "invalid_request", 401: "unauthorized", 403: "forbidden", 404: "not_found", 409: "invalid_state", 416: "range_not_satisfiable", 429: "rate_limited", 503: "unavailable" };

/** The answer to HEAD has no body: its status is all there is. */
async function problemOf(answer: IncomingMessage, head: boolean): Promise<Error> {
  const id = answer.headers["x-request-id"] as string | undefined;
  const status = answer.statusCode ?? 0;
  const body = await readAll(answer, 1 << 20);
  const type = answer.headers["content-type"] ?? "";
  if (type.startsWith("application/problem+json") && body.length) return new BerthError(JSON.parse(body.toString("utf8")) as Problem, id);
  if (!head) return new BerthConnectionError(`status ${status} with ${type || "nothing"}: this is not berth`);
  const code = TITLES[status] ?? "internal";
  return new BerthError({ type: `urn:berth:problem:${code}`, title: code, status, code, detail: `status ${status}` }, id);
}

/** A path of the interface. Names are one segment each: "." and ".." would be another path. */
export function fill(template: string, names: Record<string, string>): string {
  return template.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = names[name];
    if (!value) throw new TypeError(`berth: ${name} is missing`);
    if (value === "." || value === "..") throw new TypeError(`berth: ${name} cannot be "${value}"`);
    return encodeURIComponent(value);
  });
}

function search(query: Record<string, unknown> | undefined): string {
  const parts = Object.entries(query ?? {}).filter(([, value]) => value !== undefined);
  return parts.length ? "?" + parts.map(([name, value]) => `${name}=${encodeURIComponent(String(value))}`).join("&") : "";
}
