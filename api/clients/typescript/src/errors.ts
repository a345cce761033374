// This file is what goes wrong, as errors that a program can tell apart; it never decides what to do.
import type { Problem } from "./generated.js";

/** The service refused, and said why (RFC 9457). */
export class BerthError extends Error {
  override readonly name = "BerthError";
  constructor(readonly problem: Problem, readonly requestId: string | undefined) {
    super(`${problem.code}: ${problem.detail}`);
  }
  get code(): Problem["code"] {
    return this.problem.code;
  }
  get status(): number {
    return this.problem.status;
  }
}

/** No answer, or none that could be read. */
export class BerthConnectionError extends Error {
  override readonly name = "BerthConnectionError";
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
  }
}

export function isProblem(error: unknown, ...codes: Problem["code"][]): error is BerthError {
  return error instanceof BerthError && codes.includes(error.code);
}
