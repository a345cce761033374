// This file is what the package gives.
export { Client, type Arguments, type CallOptions, type ClientOptions } from "./client.js";
export { BerthConnectionError, BerthError, isProblem } from "./errors.js";
export { createProviderFactory, type FactoryOptions, type ProviderContext, type ProviderFactory } from "./factory.js";
export * as api from "./generated.js";
export { ENV_ALLOWED, LIMITS, type BashOptions, type GrepOptions, type Operations } from "./operations.js";
export { PathError } from "./paths.js";
export { createPiTools, TOOL_NAMES, type PiTools } from "./pi.js";
export { DISPOSED, OUTPUT_LIMITS, SandboxProvider, type FileResource, type OutputFile, type ProviderOptions } from "./provider.js";
export { ExecHandle, RunningExec, SessionHandle, type Change, type FollowOptions, type Frame, type OutputStream, type RunResult } from "./session.js";
export { type Address } from "./transport.js";
