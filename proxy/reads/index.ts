/**
 * Reads of MLflow's API. They all come by here before they are forwarded, so this is the place for answers that need
 * no MLflow. For now: reads that are equal are computed once while they are on their way (`sharing.ts`), and go out
 * compressed.
 */
import type { Dispatcher } from "undici";
import type { Answerer } from "../answerer.ts";
import { SMALL } from "../forward/body.ts";
import { orderOf } from "../forward/index.ts";
import type { Transfers } from "../forward/transfers.ts";
import type { Route } from "../routes/match.ts";
import { perRoute } from "../routes/per-route.ts";
import { Budget } from "./budget.ts";
import { Flight } from "./flight.ts";
import { Reader } from "./reader.ts";
import type { Sharing } from "./sharing.ts";

/** Bytes of all answers that are kept whole at one time. */
const MEMORY = 64 * 1024 * 1024;

const NOTHING = Buffer.alloc(0);

/** JSON, and not more of it than a page needs. */
const isShared = perRoute(
	({ method, rule, answer }: Route): boolean =>
		answer === undefined &&
		(method === "GET" || method === "POST") &&
		/^\/(?:api|ajax-api)\/2\.0\/mlflow\//.test(rule),
);

export interface ReadsOptions {
	upstream: Dispatcher;
	transfers: Transfers;
	sharing: Sharing;
	/** Bytes, for tests. */
	memory?: number;
}

export function readsAnswerer({ upstream, transfers, sharing, memory = MEMORY }: ReadsOptions): Answerer {
	const dispatch = upstream.dispatch.bind(upstream);
	const budget = new Budget(memory);

	function board(reader: Reader, body: Buffer | null): void {
		const order = orderOf(reader.allowed);
		const refused = order.judge?.(body ?? NOTHING);
		if (refused !== undefined) return reader.end(refused);
		const { safety } = order;
		sharing.join(reader, body, (quiet) => new Flight({ dispatch, transfers, budget, quiet, body, safety }));
	}

	return (allowed) => {
		const { route, req, res } = allowed;
		if (route.class !== "read") {
			if (route.class !== "static") sharing.write(res);
			return false;
		}
		if (!isShared(route) || !(Number(req.headers["content-length"] ?? 0) <= SMALL)) return false;
		if (req.headers["transfer-encoding"] !== undefined) return false;
		const reader = new Reader(allowed, (body) => board(reader, body));
		reader.begin(transfers);
		return true;
	};
}
