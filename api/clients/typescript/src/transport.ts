// This file is one request to berth over a unix socket or TCP; it never asks twice.
import * as http from "node:http";
import * as https from "node:https";
import { once } from "node:events";
import { BerthConnectionError } from "./errors.js";

export interface Address {
  /** `unix:/path/of/berth.sock`, `http://host:port` or `https://host:port`. */
  host?: string;
  /** For TCP; on a unix socket the kernel says who the caller is, and no token is sent. */
  token?: string;
}

export interface Request {
  method: string;
  path: string;
  headers?: Record<string, string>;
  body?: Uint8Array | AsyncIterable<Uint8Array>;
  signal?: AbortSignal | undefined;
  /** Milliseconds in which nothing may come or go. */
  idleMs?: number;
}

/** Where berth is when nobody says it: BERTH_HOST, else the socket of the system or of this user. */
export function defaultHost(env: NodeJS.ProcessEnv = process.env, uid = process.getuid?.() ?? 0): string {
  if (env.BERTH_HOST) return env.BERTH_HOST;
  const directory =
    env.BERTH_RUNTIME_DIR ?? (uid === 0 ? "/run/berth" : env.XDG_RUNTIME_DIR ? `${env.XDG_RUNTIME_DIR}/berth` : `/tmp/berth-${uid}`);
  return `unix:${directory}/berth.sock`;
}

interface Place {
  module: typeof http | typeof https;
  options: http.RequestOptions;
}

function placeOf(address: Address): Place & { host: string; token: string | undefined } {
  const host = address.host ?? defaultHost();
  if (host.startsWith("unix:")) return { host, token: undefined, module: http, options: { socketPath: host.slice(5), host: "berth" } };
  const url = new URL(host);
  if (url.protocol !== "http:" && url.protocol !== "https:") throw new TypeError(`berth: ${host}: write unix:PATH, http://… or https://…`);
  if (url.pathname !== "/" || url.search || url.username) throw new TypeError(`berth: ${host}: only a host and a port`);
  return {
    host,
    token: address.token ?? process.env.BERTH_TOKEN,
    module: url.protocol === "https:" ? https : http,
    options: { host: url.hostname.replace(/^\[|\]$/g, ""), port: url.port || (url.protocol === "https:" ? 443 : 80) },
  };
}

export class Transport {
  readonly host: string;
  readonly token: string | undefined;
  private readonly place: Place;
  private readonly agent: http.Agent;

  constructor(address: Address = {}) {
    const { host, token, module, options } = placeOf(address);
    this.host = host;
    this.token = token;
    this.place = { module, options };
    this.agent = new module.Agent({ keepAlive: true, maxSockets: 64, maxFreeSockets: 4, timeout: 30_000 });
  }

  /** The head of the answer; whoever asks reads or destroys its body. */
  async ask(request: Request, fresh = false): Promise<http.IncomingMessage> {
    const headers: Record<string, string> = { ...request.headers };
    if (this.token) headers.authorization = `Bearer ${this.token}`;
    if (request.body instanceof Uint8Array) headers["content-length"] = String(request.body.byteLength);
    request.signal?.throwIfAborted();
    const asked = this.place.module.request({
      ...this.place.options,
      method: request.method,
      path: request.path,
      headers,
      agent: fresh ? false : this.agent,
      signal: request.signal,
      timeout: request.idleMs ?? 0,
    });
    asked.on("timeout", () => asked.destroy(new Error(`nothing came or went for ${request.idleMs} ms`)));
    const answer = new Promise<http.IncomingMessage>((resolve, reject) => {
      asked.once("response", resolve);
      asked.on("error", reject);
    });
    answer.catch(() => {});
    try {
      if (request.body instanceof Uint8Array) asked.end(request.body);
      else if (request.body) await this.send(asked, request.body, answer);
      else asked.end();
      return await answer;
    } catch (cause) {
      asked.destroy();
      request.signal?.throwIfAborted();
      throw new BerthConnectionError(`berth at ${this.host}: ${(cause as Error).message}`, { cause });
    }
  }

  /** An answer before the end of the body is a refusal: the rest is of no use. */
  private async send(asked: http.ClientRequest, body: AsyncIterable<Uint8Array>, answer: Promise<unknown>): Promise<void> {
    let over = false;
    answer.then(() => (over = true), () => (over = true));
    for await (const chunk of body) {
      if (over) return;
      if (!asked.write(chunk)) await Promise.race([once(asked, "drain"), answer]);
    }
    asked.end();
  }

  close(): void {
    this.agent.destroy();
  }
}

/** All of a body, at most `max` bytes. */
export async function readAll(answer: http.IncomingMessage, max = Infinity): Promise<Buffer> {
  const parts: Buffer[] = [];
  let length = 0;
  try {
    for await (const part of answer as AsyncIterable<Buffer>) {
      length += part.length;
      if (length > max) throw new RangeError(`more than ${max} bytes`);
      parts.push(part);
    }
  } catch (cause) {
    answer.destroy();
    if (cause instanceof RangeError) throw cause;
    throw new BerthConnectionError(`an answer broke off: ${(cause as Error).message}`, { cause });
  }
  if (!answer.complete) throw new BerthConnectionError("an answer broke off");
  return Buffer.concat(parts);
}
