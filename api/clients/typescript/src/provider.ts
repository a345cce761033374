// This file is a sandbox for an agent's tools: one session, its operations, and its end. It never does
// anything for an agent outside of the session.
import { createHash } from "node:crypto";
import { posix } from "node:path";
import { isProblem } from "./errors.js";
import { destroySync } from "./dispose.js";
import { createOperations, ENV_ALLOWED, type Operations } from "./operations.js";
import { inside } from "./paths.js";
import type { SessionHandle } from "./session.js";

export interface ProviderOptions {
  /** Where commands begin, and all that may be written. Default: /workspace. */
  cwd?: string;
  /** May be read and searched beside it. */
  alsoReadable?: readonly string[];
  /** Variables of the caller that a command may get. */
  envAllowed?: readonly string[];
  /** Remove the volume of the workspace with the session. */
  deleteVolume?: boolean;
}

/** A file that a session is given: where, what, and what it must be. */
export interface FileResource {
  path: string;
  content: Uint8Array;
  size: number;
  sha256: string;
}

export interface OutputFile {
  /** Relative to where it was collected. */
  path: string;
  content: Buffer;
  size: number;
  sha256: string;
}

const UPLOADS = "/mnt/session/uploads";
const OUTPUTS = "/mnt/session/outputs";
/** berth's own bounds of a collection. */
export const OUTPUT_LIMITS = { entries: 10_000, files: 100, fileBytes: 25 << 20, bytes: 100 << 20 } as const;
export const DISPOSED = "Sandbox provider is disposed";

const sha256 = (data: Uint8Array): string => createHash("sha256").update(data).digest("hex");

export class SandboxProvider {
  readonly cwd: string;
  readonly operations: Operations;
  private readonly ended = new AbortController();
  private readonly deleteVolume: boolean;
  private poison: string | undefined;
  private destroyed = false;
  private outputs: readonly OutputFile[] = [];

  constructor(readonly session: SessionHandle, options: ProviderOptions = {}) {
    this.cwd = options.cwd ?? "/workspace";
    this.deleteVolume = options.deleteVolume ?? false;
    this.operations = createOperations({
      session,
      cwd: this.cwd,
      alsoReadable: options.alsoReadable ?? [UPLOADS],
      envAllowed: options.envAllowed ?? ENV_ALLOWED,
      check: () => this.check(),
      signal: this.ended.signal,
      failed: (error) => this.failed(error),
    });
  }

  /** The session will not come back: make another provider. */
  isPoisoned(): boolean {
    return this.poison !== undefined || (this.ended.signal.aborted && !this.destroyed);
  }

  /** Destroys the session. Nothing is done after it; doing it again does nothing, but when the session is
   * left it is tried again. */
  dispose(): void {
    if (this.destroyed) return;
    this.ended.abort(new Error(DISPOSED));
    this.destroyed = destroySync(this.session.client.transport, this.session.workspaceId, this.session.id, this.deleteVolume);
    this.session.client.close();
  }

  /** Files for the session: beneath /mnt/session/uploads none of its commands can change them, beneath `cwd` they
   * are read-only by their mode. All are checked before any is written. */
  async materializeFileResources(files: readonly FileResource[]): Promise<void> {
    this.check();
    const places = files.map((file) => inside(file.path, [this.cwd, UPLOADS]));
    for (const file of files) {
      if (file.content.byteLength !== file.size) throw new Error(`${file.path}: size mismatch`);
      if (sha256(file.content) !== file.sha256.toLowerCase()) throw new Error(`${file.path}: failed integrity validation`);
    }
    for (const [i, file] of files.entries()) {
      const place = places[i] as string;
      if (place.startsWith(UPLOADS + "/")) await this.session.upload(place.slice(UPLOADS.length + 1), file.content, { signal: this.ended.signal });
      else await this.session.writeFile(place, file.content, "0444", { signal: this.ended.signal });
    }
  }

  /** The regular files beneath a directory, sorted: all of them, or an error and what was there before. */
  async collectOutputFiles(directory = posix.join(this.cwd, "outputs")): Promise<readonly OutputFile[]> {
    this.check();
    const place = inside(directory, [this.cwd, OUTPUTS]);
    const { signal } = this.ended;
    try {
      const { files } = await this.session.collect(place, { signal });
      const collected: OutputFile[] = [];
      for (const { name, size, sha256: expected, etag } of files) {
        // What a program has changed since is refused: 412.
        const content = await this.session.readFile(posix.join(place, name), { signal, max: OUTPUT_LIMITS.fileBytes, headers: { "if-match": etag } });
        if (content.length !== size) throw new Error(`outputs: ${name}: size mismatch`);
        if (sha256(content) !== expected) throw new Error(`outputs: ${name}: failed integrity validation`);
        collected.push({ path: name, content, size, sha256: expected });
      }
      this.outputs = collected;
    } catch (error) {
      if (signal.aborted) throw new Error(DISPOSED);
      if (isProblem(error, "too_large")) throw new Error(`outputs: more than may be collected: ${error.message}`, { cause: error });
      if (!isProblem(error, "not_found")) throw error;
      await this.session.get();
      this.outputs = [];
    }
    return this.outputs;
  }

  /** What was collected last. */
  get outputFiles(): readonly OutputFile[] {
    return this.outputs;
  }

  private check(): void {
    if (this.ended.signal.aborted) throw new Error(DISPOSED);
  }

  /** A missing file is none of these: operations ask for the session before they say so. */
  private failed(error: unknown): void {
    if (isProblem(error, "not_found", "unauthorized", "forbidden") && error.problem.pointer === undefined) this.look();
    if (isProblem(error, "invalid_state")) this.look();
  }

  private look(): void {
    this.session.get({ retryMs: 0 }).then(
      (session) => {
        if (["destroying", "destroyed", "failed"].includes(session.state)) this.poison ??= session.state;
      },
      (error: unknown) => {
        if (isProblem(error, "not_found", "unauthorized", "forbidden")) this.poison ??= error.code;
      },
    );
  }
}
