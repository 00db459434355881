// The call of the form as a program.

import { address } from "../api.js";

const MAX_LINE = 80;

/**
 * The call in several languages.
 * @param {string} path of the call
 * @param {Object} body
 * @param {{model: string, version: string, numbers: Set<string>}} about `numbers` are the names of number features
 * @returns {Array<[string, string]>} name and text
 */
export function snippets(path, body, { model, version, numbers }) {
  const url = address(path).href;
  return [
    ["curl", curl(url, body)],
    ["Python", python(url, body)],
    ["Python SDK", sdk(body, model, version, numbers)],
  ];
}

function curl(url, body) {
  return `curl -sS ${shell(url)} \\\n  -H 'Content-Type: application/json' \\\n  -d ${shell(JSON.stringify(body))}`;
}

function python(url, body) {
  return [
    "import json",
    "from urllib.request import Request, urlopen",
    "",
    `body = ${literal(body)}`,
    `request = Request(${literal(url)}, json.dumps(body).encode(), {"Content-Type": "application/json"})`,
    "with urlopen(request) as response:",
    '    print(json.load(response)["prediction"])',
    "",
  ].join("\n");
}

// The console does not know how the reader reaches the gRPC port, so the address is the usual one of a server.
const SERVER = "127.0.0.1:8500";

function sdk(body, model, version, numbers) {
  const options = [
    version ? `, version=${literal(version)}` : "",
    body.routing_key ? `, routing_key=${literal(body.routing_key)}` : "",
    body.explain ? `, explain=${literal(body.explain)}` : "",
  ].join("");
  const value = (each, name) => (numbers.has(name) && typeof each === "string" ? `float(${literal(each)})` : literal(each));
  return [
    "from scorewire import Client",
    "",
    `row = ${literal(body.row, value)}`,
    `with Client(${literal(SERVER)}) as client:  # the address of the server's gRPC port`,
    `    print(client.predict(${literal(model)}, row${options}))`,
    "",
  ].join("\n");
}

/** A word of a shell. */
function shell(text) {
  return /^[\w./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** A value of the JSON API as a literal of Python; `inner` makes those of an object's values. */
function literal(value, inner = (each) => literal(each)) {
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const entries = Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${inner(each, name)}`);
  const line = `{${entries.join(", ")}}`;
  if (line.length <= MAX_LINE || entries.length < 2) return line;
  return `{\n${entries.map((each) => `    ${each.replaceAll("\n", "\n    ")},\n`).join("")}}`;
}
