// This file gives the built-in tools of the Pi coding agent a provider's operations. The agent's package
// is the caller's: nothing of it is imported here.
import type { Operations } from "./operations.js";
import type { SandboxProvider } from "./provider.js";

/** The part of the package's exports that is used. */
export interface PiTools {
  createBashTool(cwd: string, options: { operations: Operations["bash"] }): unknown;
  createReadTool(cwd: string, options: { operations: Operations["read"] }): unknown;
  createWriteTool(cwd: string, options: { operations: Operations["write"] }): unknown;
  createEditTool(cwd: string, options: { operations: Operations["edit"] }): unknown;
  createFindTool(cwd: string, options: { operations: Operations["find"] }): unknown;
  createLsTool(cwd: string, options: { operations: Operations["ls"] }): unknown;
  createGrepTool(cwd: string): unknown;
}

export const TOOL_NAMES = ["bash", "read", "write", "edit", "find", "grep", "ls"] as const;
type ToolName = (typeof TOOL_NAMES)[number];

interface GrepInput {
  pattern: string;
  path?: string;
  glob?: string;
  ignoreCase?: boolean;
  literal?: boolean;
  limit?: number;
}

/** Every built-in tool, in the session. The package's own grep starts a program on the caller's host
 * whatever its operations are: only its name and its schema are taken. */
export function createPiTools(pi: PiTools, provider: SandboxProvider): Record<ToolName, unknown> {
  const { cwd, operations } = provider;
  const grep = {
    ...(pi.createGrepTool(cwd) as object),
    description: "Names the files whose content matches a pattern. Hidden files are searched, binary ones are not.",
    execute: async (_id: string, input: GrepInput, signal?: AbortSignal) => {
      if (signal?.aborted) throw new Error("Operation aborted");
      const { files, truncated } = await operations.grep.grep(input.pattern, {
        ...(input.path === undefined ? {} : { path: input.path }),
        ...(input.glob === undefined ? {} : { glob: input.glob }),
        ...(input.limit === undefined ? {} : { headLimit: input.limit }),
        ignoreCase: input.ignoreCase ?? false,
        literal: input.literal ?? false,
        signal,
      });
      const text = files.length ? files.join("\n") + (truncated ? "\n\n[there are more]" : "") : "No matches found";
      return { content: [{ type: "text", text }], details: truncated ? { matchLimitReached: files.length } : undefined };
    },
  };
  return {
    bash: pi.createBashTool(cwd, { operations: operations.bash }),
    read: pi.createReadTool(cwd, { operations: operations.read }),
    write: pi.createWriteTool(cwd, { operations: operations.write }),
    edit: pi.createEditTool(cwd, { operations: operations.edit }),
    find: pi.createFindTool(cwd, { operations: operations.find }),
    grep,
    ls: pi.createLsTool(cwd, { operations: operations.ls }),
  };
}
