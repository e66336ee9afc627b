/**
 * `npm run bench`: measures the door beside stock MLflow, MinIO itself and other proxies, in one run on one machine.
 *
 * Absolute figures say more about the machine than about the door, so everything is told as ratios of sides that
 * were measured in turn. All of it happens in a network of the bench's own, which nothing else can reach, and
 * everything it starts is gone afterwards.
 *
 * Ends 0 when all that is wanted is met, 5 when something is not, 1 when something could not be measured, 2, 3 and 130
 * as the commands do.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ensureImages } from "../../ops/lib/build-images.ts";
import { createReport } from "../../ops/lib/report.ts";
import { ensurePackages } from "../support/packages.ts";
import { type Ground, openGround } from "./frame/ground.ts";
import { GROUPS, isGroup } from "./groups.ts";

const USAGE = `npm run bench [-- <group> ...]

Groups: ${Object.entries(GROUPS)
	.map(([name, { title }]) => `\n  ${name.padEnd(12)}${title}`)
	.join("")}

Without a group: all of them, about half an hour, and the results go to test/bench/RESULTS.md and README.md.
With groups, or with --quick (everything once and smaller, to see that the bench works), they are only printed.

BENCH_PROFILE=<folder> in the environment: a CPU profile of each door is written there.
`;

/** The peers, the clients, and what the browser's groups need. */
const NEEDED = [
	{ there: ["/usr/sbin/nginx"], packages: ["nginx-light"] },
	{ there: ["/usr/bin/wrk"], packages: ["wrk"] },
	{ there: ["/usr/bin/curl"], packages: ["curl"] },
	{ there: ["/usr/sbin/tc", "/sbin/tc"], packages: ["iproute2"] },
	{ there: ["/usr/bin/chromium"], packages: ["chromium", "fonts-noto-cjk"] },
] as const;

interface Wanted {
	groups: readonly string[];
	quick: boolean;
}

function wanted(): Wanted {
	try {
		const { values, positionals } = parseArgs({
			allowPositionals: true,
			options: { help: { type: "boolean", short: "h" }, quick: { type: "boolean", default: false } },
		});
		if (values.help) {
			process.stdout.write(USAGE);
			process.exit(0);
		}
		const unknown = positionals.find((name) => !isGroup(name));
		if (unknown === undefined) return { groups: positionals, quick: values.quick };
		process.stderr.write(`There is no group ${unknown}.\n\n${USAGE}`);
	} catch (error) {
		process.stderr.write(`${(error as Error).message}\n\n${USAGE}`);
	}
	process.exit(2);
}

/** Everything that is measured runs in there, where only its own things are. */
async function measure(ground: Ground, { groups, quick }: Wanted, interrupted: AbortSignal): Promise<number> {
	const [program = "", ...args] = ground.inside([
		process.execPath,
		join(import.meta.dirname, "inside.ts"),
		...groups,
	]);
	const child = spawn(program, args, {
		stdio: "inherit",
		env: { ...process.env, ...ground.env, BENCH_QUICK: quick ? "1" : "0" },
	});
	interrupted.addEventListener("abort", () => child.kill("SIGTERM"), { once: true });
	const [code] = (await once(child, "exit")) as [number | null];
	return interrupted.aborted ? 130 : (code ?? 1);
}

const asked = wanted();
if (process.getuid?.() !== 0) {
	process.stderr.write(
		"The bench makes a network of its own, and only root may: run it with sudo, or in a container.\n",
	);
	process.exit(3);
}
const interrupt = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => interrupt.abort());

ensurePackages(NEEDED, "the bench");
const report = createReport({ stream: process.stderr, log: () => {} });
await ensureImages(report, ["postgres", "minio", "mlflow", "door", "keeper"]);
const ground = await openGround();
try {
	process.exitCode = await measure(ground, asked, interrupt.signal);
} finally {
	await ground.close();
}
