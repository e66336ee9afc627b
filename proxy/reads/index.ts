/**
 * Reads of MLflow's API. They all come by here before they are forwarded, so this is the place for answers that need
 * no MLflow. For now: reads that are equal are computed once while they are on their way, and go out compressed.
 *
 * Equal means equal to MLflow, and asked with the same role and scope. An answer is shared only among questions with no write
 * between them, begun or ended: a read that follows a write is never answered from before that write's end.
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
import { Writes } from "./writes.ts";

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
	/** For tests: bytes, and milliseconds. */
	memory?: number;
	unseen?: number;
}

export function readsAnswerer({ upstream, transfers, memory = MEMORY, unseen }: ReadsOptions): Answerer {
	const writes = new Writes(unseen);
	const budget = new Budget(memory);
	const flights = new Map<string, Flight>();

	/** Joins an equal read, or becomes one that others join. */
	function board(reader: Reader, body: Buffer | null): void {
		const { req, target, identity } = reader.allowed;
		const order = orderOf(reader.allowed);
		const refused = order.judge?.(body ?? NOTHING);
		if (refused !== undefined) return reader.end(refused);
		const { accept = "", "content-type": type = "" } = req.headers;
		const question = body === null ? "" : body.toString("latin1");
		const key = [identity.role, identity.scope, req.method, target.forward, accept, type, question].join(
			"\n",
		);
		const quiet = writes.quiet;
		const running = flights.get(key);
		if (running !== undefined && quiet !== undefined && running.quiet === quiet) {
			reader.join(running);
			return;
		}
		const flight = new Flight({ upstream, transfers, budget, quiet, body, safety: order.safety });
		if (quiet !== undefined) {
			flights.set(key, flight);
			flight.ended(() => {
				if (flights.get(key) === flight) flights.delete(key);
			});
		}
		reader.join(flight);
		flight.start(reader);
	}

	return (allowed) => {
		const { route, req, res } = allowed;
		if (route.class !== "read") {
			if (route.class !== "static") writes.begin(res);
			return false;
		}
		if (!isShared(route) || !(Number(req.headers["content-length"] ?? 0) <= SMALL)) return false;
		if (req.headers["transfer-encoding"] !== undefined) return false;
		const reader = new Reader(allowed, (body) => board(reader, body));
		reader.begin(transfers);
		return true;
	};
}
