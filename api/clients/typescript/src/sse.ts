// This file reads server-sent events; it never connects.
import type { IncomingMessage } from "node:http";
import { BerthConnectionError } from "./errors.js";

export interface ServerEvent {
  id: number | undefined;
  event: string;
  data: unknown;
}

const LINE_MAX = 64 << 20;

/** Ends when the stream ends whole; throws when it breaks off. */
export async function* events(answer: IncomingMessage): AsyncGenerator<ServerEvent, void, undefined> {
  let rest: Buffer = Buffer.alloc(0);
  let id: number | undefined;
  let name = "message";
  let data: string[] = [];
  try {
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      rest = rest.length ? Buffer.concat([rest, chunk]) : chunk;
      let from = 0;
      for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10, from)) {
        const line = rest.toString("utf8", from, rest[end - 1] === 13 && end > from ? end - 1 : end);
        from = end + 1;
        if (line === "") {
          if (data.length) yield { id, event: name, data: JSON.parse(data.join("\n")) as unknown };
          id = undefined;
          name = "message";
          data = [];
          continue;
        }
        const colon = line.indexOf(":");
        const field = colon < 0 ? line : line.slice(0, colon);
        const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
        if (field === "data") data.push(value);
        else if (field === "event") name = value;
        else if (field === "id") id = Number(value);
      }
      rest = rest.subarray(from);
      if (rest.length > LINE_MAX) throw new Error("a line of the stream is too long");
    }
  } catch (cause) {
    throw new BerthConnectionError(`a stream broke off: ${(cause as Error).message}`, { cause });
  } finally {
    answer.destroy();
  }
  if (!answer.complete) throw new BerthConnectionError("a stream broke off");
}
