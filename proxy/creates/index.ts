/**
 * Creates are exact-once: `runs/create` and the others of `table.ts` make one thing for one call of MLflow's client,
 * whatever dies in the middle and however often the client asks again.
 */
import { createHash } from "node:crypto";
import { Database, type DatabaseSettings } from "../accounts/database.ts";
import type { Log } from "../accounts/log.ts";
import type { Answerer } from "../answerer.ts";
import { orderOf } from "../forward/index.ts";
import type { Transfers } from "../forward/transfers.ts";
import { belowTwin } from "../routes/classes.ts";
import type { Route } from "../routes/match.ts";
import { perRoute } from "../routes/per-route.ts";
import { Create, type Parts } from "./create.ts";
import { Finder } from "./finder.ts";
import { Intents } from "./intents.ts";
import { CREATES, type Creating } from "./table.ts";

export interface Creates {
	intents: Intents;
	finder: Finder;
	close(): Promise<void>;
}

/**
 * The door's database must be there and migrated.
 * @param mlflow the name of MLflow's database on the same server, where the door's role may read
 */
export async function openCreates(
	settings: DatabaseSettings,
	mlflow: string,
	log: Log,
	{ settle }: { settle?: number } = {},
): Promise<Creates> {
	const tracking = new URL(settings.url);
	tracking.pathname = `/${encodeURIComponent(mlflow)}`;
	const own = new Database(settings, log, { durable: false });
	const intents = new Intents(own, log);
	const finder = new Finder(new Database({ ...settings, url: tracking.href }, log), settle);
	await own.whenThere(() => intents.open(), log);
	return {
		intents,
		finder,
		async close() {
			await Promise.all([intents.shut(), finder.close()]);
		},
	};
}

/** MLflow's rule below its twin, if it makes something. */
const creatingOf = perRoute(
	({ method, rule }: Pick<Route, "method" | "rule">): [rule: string, creating: Creating] | undefined => {
		if (method !== "POST") return undefined;
		const below = belowTwin(rule) ?? rule;
		const creating = Object.hasOwn(CREATES, below) ? CREATES[below] : undefined;
		return creating && [below, creating];
	},
);

export function createsAnswerer(parts: Omit<Parts, "stands"> & { transfers: Transfers }): Answerer {
	const { transfers } = parts;
	const all: Parts = { ...parts, stands: transfers.stands.bind(transfers) };
	return (allowed) => {
		const { route, res, identity } = allowed;
		const found = creatingOf(route);
		if (found === undefined) return false;
		const [rule, creating] = found;
		const create = new Create(allowed, orderOf(allowed), creating, all);
		transfers.watch(res, create);
		const given = (body: Buffer) => ({
			credential: identity.credential,
			route: rule,
			body: createHash("sha256").update(body).digest(),
		});
		return create.run(given).then(() => true);
	};
}
