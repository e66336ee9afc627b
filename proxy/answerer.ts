/** The seam behind the pipeline: who answers a request once it is known to be allowed. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { Identity, RequestFacts } from "./authority.ts";
import type { DoorErrorCode } from "./errors.ts";
import type { Target } from "./gate/target.ts";
import type { Patience } from "./hold/patience.ts";
import type { Route } from "./routes/match.ts";

/** A connection that its client wants to use for another protocol than HTTP from here on. */
export interface Upgrade {
	/** Nobody reads from it. `res` still writes to it, until somebody has switched. */
	socket: Duplex;
	/** What came after the request's headers. */
	head: Buffer;
}

/** A request that the gate, the authority and the route map have let through. */
export interface Allowed {
	req: IncomingMessage;
	res: ServerResponse;
	facts: RequestFacts;
	target: Target;
	identity: Identity;
	route: Route;
	/** How long it may be held; left once its response has closed. */
	patience: Patience;
	/** Set if the client asks to switch protocols. Whoever does not know how answers as ever. */
	upgrade?: Upgrade | undefined;
	/** For the log: the connection has been switched. */
	switched?(): void;
	/** For the log: the answer came from the door, as this row of `errors.ts`. */
	refused(code: DoorErrorCode): void;
	/** For the audit trail: the request's body, where it is small enough to be held whole. */
	body(body: Buffer): void;
	/** For the log: something went wrong behind the door. */
	failed(error: Error): void;
}

/**
 * Answers the requests that are its own. The pipeline asks one after the other, the last one takes everything.
 * @returns false: not mine. Nothing has been read, written or begun then.
 */
export type Answerer = (allowed: Allowed) => boolean | Promise<boolean>;
