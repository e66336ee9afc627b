// Healthy: the edge listener answers on its own address, under a host name that it accepts.
import { request } from "node:http";

const TIMEOUT_MS = 4000;

const listeners = JSON.parse(process.env.DOOR_LISTENERS ?? "[]");
const edge = listeners.find(({ name }) => name === "edge");
if (!edge) {
	console.log("DOOR_LISTENERS names no listener called edge");
	process.exit(1);
}

const { bind, port, hosts } = edge;
request({ host: bind, port, path: "/door/health", headers: { host: hosts[0] }, timeout: TIMEOUT_MS })
	.on("response", (response) => {
		if (response.statusCode !== 200) console.log(`/door/health answered ${response.statusCode}`);
		process.exit(response.statusCode === 200 ? 0 : 1);
	})
	.on("timeout", () => fail(`no answer within ${TIMEOUT_MS} ms`))
	.on("error", (error) => fail(error.message))
	.end();

function fail(why) {
	console.log(`${bind}:${port}: ${why}`);
	process.exit(1);
}
