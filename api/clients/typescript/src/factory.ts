// This file makes providers for a control plane: one session each, after what an earlier life of the
// control plane left was destroyed. It never takes a session of another owner.
import { Client, type ClientOptions } from "./client.js";
import { isProblem } from "./errors.js";
import type { SessionCreateBody, SessionList } from "./generated.js";
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
  const reaped = new Map<string, Promise<void>>();

  /** Once; whoever comes while it is under way waits for it, and after a failure the next one tries again.
   * A token is of workspaces, so with one it is once for each of them. */
  const reapOnce = (workspaceId: string): Promise<void> => {
    const client = new Client(options);
    const scope = client.transport.token ? workspaceId : "";
    let done = reaped.get(scope);
    if (!done) {
      done = (scope ? destroyAll(client, scope, options.owner) : reap(client, options.owner)).catch((error: unknown) => {
        reaped.delete(scope);
        throw error;
      });
      reaped.set(scope, done);
    }
    return done.finally(() => client.close());
  };

  return async (workspaceId, sessionId, context = {}) => {
    if (options.reap !== false) await reapOnce(workspaceId);
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

async function reap(client: Client, owner: string): Promise<void> {
  const { sessions } = await client.call("reap", { path: {}, body: { owner } });
  const left = sessions.filter((session) => session.outcome === "failed");
  if (left.length) throw new Error(`berth: ${left.length} sessions of ${owner} could not be destroyed: ${left[0]?.error ?? ""}`);
}

/** The same for one workspace, by what a token for it may do. */
async function destroyAll(client: Client, workspaceId: string, owner: string): Promise<void> {
  const path = { workspace_id: workspaceId };
  for (let after: string | null | undefined; after !== null; ) {
    const page: SessionList = await client.call("sessionList", { path, query: { owner, limit: 1000, ...(after === undefined ? {} : { after }) } });
    for (const { session_id, state } of page.sessions)
      if (state !== "destroyed" && state !== "failed") await new SessionHandle(client, workspaceId, session_id).destroy();
    after = page.next;
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
