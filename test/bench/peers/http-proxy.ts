/** The proxy that one would write in an hour: http-proxy and jose. `node http-proxy.ts <port> <secret> <target>` */
import { Agent, createServer } from "node:http";
import { createProxyServer } from "http-proxy";
import { jwtVerify } from "jose";

const [port = "", secret = "", target = ""] = process.argv.slice(2);
const key = Buffer.from(secret);
const proxy = createProxyServer({ target, agent: new Agent({ keepAlive: true, maxSockets: 256 }) });
proxy.on("error", (_error, _req, res) => res.destroy());

createServer({ keepAliveTimeout: 120_000 }, (req, res) => {
	const token = req.headers.authorization?.replace(/^Bearer /, "") ?? "";
	jwtVerify(token, key, { algorithms: ["HS256"] }).then(
		() => proxy.web(req, res),
		() => res.writeHead(401).end(),
	);
}).listen(Number(port), "127.0.0.1");
