// This file is compiled and never run: what the package's types allow, and what they refuse.
import * as pi from "@earendil-works/pi-coding-agent";
import { api, Client, createPiTools, SandboxProvider, SessionHandle } from "berth";

const client = new Client({ host: "unix:/run/berth/berth.sock" });
const path = { workspace_id: "w" };
const session: api.Session = await client.call("sessionCreate", { path, body: { limits: { memory: "1GiB" }, labels: { k: "v" } } });
session.state satisfies "creating" | "running" | "parked" | "archived" | "destroying" | "destroyed" | "failed";
const health: api.Health = await client.call("health", { path: {} });
const list: api.SessionList = await client.call("sessionList", { path, query: { state: "running", limit: 10 } });
const exec: api.Exec = await client.call("execStart", { path: { ...path, session_id: "s" }, body: { argv: ["true"], tty: null } });
console.log(health.status, list.next, exec.exit_code);

// @ts-expect-error: no such operation
await client.call("sessionFly", { path: {} });
// @ts-expect-error: the path lacks the session
await client.call("sessionGet", { path });
// @ts-expect-error: no such member
await client.call("sessionCreate", { path, body: { memory: 1 } });
// @ts-expect-error: no such state
await client.call("sessionList", { path, query: { state: "asleep" } });
// @ts-expect-error: a body is needed
await client.call("execSignal", { path: { ...path, session_id: "s", exec_id: "e" } });

const provider = new SandboxProvider(new SessionHandle(client, "w", "s"));
const tools = createPiTools(pi, provider);
pi.createBashTool(provider.cwd, { operations: provider.operations.bash });
pi.createReadTool(provider.cwd, { operations: provider.operations.read });
pi.createWriteTool(provider.cwd, { operations: provider.operations.write });
pi.createEditTool(provider.cwd, { operations: provider.operations.edit });
pi.createFindTool(provider.cwd, { operations: provider.operations.find });
pi.createLsTool(provider.cwd, { operations: provider.operations.ls });
for await (const frame of await provider.session.exec({ shell: "true" })) if (frame.type === "exit") console.log(frame.exec.reason, tools.bash);
