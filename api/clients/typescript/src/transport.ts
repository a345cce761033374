// This file is one request to berth over a unix socket or TCP; it never asks twice.
//
// Whose service is talked to: one that was named, whoever's it is; else only one of root's or of the
// caller's own, because what is sent there is the caller's, and in a directory like /tmp anybody could
// stand at the name. Nobody here can ask the kernel who listens, so the files say it.
import { lstatSync, type Stats } from "node:fs";
import * as http from "node:http";
import * as https from "node:https";
import { once } from "node:events";
import { posix } from "node:path";
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

const ownId = (): number => process.geteuid?.() ?? 0;

/** The sockets to try, in order, when nobody names one: the system's, then this user's own. */
export function defaultSockets(env: NodeJS.ProcessEnv = process.env, uid = ownId()): string[] {
  const absolute = (path: string | undefined): path is string => path?.startsWith("/") ?? false;
  if (absolute(env.BERTH_RUNTIME_DIR)) return [`${env.BERTH_RUNTIME_DIR}/berth.sock`];
  if (uid === 0) return ["/run/berth/berth.sock"];
  return ["/run/berth/berth.sock", absolute(env.XDG_RUNTIME_DIR) ? `${env.XDG_RUNTIME_DIR}/berth/berth.sock` : `/tmp/berth-${uid}/berth.sock`];
}

/** Throws unless a socket is there at which only root or `uid` can listen. What is not there is not
 * connected to either: somebody could make it in between. */
export function checkSocket(path: string, uid = ownId()): void {
  const refuse = (what: string, why: string): never => {
    throw new Error(`berth: ${what}: ${why}. If that is right, name it: BERTH_HOST=unix:${path}`);
  };
  const look = (what: string): Stats => {
    try {
      const found = lstatSync(what);
      if (found.uid !== 0 && found.uid !== uid) refuse(what, `it is of user ${found.uid}, who is neither you nor root`);
      return found;
    } catch (cause) {
      if (isNobody(cause)) throw new BerthConnectionError(`berth at unix:${path}: ${(cause as Error).message}`, { cause });
      throw cause;
    }
  };
  const directory = posix.dirname(path);
  const above = look(directory);
  if (!above.isDirectory()) refuse(directory, "it is a link, or no directory");
  if ((above.mode & 0o022) !== 0) refuse(directory, "others may write in it");
  if (!look(path).isSocket()) refuse(path, "it is a link, or no socket");
}

/** Nobody listens there, or not for this user; nothing was sent. */
function isNobody(error: unknown): boolean {
  return ["ENOENT", "ECONNREFUSED", "EACCES", "ENOTDIR"].includes((error as NodeJS.ErrnoException | undefined)?.code ?? "");
}

interface Place {
  host: string;
  module: typeof http | typeof https;
  options: http.RequestOptions;
  /** A default of nobody's choice: it is checked before each request. */
  unnamed?: string;
}

const unixPlace = (path: string): Place => ({ host: `unix:${path}`, module: http, options: { socketPath: path, host: "berth" } });

function placesOf(address: Address): { places: [Place, ...Place[]]; token: string | undefined } {
  const host = address.host ?? (process.env.BERTH_HOST || undefined);
  if (host === undefined) return { places: defaultSockets().map((path) => ({ ...unixPlace(path), unnamed: path })) as [Place, ...Place[]], token: undefined };
  if (host.startsWith("unix:")) return { places: [unixPlace(host.slice(5))], token: undefined };
  const url = new URL(host);
  if (url.protocol !== "http:" && url.protocol !== "https:") throw new TypeError(`berth: ${host}: write unix:PATH, http://… or https://…`);
  if (url.pathname !== "/" || url.search || url.username) throw new TypeError(`berth: ${host}: only a host and a port`);
  const place: Place = {
    host,
    module: url.protocol === "https:" ? https : http,
    options: { host: url.hostname.replace(/^\[|\]$/g, ""), port: url.port || (url.protocol === "https:" ? 443 : 80) },
  };
  return { places: [place], token: address.token ?? process.env.BERTH_TOKEN };
}

export class Transport {
  readonly token: string | undefined;
  /** One of them when it has answered: sessions are one service's. */
  private places: [Place, ...Place[]];
  private readonly agent: http.Agent;

  constructor(address: Address = {}) {
    const { places, token } = placesOf(address);
    this.places = places;
    this.token = token;
    this.agent = new places[0].module.Agent({ keepAlive: true, maxSockets: 64, maxFreeSockets: 4, timeout: 30_000 });
  }

  /** Where it is: what has answered, else what is tried first. */
  get host(): string {
    return this.places[0].host;
  }

  /** Throws when nobody listens there, or somebody else could. */
  check(): void {
    if (this.places[0].unnamed !== undefined) checkSocket(this.places[0].unnamed);
  }

  /** The head of the answer; whoever asks reads or destroys its body. */
  async ask(request: Request, fresh = false): Promise<http.IncomingMessage> {
    const places = this.places;
    for (const [i, place] of places.entries()) {
      try {
        if (place.unnamed !== undefined) checkSocket(place.unnamed);
        const answer = await this.askAt(place, request, fresh);
        // Unless another request came first.
        if (this.places === places && places.length > 1) this.places = [place];
        return answer;
      } catch (error) {
        // A body that comes piece by piece may have begun already.
        const whole = request.body === undefined || request.body instanceof Uint8Array;
        if (i + 1 === places.length || !whole || !(error instanceof BerthConnectionError) || !isNobody(error.cause)) throw error;
      }
    }
    throw new Error("there is always a place");
  }

  private async askAt(place: Place, request: Request, fresh: boolean): Promise<http.IncomingMessage> {
    const headers: Record<string, string> = { ...request.headers };
    if (this.token) headers.authorization = `Bearer ${this.token}`;
    if (request.body instanceof Uint8Array) headers["content-length"] = String(request.body.byteLength);
    request.signal?.throwIfAborted();
    const asked = place.module.request({
      ...place.options,
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
      throw new BerthConnectionError(`berth at ${place.host}: ${(cause as Error).message}`, { cause });
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
