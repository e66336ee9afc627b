/**
 * Many runs in one question: `GET /door/runs?run_id=<id>&run_id=<id>...` answers what MLflow says to `runs/get` of
 * each. Its page that compares runs asks for them one by one, over the six connections that a browser has
 * (`proxy/menu/compare.js` asks here instead). It reads as much as the single questions would, as whom they would,
 * and counts as many.
 */
import type { Dispatcher } from "undici";
import { refuse } from "../answer.ts";
import type { Answerer } from "../answerer.ts";
import { onceClosed } from "../closed.ts";
import type { DoorErrorCode } from "../errors.ts";
import type { Transfers } from "../forward/transfers.ts";
import type { RateLimits } from "../rates.ts";
import { Budget } from "../reads/budget.ts";
import { Reader } from "../reads/reader.ts";
import type { Sharing } from "../reads/sharing.ts";
import { Asking, AT_ONCE } from "./asking.ts";
import { idsOf } from "./ids.ts";
import { RUNS_ROUTE } from "./route.ts";

/** Bytes that are kept for all questions at one time, and for one. A hundred runs are 0.8 MB. */
const MEMORY = 32 * 1024 * 1024;
const LARGEST = 8 * 1024 * 1024;

export interface RunsOptions {
	upstream: Dispatcher;
	transfers: Transfers;
	sharing: Sharing;
	rates: Pick<RateLimits, "take">;
	/** Bytes, for tests. */
	memory?: number;
	largest?: number;
}

export function runsAnswerer({
	upstream,
	transfers,
	sharing,
	rates,
	memory = MEMORY,
	largest = LARGEST,
}: RunsOptions): Answerer {
	const budget = new Budget(memory);

	return (allowed) => {
		const { route, target, identity, req, res } = allowed;
		if (route !== RUNS_ROUTE) return false;
		const end = (code: DoorErrorCode, headers: readonly string[] = []): true => {
			allowed.refused(code);
			refuse(req, res, code, headers);
			return true;
		};
		const ids = idsOf(new URLSearchParams(target.query));
		if (typeof ids === "string") return end(ids);
		// It has been counted as one request itself.
		const taken = rates.take(identity, {
			requests: ids.length - 1,
			atOnce: Math.min(AT_ONCE, ids.length) - 1,
		});
		if ("retryAfter" in taken) return end("TOO_MANY_REQUESTS", ["Retry-After", String(taken.retryAfter)]);
		onceClosed(res, taken.done);
		const reader = new Reader(allowed, () =>
			sharing.join(reader, null, (quiet) => new Asking({ upstream, transfers, budget, largest, quiet, ids })),
		);
		reader.begin(transfers);
		return true;
	};
}
