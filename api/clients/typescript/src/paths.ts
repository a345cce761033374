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

/** One glob as a regular expression over paths relative to where it is looked for. */
export function globToRegExp(glob: string): RegExp {
  let out = "";
  let depth = 0;
  for (let i = 0; i < glob.length; i++) {
    const c = glob.charAt(i);
    if (c === "*" && glob[i + 1] === "*") {
      const alone = (i === 0 || glob[i - 1] === "/") && (i + 2 === glob.length || glob[i + 2] === "/");
      if (alone && glob[i + 2] === "/") {
        out += "(?:[^/]+/)*";
        i += 2;
      } else {
        out += alone ? ".*" : "[^/]*";
        i++;
      }
    } else if (c === "*") out += "[^/]*";
    else if (c === "?") out += "[^/]";
    else if (c === "[" && glob.indexOf("]", i + 2) > 0) {
      const end = glob.indexOf("]", i + 2);
      const body = glob.slice(i + 1, end).replace(/\\/g, "\\\\").replace(/^[!^]/, "^");
      out += body.startsWith("^") ? `(?!/)[${body}]` : `(?!/)[${body.replace(/\[/g, "\\[")}]`;
      i = end;
    } else if (c === "{" && glob.indexOf("}", i) > 0) {
      out += "(?:";
      depth++;
    } else if (c === "}" && depth > 0) {
      out += ")";
      depth--;
    } else if (c === "," && depth > 0) out += "|";
    else if (c === "\\" && i + 1 < glob.length) out += escape(glob.charAt(++i));
    else out += escape(c);
  }
  return new RegExp(`^${out}${")".repeat(depth)}$`, "s");
}

function escape(c: string): string {
  return c.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}
