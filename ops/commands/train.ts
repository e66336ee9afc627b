import { hostName, LABEL, PORT } from "../../infra/contract.ts";
import { notHealthy } from "../lib/await-health.ts";
import { type Context, defineCommand, wholeNumber } from "../lib/command.ts";
import { docker } from "../lib/docker.ts";
import { OpsError } from "../lib/errors.ts";
import { exec, lastLine } from "../lib/exec.ts";
import { examine } from "../lib/health.ts";
import { type Identity, identify } from "../lib/identity.ts";
import { table } from "../lib/text.ts";
import { nameOfJob, withToken } from "../lib/token.ts";
import { ensureTrainImage } from "../lib/train-image.ts";

/** Longer than any training of this size takes; the token is revoked at the end in any case. */
const TOKEN_LIFE = "2h";
const MEMORY = "2g";

/** What train.py prints as its last line. */
interface Trained {
	experiment: string;
	experiment_id: string;
	model: string;
	runs: {
		run_id: string;
		run_name: string;
		params: Record<string, string | number>;
		metrics: Record<string, number>;
		model_version: string;
	}[];
}

export const command = defineCommand({
	name: "train",
	summary: "train the example, ingredient embeddings on real recipes, and log it through the door",
	options: {
		epochs: { value: "n", summary: "passes over the recipes", parse: wholeNumber({ min: 1, max: 10_000 }) },
		runs: {
			value: "n",
			summary: "how many runs, each with another seed",
			parse: wholeNumber({ min: 1, max: 1_000 }),
		},
	},
	locks: false,
	async run(context, _args, { epochs, runs }) {
		const identity = identify(context);
		const health = await examine(identity);
		if (health.verdict !== "healthy") throw await notHealthy(identity, health);
		const image = await ensureTrainImage(context);
		const job = nameOfJob("train");
		const trained = await withToken(identity, context.report, { job, life: TOKEN_LIFE }, (token) =>
			train(context, identity, { image, token, job, env: { EPOCHS: epochs, RUNS: runs } }),
		);
		return { json: trained, text: page(identity, trained) };
	},
});

interface Job {
	image: string;
	token: string;
	job: string;
	env: Record<string, string | number | undefined>;
}

async function train(
	context: Context,
	{ name }: Identity,
	{ image, token, job, env }: Job,
): Promise<Trained> {
	const { checkout, report, interrupted } = context;
	const commit = (await exec(["git", "-C", checkout, "rev-parse", "HEAD"])).stdout.trim();
	const variables = Object.entries({
		...env,
		GIT_SHA: commit || undefined,
		MLFLOW_TRACKING_URI: `http://mlflow:${PORT.door}`,
	})
		.filter(([, value]) => value !== undefined)
		.flatMap(([key, value]) => ["--env", `${key}=${value}`]);
	const container = `${name}-${job}`;
	const args = [
		...["run", "--rm", "--interactive", "--name", container, "--network", hostName.network(name, "clients")],
		...["--label", `${LABEL.stack}=${name}`, "--label", `${LABEL.part}=train`],
		...["--memory", MEMORY, "--memory-swap", MEMORY, "--pids-limit", "256"],
		...["--cap-drop", "ALL", "--security-opt", "no-new-privileges"],
		...variables,
		image,
	];
	return report.step("Training", async ({ detail }) => {
		try {
			// The token goes in by standard input: neither `docker inspect` nor the process list shows it.
			const { code, stdout, stderr } = await exec(["docker", ...args], { input: token, onLine: detail });
			interrupted.throwIfAborted();
			if (code !== 0) throw failed(code, lastLine(stderr));
			return JSON.parse(lastLine(stdout)) as Trained;
		} finally {
			// Gone already unless the docker command was ended before the container.
			await docker(["rm", "--force", container]).catch(() => {});
		}
	});
}

function failed(code: number, said: string): OpsError {
	return new OpsError({
		code: "TRAINING_FAILED",
		kind: "internal",
		what: "The training failed.",
		why: code === 137 ? `It was killed, probably for memory (it may have ${MEMORY}).` : said,
		fix: "The log has everything it printed. If it is about the server: npx mlgate status",
	});
}

/** Metrics worth a column; the server has all of them. */
const SHOWN = ["loss", "heldout_hit_at_10", "heldout_popularity_hit_at_10"] as const;

function page({ url }: Identity, { experiment, experiment_id, model, runs }: Trained): string {
	const rows = runs.map(({ run_id, run_name, metrics, model_version }) => [
		run_id,
		run_name,
		model_version,
		...SHOWN.map((name) => metrics[name]?.toFixed(3) ?? ""),
	]);
	return [
		`Experiment ${experiment}, model ${model}`,
		table([["RUN", "NAME", "VERSION", ...SHOWN.map((name) => name.toUpperCase())], ...rows]),
		"",
		`See it: ${url}/#/experiments/${experiment_id}`,
		`Serve the last one: npx mlgate promote ${model} latest`,
	].join("\n");
}
