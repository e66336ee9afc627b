/**
 * `npm run test:faults`: everything of the table in faults.ts, each while processes with the stock MLflow client work.
 * Restarts come three times in a row. With `MLGATE_FAULTS_KEEP=1` the figures go to RESULTS.md and the README.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { underLoad } from "../support/load.ts";
import { docker, mlgate, mustRun, NAME, stackPort, token } from "../support/mlgate.ts";
import { FAULTS } from "./faults.ts";
import { keep, markdown, type Row } from "./results.ts";

const PROCESSES = 8;

let uri: string;
let editor: string;
const rows: Row[] = [];

beforeAll(async () => {
	uri = `http://127.0.0.1:${await stackPort()}`;
	editor = await token("editor", `faults-${Date.now()}`);
});

afterAll(() => {
	process.stderr.write(`\n${markdown(rows)}\n\n`);
	if (process.env.MLGATE_FAULTS_KEEP) keep(rows, PROCESSES);
});

/** What Postgres says when it was not stopped in order. */
const TORN = "was not properly shut down";

/** By round: what comes fewer times has its turn in the first ones. */
const ROUNDS = [1, 2, 3].map((round) => ({ round, faults: FAULTS.filter(({ times }) => times >= round) }));

describe.each(ROUNDS)("round $round", ({ faults }) => {
	test.each(faults)("$what", async ({ what, kind, happen }) => {
		const since = new Date().toISOString();
		const { result: held, load } = await underLoad(uri, editor, happen, { processes: PROCESSES });
		rows.push({ what, kind, held, load });
		expect(load.runs).toBeGreaterThan(0);
		expect(load.lost).toEqual([]);
		expect(load.twice).toEqual([]);
		if (kind === "announced") {
			expect(load.failed).toEqual([]);
			expect(await docker("logs", "--since", since, `${NAME}-postgres`)).not.toContain(TORN);
		}
		if ((await mlgate(["status"])).code !== 0) await mustRun(["up", "--yes"]);
	});
});
