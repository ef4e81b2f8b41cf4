// A server on the official TypeScript SDK, of both eras: what our client is tried on.
// Run with: node typescript-server.mjs [--stdio]

import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { parseArgs } from "node:util";

import { localhostHostValidation, localhostOriginValidation, toNodeHandler } from "@modelcontextprotocol/node";
import { McpServer, ResourceTemplate, acceptedContent, createMcpHandler, createRequestStateCodec, fromJsonSchema, inputRequired } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";

/** Seals what travels with a client between two rounds. */
const state = createRequestStateCodec({ key: randomBytes(32) });

const text = (said) => ({ content: [{ type: "text", text: said }] });
const object = (properties) => fromJsonSchema({ type: "object", properties, required: Object.keys(properties) });
const NAME = { type: "object", properties: { name: { type: "string" } }, required: ["name"] };
const COLOR = { type: "object", properties: { color: { type: "string" } }, required: ["color"] };

function build() {
  const server = new McpServer(
    { name: "typescript-server", version: "1.0.0" },
    { capabilities: { logging: {} }, requestState: { verify: state.verify } },
  );
  server.registerTool(
    "add",
    {
      description: "Adds two numbers.",
      inputSchema: object({ a: { type: "integer" }, b: { type: "integer" } }),
      outputSchema: object({ sum: { type: "integer" } }),
    },
    async ({ a, b }) => ({ ...text(String(a + b)), structuredContent: { sum: a + b } }),
  );
  server.registerTool("fail", { description: "Fails." }, async () => ({ ...text("as it should"), isError: true }));
  server.registerTool("count", { description: "Reports how far it is." }, async (context) => {
    const { _meta, notify } = context.mcpReq;
    for (const progress of [1, 2, 3]) {
      await notify({ method: "notifications/progress", params: { progressToken: _meta?.progressToken, progress, total: 3 } });
    }
    return text("counted");
  });
  server.registerTool(
    "locate",
    {
      description: "Takes an argument that a header mirrors.",
      inputSchema: object({ region: { type: "string", "x-mcp-header": "Region" } }),
    },
    async ({ region }) => text(`located in ${region}`),
  );
  server.registerTool("introduce", { description: "Asks for a name, then for a colour." }, async (context) => {
    const { inputResponses, requestState } = context.mcpReq;
    const name = requestState()?.name ?? acceptedContent(inputResponses, "name")?.name;
    const ask = (key, message, requestedSchema) => ({ [key]: inputRequired.elicit({ message, requestedSchema }) });
    if (name === undefined) return inputRequired({ inputRequests: ask("name", "What is your name?", NAME) });
    const color = acceptedContent(inputResponses, "color")?.color;
    if (color !== undefined) return text(`${name} likes ${color}`);
    return inputRequired({ inputRequests: ask("color", "Which colour do you like?", COLOR), requestState: await state.mint({ name }) });
  });
  server.registerResource("motto", "memo://motto", { mimeType: "text/plain" }, async (uri) => ({
    contents: [{ uri: uri.href, mimeType: "text/plain", text: "measure twice" }],
  }));
  server.registerResource("memo", new ResourceTemplate("memo://notes/{id}", { list: undefined }), {}, async (uri, { id }) => ({
    contents: [{ uri: uri.href, text: `note ${id}` }],
  }));
  server.registerPrompt("greet", { description: "Greets.", argsSchema: object({ name: { type: "string" } }) }, async ({ name }) => ({
    messages: [{ role: "user", content: { type: "text", text: `Say hello to ${name}.` } }],
  }));
  return server;
}

const { values } = parseArgs({ options: { stdio: { type: "boolean", default: false } } });
if (values.stdio) {
  serveStdio(build);
} else {
  const handle = toNodeHandler(createMcpHandler(build));
  const [host, origin] = [localhostHostValidation(), localhostOriginValidation()];
  const http = createServer((request, response) => {
    if (host(request, response) && origin(request, response)) void handle(request, response);
  });
  http.listen(0, "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${http.address().port}/mcp`));
}
