#!/usr/local/bin/node
// Healthy: the listener that people come in by answers. What lies behind the door is none of this check's business:
// a door that is restarted because Postgres is away would take the memory along that signed-in people live on.
import { request } from "node:http";

const listeners = JSON.parse(process.env.DOOR_LISTENERS ?? "[]");
const { bind, port, hosts } = listeners.find(({ name }) => name === "edge") ?? listeners[0];

const asked = request({ host: bind, port, path: "/door/health", headers: { host: hosts[0] }, timeout: 4000 });
asked.on("response", (answer) => {
	answer.resume();
	process.exitCode = answer.statusCode === 200 ? 0 : 1;
});
asked.on("timeout", () => asked.destroy(new Error("no answer within 4 s")));
asked.on("error", (error) => {
	process.stderr.write(`${bind}:${port}: ${error.message}\n`);
	process.exitCode = 1;
});
asked.end();
