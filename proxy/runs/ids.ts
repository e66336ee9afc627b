/** Which runs a question is about. */
import type { DoorErrorCode } from "../errors.ts";

/** As many as a page of ours asks for at once; their ids make a request line of 8 KiB. Said in `TOO_MANY_RUNS`, too. */
export const MOST = 200;

/** MLflow makes no others (`uuid4().hex`); what else its client would take for one (`_RUN_ID_REGEX`) is no run's. */
const RUN_ID = /^[0-9a-f]{32}$/;

/** @returns each run once, in the order in which they were asked for, or why there is no answer */
export function idsOf(query: URLSearchParams): readonly string[] | DoorErrorCode {
	const ids = new Set<string>();
	for (const [name, value] of query) {
		if (name !== "run_id" || !RUN_ID.test(value)) return "RUN_IDS";
		ids.add(value);
	}
	if (ids.size === 0) return "RUN_IDS";
	return ids.size > MOST ? "TOO_MANY_RUNS" : [...ids];
}
