// This file writes the types and the table of operations of src/generated.ts from the OpenAPI document
// that `berth openapi` prints; it never asks a service. Arguments: the file to write.
// BERTH names the program (else that of the tree, else the one in PATH), BERTH_OPENAPI a document instead.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";

const target = process.argv[2] ?? "src/generated.ts";
const inTree = new URL("../../../../build/bin/berth", import.meta.url).pathname;
const program = process.env.BERTH ?? (existsSync(inTree) ? inTree : "berth");
const text = process.env.BERTH_OPENAPI
  ? readFileSync(process.env.BERTH_OPENAPI, "utf8")
  : execFileSync(program, ["openapi"], { encoding: "utf8", maxBuffer: 64 << 20 });
const document = JSON.parse(text);

const at = (reference) => reference.slice(2).split("/").reduce((node, name) => node[name], document);
const quoted = (value) => JSON.stringify(value);
const key = (name) => (/^[A-Za-z_$][\w$]*$/.test(name) ? name : quoted(name));
const comment = (text, indent) => (text ? `${indent}/** ${text.replaceAll("*/", "* /")} */\n` : "");

function type(schema, indent = "") {
  if (schema.$ref) {
    const name = schema.$ref.match(/^#\/components\/schemas\/(\w+)$/);
    return name ? name[1] : type(at(schema.$ref), indent);
  }
  if (schema.const !== undefined) return quoted(schema.const);
  if (schema.enum) return schema.enum.map(quoted).join(" | ");
  const either = schema.anyOf ?? (schema.properties ? undefined : schema.oneOf);
  if (either) return either.map((part) => type(part, indent)).join(" | ");
  if (schema.allOf) return schema.allOf.map((part) => type(part, indent)).join(" & ");
  if (Array.isArray(schema.type)) return schema.type.map((one) => type({ ...schema, type: one }, indent)).join(" | ");
  switch (schema.type) {
    case "null": return "null";
    case "string": return "string";
    case "integer": case "number": return "number";
    case "boolean": return "boolean";
    case "array": return `Array<${type(schema.items ?? {}, indent)}>`;
    case "object": return object(schema, indent);
    default: return "unknown";
  }
}

function object(schema, indent) {
  const more = schema.additionalProperties;
  if (!schema.properties) return more && more !== true ? `Record<string, ${type(more, indent)}>` : "Record<string, unknown>";
  const required = new Set(schema.required ?? []);
  const lines = Object.entries(schema.properties).map(([name, part]) =>
    `${comment(part.description, indent + "  ")}${indent}  ${key(name)}${required.has(name) ? "" : "?"}: ${type(part, indent + "  ")};\n`);
  return `{\n${lines.join("")}${indent}}`;
}

let out = "// Written by scripts/generate.mjs from the OpenAPI document of berth. Not edited.\n";
for (const [name, schema] of Object.entries(document.components.schemas))
  out += `\n${comment(schema.description, "")}export type ${name} = ${type(schema)};\n`;

const operations = [];
for (const [path, item] of Object.entries(document.paths))
  for (const [method, operation] of Object.entries(item)) {
    const parameters = operation.parameters.map((p) => (p.$ref ? at(p.$ref) : p));
    const success = Object.entries(operation.responses).find(([status]) => status.startsWith("2"));
    const content = success?.[1].content ?? {};
    const body = operation.requestBody?.content ?? {};
    operations.push({ id: operation.operationId, method: method.toUpperCase(), path, parameters, content, body, operation });
  }

out += "\n/** What each operation takes and answers. */\nexport interface Operations {\n";
for (const { id, parameters, content, body, operation } of operations) {
  const names = parameters.filter((p) => p.in === "path").map((p) => `${p.name}: string`);
  const query = parameters.filter((p) => p.in === "query").map((p) => `${key(p.name)}${p.required ? "" : "?"}: ${type(p.schema)}`);
  const json = content["application/json"];
  const answer = json ? type(json.schema, "  ") : content["application/octet-stream"] ?? content["text/plain"] ? "Uint8Array" : content["text/event-stream"] ? "never" : "void";
  const sent = body["application/json"] ? type(body["application/json"].schema) : body["application/octet-stream"] ? "Uint8Array" : "undefined";
  out += `${comment(operation.summary, "  ")}  ${id}: {\n    path: { ${names.join("; ")} };\n    query: { ${query.join("; ")} };\n    body: ${sent};\n    answer: ${answer};\n  };\n`;
}
out += "}\n\nexport type OperationId = keyof Operations;\n\n/** How each operation is asked for. */\n";
out += "export const operations: { readonly [Id in OperationId]: { readonly method: string; readonly path: string; readonly key: boolean } } = {\n";
for (const { id, method, path, parameters } of operations)
  out += `  ${id}: { method: ${quoted(method)}, path: ${quoted(path)}, key: ${parameters.some((p) => p.name === "Idempotency-Key")} },\n`;
out += "};\n";
writeFileSync(target, out);
