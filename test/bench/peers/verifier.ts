/** What nginx's `auth_request` asks: whether a token is good, by jose, each time. `node verifier.ts <port> <secret>` */
import { createServer } from "node:http";
import { jwtVerify } from "jose";

const [port = "", secret = ""] = process.argv.slice(2);
const key = Buffer.from(secret);

createServer({ keepAliveTimeout: 120_000 }, (req, res) => {
	const token = req.headers.authorization?.replace(/^Bearer /, "") ?? "";
	jwtVerify(token, key, { algorithms: ["HS256"] }).then(
		() => res.writeHead(204).end(),
		() => res.writeHead(401).end(),
	);
}).listen(Number(port), "127.0.0.1");
