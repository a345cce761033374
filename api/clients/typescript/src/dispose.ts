// This file destroys a session in one synchronous call, for callers that cannot wait; it never throws.
import { spawnSync } from "node:child_process";
import { fill } from "./client.js";
import { operations } from "./generated.js";
import type { Transport } from "./transport.js";

// Runs in a process of its own, because this one's loop stands still meanwhile. What it needs comes on
// its standard input: a token is nobody's argument.
const PROGRAM = `
const { host, token, path } = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const unix = host.startsWith("unix:");
const options = { method: "DELETE", headers: token ? { authorization: "Bearer " + token } : {}, timeout: 10000 };
const url = new URL(path, unix ? "http://berth" : host);
const module = url.protocol === "https:" ? require("node:https") : require("node:http");
const asked = module.request(url, unix ? { ...options, socketPath: host.slice(5) } : options, (answer) => {
  answer.resume();
  // Only berth's own word says that there is no such session: a proxy knows nothing of it.
  const gone = answer.statusCode === 404 && /^application\\/problem\\+json/i.test(answer.headers["content-type"] ?? "");
  answer.on("end", () => process.exit(answer.statusCode < 300 || gone ? 0 : 1));
  answer.on("error", () => process.exit(1));
});
asked.on("timeout", () => process.exit(1));
asked.on("error", () => process.exit(1));
asked.end();
`;

/** What says whom TLS believes, and nothing else of the caller's. */
const TLS_NAMES = ["NODE_EXTRA_CA_CERTS", "SSL_CERT_DIR", "SSL_CERT_FILE"];

/** True: the session is destroyed, or was. False: whoever reaps its owner destroys it. */
export function destroySync(transport: Transport, workspaceId: string, sessionId: string, deleteVolume: boolean): boolean {
  let path: string;
  try {
    path = fill(operations.sessionDestroy.path, { workspace_id: workspaceId, session_id: sessionId });
    transport.check();
  } catch {
    return false;
  }
  const done = spawnSync(process.execPath, ["-e", PROGRAM], {
    input: JSON.stringify({ host: transport.host, token: transport.token, path: `${path}?delete_volume=${deleteVolume}` }),
    env: Object.fromEntries(TLS_NAMES.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]]))),
    stdio: ["pipe", "ignore", "ignore"],
    timeout: 15_000,
    killSignal: "SIGKILL",
  });
  return done.status === 0;
}
