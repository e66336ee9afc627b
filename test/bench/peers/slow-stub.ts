/**
 * Answers like gunicorn: after some time, headers and body in two packets. `node slow-stub.ts <port> <ms> <body>`
 */
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

const [port = "", ms = "", body = ""] = process.argv.slice(2);

createServer({ keepAliveTimeout: 600_000 }, async (_req, res) => {
	await sleep(Number(ms));
	res.writeHead(200, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) });
	res.flushHeaders();
	setImmediate(() => res.end(body));
}).listen(Number(port), "127.0.0.1");
