/** What is done to a stack while people work on it: one row each. */
import { setTimeout as wait } from "node:timers/promises";
import { hostName, type Part } from "../../infra/contract.ts";
import { docker, type Ended, mlgate, mustAnswer, mustRun, NAME, RUNNING_PARTS } from "../support/mlgate.ts";

export interface Fault {
	what: string;
	/**
	 * `announced`: done by a command of ours, and no client may notice. `sudden`: nothing that was acknowledged is lost
	 * or there twice, and what is to come back by itself does. `stopped`: the same, by a human's hand: `status` names it
	 * and `up` brings it back.
	 */
	kind: "announced" | "sudden" | "stopped";
	/** In a row. */
	times: 1 | 3;
	/** @returns for how many seconds requests were held, where that is told. */
	happen(): Promise<number | undefined>;
}

const container = (part: Part) => hostName.container(NAME, part);

const LONGEST_MS = 300_000;

/** @throws after five minutes, with what Docker says of it. */
async function backByItself(part: Part): Promise<void> {
	const end = Date.now() + LONGEST_MS;
	for (let said = ""; ; await wait(500)) {
		said = await docker("inspect", "-f", "{{.State.Status}} {{.State.Health.Status}}", container(part));
		if (said === "running healthy") return;
		if (Date.now() > end) throw new Error(`${part} did not come back: ${said}`);
	}
}

interface Restarted {
	restarted: { way: string; seconds: number }[];
}

const restart = (...parts: Part[]): Fault => ({
	what: `\`mlgate restart ${parts.join(" ")}\``.replace(" `", "`"),
	kind: "announced",
	times: 3,
	async happen() {
		const { restarted } = (await mustAnswer(["restart", ...parts])) as Restarted;
		return restarted.reduce((sum, { seconds }) => sum + seconds, 0);
	},
});

/** As the kernel does it to the main process, which Docker then starts again. */
const kill = (part: Part): Fault => ({
	what: `SIGKILL to the main process of ${part}`,
	kind: "sudden",
	times: 1,
	async happen() {
		const pid = Number(await docker("inspect", "-f", "{{.State.Pid}}", container(part)));
		if (!(pid > 1)) throw new Error(`${part} does not run`);
		process.kill(pid, "SIGKILL");
		await wait(2_000);
		await backByItself(part);
		return undefined;
	},
});

/** Docker takes it for a human's decision and leaves the container down. */
const dockerKill = (part: Part): Fault => ({
	what: `\`docker kill\` of ${part}, then \`mlgate up\``,
	kind: "stopped",
	times: 1,
	async happen() {
		await docker("kill", container(part));
		expectNamed(await mlgate(["status"]), part);
		await mustRun(["up", "--yes"]);
		return undefined;
	},
});

function expectNamed({ code, stdout }: Ended, part: Part): void {
	if (code !== 5 || !stdout.includes(part))
		throw new Error(`status ended with ${code} and does not name ${part}: ${stdout}`);
}

/** `up` makes the part's container anew, and again with the setting as it was. */
const change = (parts: string, key: string, value: string): Fault => ({
	what: `\`mlgate up\` with another \`${key}\` (${parts})`,
	kind: "announced",
	times: 1,
	async happen() {
		const before = (await mustRun(["config", "get", key])).stdout.trim();
		await mustRun(["config", "set", key, value]);
		try {
			await mustRun(["up", "--yes"]);
		} finally {
			await mustRun(["config", "set", key, before]);
			await mustRun(["up", "--yes"]);
		}
		return undefined;
	},
});

/** Somebody takes all connections of Postgres and keeps them. */
const crowd: Fault = {
	what: "Postgres out of connections for 20 s",
	kind: "sudden",
	times: 1,
	async happen() {
		const script = `
			n=0
			while [ $n -lt 400 ]; do n=$((n + 1)); psql -q -d mlflow -c 'select pg_sleep(20)' >/dev/null 2>&1 & done
			wait`;
		await docker("exec", container("postgres"), "sh", "-c", script);
		return undefined;
	},
};

/** On an engine of its own: `disk-full.test.ts`. */
export const DISK_FULL: Pick<Fault, "what" | "kind"> = {
	what: "disk full: the object store's, which is everything's",
	kind: "sudden",
};

export const FAULTS: readonly Fault[] = [
	restart(),
	...RUNNING_PARTS.map((part) => restart(part)),
	change("postgres, mlflow", "mlflow.threads", "9"),
	change("minio", "minio.memory", "1100"),
	change("door", "door.logLevel", "debug"),
	change("api", "api.env", '{"LOG_LEVEL":"debug"}'),
	...RUNNING_PARTS.map(kill),
	...RUNNING_PARTS.map(dockerKill),
	crowd,
];
