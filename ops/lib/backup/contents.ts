/** What a stack holds that a restore would take away. */
import { DATABASE } from "../../../infra/contract.ts";
import type { Container } from "../docker.ts";
import { list } from "../text.ts";
import { askAgent } from "./agent.ts";
import { ask } from "./database.ts";
import { jsonLines } from "./files.ts";

export interface Contents {
	runs: number;
	/** Without the default one, which MLflow makes by itself. */
	experiments: number;
	models: number;
	/** Without those that are built in. */
	users: number;
	/** Without those that the backup has as well. */
	objects: number;
}

const COUNTS = {
	mlflow: `select json_build_object('runs', (select count(*) from runs),
		'experiments', (select count(*) from experiments where experiment_id <> 0),
		'models', (select count(*) from registered_models))`,
	door: "select json_build_object('users', (select count(*) from users where not system))",
} as const;

/** @param known keys of objects that do not count. */
export async function contentsOf(
	name: string,
	postgres: Container,
	known: ReadonlySet<string>,
): Promise<Contents> {
	const agent = askAgent(name, "list");
	let objects = 0;
	for await (const { key } of jsonLines<{ key: string }>(agent.output)) if (!known.has(key)) objects += 1;
	await agent.ended;
	const mlflow = JSON.parse(await ask(postgres, DATABASE.mlflow, COUNTS.mlflow));
	const door = JSON.parse(await ask(postgres, DATABASE.door, COUNTS.door));
	return { ...mlflow, ...door, objects };
}

export const isEmpty = (contents: Contents): boolean => Object.values(contents).every((count) => count === 0);

/** `3 runs, 1 experiment and 2 objects` */
export const contentsInWords = (contents: Contents): string =>
	list(
		Object.entries(contents)
			.filter(([, count]) => count > 0)
			.map(([word, count]) => `${count} ${count === 1 ? word.slice(0, -1) : word}`),
	);
