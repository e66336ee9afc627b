/** Ten people open one page at the same moment: what MLflow has to compute for them. */

import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { inTurn, mid, say } from "./frame/measure.ts";
import { alone, type Row, ratio } from "./frame/rows.ts";
import { experiment } from "./frame/runs.ts";
import { AT, origin, type Site } from "./frame/site.ts";
import { cpu } from "./frame/usage.ts";

const PEOPLE = 10;
const ROUNDS = 5;
/** Postgres tells about a transaction this late. Milliseconds. */
const TOLD = 1_500;

/** What the experiment's page asks for, and MLflow works on longest. */
const QUESTION = "/ajax-api/2.0/mlflow/runs/search";

export async function measure(site: Site): Promise<Row[]> {
	say("ten people, one page");
	const { id } = await experiment();
	const door = await site.door();
	const client = new pg.Client(site.database);
	await client.connect();
	try {
		const body = JSON.stringify({
			experiment_ids: [id],
			max_results: 100,
			order_by: ["attributes.start_time DESC"],
			run_view_type: "ACTIVE_ONLY",
		});
		const ask = async (port: number, token: string): Promise<string> => {
			const answer = await fetch(origin(port) + QUESTION, {
				method: "POST",
				headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
				body,
			});
			if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
			return await answer.text();
		};
		const transactions = async (): Promise<number> => {
			await sleep(TOLD);
			const { rows } = await client.query(
				"select xact_commit + xact_rollback as count from pg_stat_database where datname = $1",
				[site.database.database],
			);
			return Number(rows[0]?.count);
		};
		/** So many people at once: transactions, seconds of MLflow's CPU, and milliseconds until the last has it. */
		const people = async (count: number, port: number, part = site.mlflow) => {
			const [before, used] = [await transactions(), cpu(part)];
			const began = performance.now();
			const bodies = await Promise.all(
				Array.from({ length: count }, (_, i) => ask(port, door.readers[i % door.readers.length] ?? "")),
			);
			const ms = performance.now() - began;
			if (new Set(bodies).size !== 1) throw new Error("they were not told the same");
			const seconds = cpu(part) - used;
			return { transactions: (await transactions()) - before, seconds, ms, body: bodies[0] };
		};
		await people(PEOPLE, AT.door);
		await people(PEOPLE, AT.stock, site.stock);
		const seen = await inTurn(ROUNDS, {
			one: () => people(1, AT.mlflow),
			ten: () => people(PEOPLE, AT.door),
			stock: () => people(PEOPLE, AT.stock, site.stock),
		});
		const equal = new Set(Object.values(seen).flatMap((all) => all.map(({ body }) => body)));
		if (equal.size !== 1) throw new Error("the sides do not answer the same");
		// Looking costs transactions, too: as many as a round in which nobody asks.
		const idle = -((await transactions()) - (await transactions()));
		const cost = (round: { transactions: number }[]) => mid(round, (one) => one.transactions - idle);
		const single = cost(seen.one);
		return [
			alone(
				`${PEOPLE} people open the experiment's page: MLflow's computations`,
				"computations",
				cost(seen.ten) / single,
				{ atMost: 2 },
				{ name: "stock", value: cost(seen.stock) / single },
			),
			ratio(
				`${PEOPLE} people open the experiment's page: CPU of MLflow`,
				"s",
				mid(seen.ten, ({ seconds }) => seconds),
				{
					name: "stock",
					value: mid(seen.stock, ({ seconds }) => seconds),
				},
			),
			ratio(
				`${PEOPLE} people open the experiment's page: until the last has it`,
				"ms",
				mid(seen.ten, ({ ms }) => ms),
				{
					name: "stock",
					value: mid(seen.stock, ({ ms }) => ms),
				},
			),
		];
	} finally {
		await client.end();
		await door.stop();
	}
}
