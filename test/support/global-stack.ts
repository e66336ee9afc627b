import { createServer } from "node:net";
import { docker, mlgate, mustRun, NAME } from "./mlgate.ts";

/** Everything labelled as the test stack's: it must be gone afterwards. */
async function leftovers(): Promise<string[]> {
	const filter = ["--filter", `label=mlgate.stack=${NAME}`];
	const found = await Promise.all([
		docker("ps", "-aq", ...filter),
		docker("volume", "ls", "-q", ...filter),
		docker("network", "ls", "-q", ...filter),
	]);
	return found.flatMap((text) => text.split("\n")).filter((line) => line !== "");
}

function freePort(): Promise<number> {
	return new Promise((resolve, reject) => {
		const server = createServer().on("error", reject);
		server.listen(0, "127.0.0.1", () => {
			const address = server.address();
			server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
		});
	});
}

/**
 * Brings the test's stack up once for all files, and removes it, data included, at the end.
 * With `MLGATE_TEST_KEEP=1` it stays, and a healthy one is used again: for working on the tests.
 */
export default async function setup(): Promise<() => Promise<void>> {
	if (process.env.MLGATE_TEST_KEEP && (await mlgate(["status"])).code === 0) return async () => {};
	await mlgate(["destroy", "--volumes", "--yes"]);
	await mustRun(["config", "set", "port", String(await freePort())]);
	const up = await mustRun(["up", "--yes"]);
	process.stderr.write(`test stack up in ${Math.round(up.seconds)} s\n`);
	return async () => {
		if (process.env.MLGATE_TEST_KEEP) return;
		await mustRun(["destroy", "--volumes", "--yes"]);
		const left = await leftovers();
		if (left.length > 0) throw new Error(`the test stack left things behind: ${left.join(" ")}`);
	};
}
