// `@modelcontextprotocol/server-everything` over HTTP, at a free port: what our client is tried on.
// Run with: node everything.mjs sse | streamableHttp

import { connect, createServer } from "node:net";
import { setTimeout as pause } from "node:timers/promises";

/** The transports that it has beside standard input and output. */
const TRANSPORTS = ["sse", "streamableHttp"];
/** How long it may take to listen, and how often that is looked at, in milliseconds. */
const START_MS = 20_000;
const GLANCE_MS = 50;

const [transport] = process.argv.slice(2);
if (!TRANSPORTS.includes(transport)) throw new Error(`name a transport: ${TRANSPORTS.join(" or ")}`);

// It takes its port from the environment and does not say which one it got for 0.
// One below those that the system gives to whoever asks for any: from 32768 on with Linux.
const port = await new Promise((found, fail) => {
  const probe = createServer().once("error", fail).listen(10_000 + Math.floor(Math.random() * 9_000), () => {
    const { port } = probe.address();
    probe.close(() => found(port));
  });
});
process.env.PORT = String(port);
await import(`./node_modules/@modelcontextprotocol/server-everything/dist/transports/${transport}.js`);

const reached = () =>
  new Promise((settle) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => settle(true));
    socket.once("error", () => settle(false));
    socket.once("close", () => settle(false));
    socket.once("connect", () => socket.destroy());
  });
const late = performance.now() + START_MS;
while (!(await reached())) {
  if (performance.now() > late) throw new Error(`does not listen at ${port}`);
  await pause(GLANCE_MS);
}
console.log(`listening on http://127.0.0.1:${port}`);
