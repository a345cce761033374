// This file is which paths an agent may name, and globs; it never asks anybody.
import { posix } from "node:path";

export class PathError extends Error {
  override readonly name = "PathError";
}

/** `path` beneath one of `roots`, normalised; relative ones begin in the first. Throws when it is elsewhere. */
export function inside(path: string, roots: readonly string[]): string {
  if (path.includes("\0")) throw new PathError("a path has no NUL");
  const whole = posix.normalize(posix.isAbsolute(path) ? path : posix.join(roots[0] ?? "/", path)).replace(/(.)\/$/, "$1");
  if (roots.some((root) => whole === root || whole.startsWith(root === "/" ? "/" : root + "/"))) return whole;
  throw new PathError(`${path}: only ${roots.join(" and ")} and what is beneath may be named`);
}

const PATTERN_MAX = 4096;

/** One step: a character that is taken, or where to go on without one. */
type Step = { takes: (c: string) => boolean } | { to: number[] };

const notSlash = (c: string): boolean => c !== "/";

/** What one glob matches, among paths relative to where it is looked for. It follows all ways through the
 * pattern at once, so that it takes steps times characters whatever they are. */
export function globMatcher(glob: string): (path: string) => boolean {
  const steps = stepsOf(glob);
  const end = steps.length;
  const seen = new Int32Array(end + 1); // in which round a step was come to last
  let round = 0;
  const reach = (from: number, into: number[]): void => {
    for (const stack = [from]; stack.length; ) {
      const at = stack.pop() as number;
      if (seen[at] === round) continue;
      seen[at] = round;
      const step = steps[at];
      if (step && "to" in step) stack.push(...step.to);
      else into.push(at);
    }
  };
  return (path) => {
    seen.fill(0);
    round = 1;
    let here: number[] = [];
    reach(0, here);
    for (const c of path) {
      const next: number[] = [];
      round++;
      for (const at of here) {
        const step = steps[at];
        if (step && "takes" in step && step.takes(c)) reach(at + 1, next);
      }
      if (next.length === 0) return false;
      here = next;
    }
    return here.includes(end);
  };
}

function stepsOf(glob: string): Step[] {
  if (glob.length > PATTERN_MAX) throw new PathError(`a pattern has at most ${PATTERN_MAX} characters`);
  const chars = Array.from(glob);
  const steps: Step[] = [];
  const groups: { begin: number[]; ends: number[][] }[] = [];
  const lastBrace = chars.lastIndexOf("}");
  const star = (takes: (c: string) => boolean): void => {
    const at = steps.length;
    steps.push({ to: [at + 1, at + 3] }, { takes }, { to: [at] });
  };
  /** The end of one alternative: where it goes is known at the end of the group. */
  const leave = (group: (typeof groups)[number]): void => {
    const to: number[] = [];
    group.ends.push(to);
    steps.push({ to });
  };
  const close = (group: (typeof groups)[number]): void => {
    leave(group);
    for (const to of group.ends) to.push(steps.length);
  };
  for (let i = 0; i < chars.length; i++) {
    const c = chars[i] as string;
    const group = groups.at(-1);
    if (c === "*" && chars[i + 1] === "*") {
      const alone = (i === 0 || chars[i - 1] === "/") && (i + 2 === chars.length || chars[i + 2] === "/");
      if (alone && chars[i + 2] === "/") {
        // Any number of whole segments.
        const at = steps.length;
        steps.push({ to: [at + 1, at + 5] }, { takes: notSlash }, { to: [at + 1, at + 3] }, { takes: (d) => d === "/" }, { to: [at] });
        i += 2;
      } else {
        star(alone ? () => true : notSlash);
        i++;
      }
    } else if (c === "*") star(notSlash);
    else if (c === "?") steps.push({ takes: notSlash });
    else if (c === "[" && chars.indexOf("]", i + 2) > 0) {
      const last = chars.indexOf("]", i + 2);
      steps.push({ takes: classOf(chars.slice(i + 1, last)) });
      i = last;
    } else if (c === "{" && i < lastBrace) {
      const begin = [steps.length + 1];
      steps.push({ to: begin });
      groups.push({ begin, ends: [] });
    } else if (c === "}" && group) {
      close(group);
      groups.pop();
    } else if (c === "," && group) {
      leave(group);
      group.begin.push(steps.length);
    } else {
      const literal = c === "\\" && i + 1 < chars.length ? (chars[++i] as string) : c;
      steps.push({ takes: (d) => d === literal });
    }
  }
  for (let group = groups.pop(); group; group = groups.pop()) close(group);
  return steps;
}

/** What stands between brackets: characters and ranges, none of them when the first is `!` or `^`; never a
 * slash. A backslash is one of them. */
function classOf(body: string[]): (c: string) => boolean {
  const not = body[0] === "!" || body[0] === "^";
  const ranges: [number, number][] = [];
  const code = (c: string | undefined): number => c?.codePointAt(0) ?? 0;
  for (let i = not ? 1 : 0; i < body.length; i++) {
    const from = code(body[i]);
    if (body[i + 1] === "-" && i + 2 < body.length) ranges.push([from, code(body[(i += 2)])]);
    else ranges.push([from, from]);
  }
  return (c) => c !== "/" && ranges.some(([from, to]) => from <= code(c) && code(c) <= to) !== not;
}
