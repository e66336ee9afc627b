/**
 * The bench's own network: two containers that do nothing but hold a network namespace each, and a line between
 * them. In the first one everything runs, on fixed ports that nobody else can have taken; the second one is for
 * clients at the far end of the line. When the containers go, the networks go.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { imageRef } from "../../../infra/images.ts";
import { docker, run } from "../../support/mlgate.ts";
import { isRunning } from "../../support/processes.ts";

/** Value: the process id of the bench that made it. */
export const BENCH_LABEL = "mlgate.bench";

/** The near and the far end of the line. */
export const LINE = { near: "10.99.7.1", far: "10.99.7.2" } as const;

/** A bucket filter, in both directions. The burst must hold the largest packet that a virtual line carries. */
const GIGABIT = ["tbf", "rate", "1gbit", "burst", "256kb", "latency", "50ms"] as const;

export interface Ground {
	/** A command that runs in there. */
	inside(command: readonly string[]): string[];
	/** What it needs to know there. */
	env: Readonly<Record<string, string>>;
	close(): Promise<void>;
}

const enter = (pid: number, command: readonly string[]) => [
	"nsenter",
	`--net=/proc/${pid}/ns/net`,
	...command,
];

/** A command at the far end of the line. For processes that are inside. */
export const farAway = (command: readonly string[]): string[] =>
	enter(Number(process.env.BENCH_FAR_PID), command);

/** The container whose network the parts join, and the label that says whose they are. */
export const belongsHere = (): string[] => [
	`--network=container:${process.env.BENCH_GROUND}`,
	`--label=${BENCH_LABEL}=${process.env.BENCH_OWNER}`,
];

async function must(command: readonly string[]): Promise<void> {
	const [program = "", ...args] = command;
	const ended = await run(program, args);
	if (ended.code !== 0) throw new Error(`${command.join(" ")}: ${ended.stderr}`);
}

/** Removes the containers of benches that are not running any more, or of one. */
async function remove(owner?: string): Promise<void> {
	const listed = await docker(
		...["ps", "--all", "--filter", `label=${BENCH_LABEL}`],
		...["--format", `{{.ID}} {{.Label "${BENCH_LABEL}"}}`],
	);
	for (const line of listed.split("\n").filter(Boolean)) {
		const [id = "", whose = ""] = line.split(" ");
		if (owner === undefined ? !isRunning(Number(whose)) : whose === owner) {
			await docker("rm", "--force", "--volumes", id);
		}
	}
}

export async function openGround(): Promise<Ground> {
	const owner = String(process.pid);
	await remove();
	const folder = await mkdtemp(join(tmpdir(), "mlgate-bench-"));
	const close = async () => {
		await remove(owner);
		await rm(folder, { recursive: true, force: true });
	};
	try {
		const hold = async (end: string) => {
			const name = `mlgate-bench-${owner}-${end}`;
			await docker(
				...["run", "--detach", "--name", name, "--label", `${BENCH_LABEL}=${owner}`],
				...["--network", "none", imageRef("keeper")],
			);
			return { name, pid: Number(await docker("inspect", "--format", "{{.State.Pid}}", name)) };
		};
		const [near, far] = [await hold("near"), await hold("far")];
		await must(
			enter(near.pid, [
				"ip",
				"link",
				"add",
				"line",
				"type",
				"veth",
				"peer",
				"line",
				"netns",
				String(far.pid),
			]),
		);
		for (const [{ pid }, address] of [
			[near, LINE.near],
			[far, LINE.far],
		] as const) {
			await must(enter(pid, ["ip", "address", "add", `${address}/24`, "dev", "line"]));
			await must(enter(pid, ["ip", "link", "set", "line", "up"]));
			await must(enter(pid, ["tc", "qdisc", "add", "dev", "line", "root", ...GIGABIT]));
		}
		return {
			inside: (command) => enter(near.pid, command),
			env: {
				BENCH_OWNER: owner,
				BENCH_GROUND: near.name,
				BENCH_FAR_PID: String(far.pid),
				BENCH_FOLDER: folder,
				// Named after what the checkout holds now, whatever becomes of it meanwhile.
				BENCH_UI: imageRef("door"),
			},
			close,
		};
	} catch (error) {
		await close();
		throw error;
	}
}
