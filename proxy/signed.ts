/** Requests whose URL is their whole credential: the door signed it for somebody who was allowed to. */
import type { Verdict } from "./authority.ts";
import type { Route } from "./routes/match.ts";

export interface SignedRoute {
	/** What such a URL may be used for, and with which role. Its path is no path of MLflow's. */
	route: Route;
	/** @returns whoever it was signed for, as long as they still may, or why not */
	identify(query: URLSearchParams): Verdict;
}
