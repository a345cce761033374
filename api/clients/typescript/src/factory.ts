// This file makes providers for a control plane: one session each, after what an earlier life of the
// control plane left was destroyed. It never takes a session of another owner.
import { Client, type ClientOptions } from "./client.js";
import { isProblem } from "./errors.js";
import type { SessionCreateBody } from "./generated.js";
import { SandboxProvider, type ProviderOptions } from "./provider.js";
import { SessionHandle } from "./session.js";

export interface FactoryOptions extends ClientOptions, ProviderOptions {
  /** Whose sessions these are. It must be this control plane's alone: what it has left is destroyed at
   * the first use. */
  owner: string;
  /** What every session is made with. */
  create?: Omit<SessionCreateBody, "session_id" | "owner">;
  /** false: leave what an earlier life has left. */
  reap?: boolean;
}

export interface ProviderContext {
  labels?: Record<string, string>;
  create?: Omit<SessionCreateBody, "session_id" | "owner">;
  signal?: AbortSignal;
}

export type ProviderFactory = (workspaceId: string, sessionId: string, context?: ProviderContext) => Promise<SandboxProvider>;

export function createProviderFactory(options: FactoryOptions): ProviderFactory {
  let reaped: Promise<void> | undefined;

  /** Once; whoever comes while it is under way waits for it, and after a failure the next one tries again. */
  const reapOnce = (): Promise<void> => {
    reaped ??= reap(options).catch((error: unknown) => {
      reaped = undefined;
      throw error;
    });
    return reaped;
  };

  return async (workspaceId, sessionId, context = {}) => {
    if (options.reap !== false) await reapOnce();
    const client = new Client(options);
    try {
      const session = await makeOrTake(client, workspaceId, sessionId, options, context);
      return new SandboxProvider(session, options);
    } catch (error) {
      client.close();
      throw error;
    }
  };
}

async function reap(options: FactoryOptions): Promise<void> {
  const client = new Client(options);
  try {
    const { sessions } = await client.call("reap", { path: {}, body: { owner: options.owner } });
    const left = sessions.filter((session) => session.outcome === "failed");
    if (left.length) throw new Error(`berth: ${left.length} sessions of ${options.owner} could not be destroyed: ${left[0]?.error ?? ""}`);
  } finally {
    client.close();
  }
}

async function makeOrTake(client: Client, workspaceId: string, sessionId: string, options: FactoryOptions, context: ProviderContext): Promise<SessionHandle> {
  const call = context.signal ? { signal: context.signal } : {};
  const labels = { ...options.create?.labels, ...context.create?.labels, ...context.labels };
  const body: SessionCreateBody = { ...options.create, ...context.create, session_id: sessionId, owner: options.owner, labels };
  try {
    return await SessionHandle.create(client, workspaceId, body, call);
  } catch (error) {
    if (!isProblem(error, "session_exists")) throw error;
    const session = new SessionHandle(client, workspaceId, sessionId);
    const found = await session.get(call);
    if (found.owner !== options.owner) throw error;
    if (found.state === "parked") await session.resume(call);
    else if (found.state !== "running") throw error;
    return session;
  }
}
