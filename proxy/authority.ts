/** The seam between the request pipeline and the accounts: who is asking, and with which role. */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import type { Listener } from "../infra/contract.ts";
import type { Role } from "./roles.ts";
import type { Scope } from "./scopes.ts";
import type { GrantedRole } from "./tailnet/grant.ts";

export interface Identity {
	/** `tailnet`: nothing was sent but who somebody is in the tailnet, so any page in their browser may send it. */
	kind: "token" | "session" | "password" | "tailnet";
	/** The user's name. */
	user: string;
	/** Effective: the lower of the credential's and its owner's, now. */
	role: Role;
	/** Token id, session id, user id, `tailnet:<login>`, or `grant:<login>` where the tailnet's policy gives the role. */
	credential: string;
	/** The role that the tailnet's policy grants, if it is by that. */
	granted?: GrantedRole;
	/** A token's name. */
	name?: string;
	/** What a token is held to besides its role; absent: nothing. */
	scope?: Scope;
}

export type Verdict =
	| { ok: true; identity: Identity }
	| {
			ok: false;
			/** False when the request carried no credential at all. */
			presented: boolean;
			/** A code of `errors.ts`; one that is not there is answered as `CREDENTIAL_REFUSED`. */
			reason: string;
			/** Seconds, for answers that say when to come back. */
			retryAfter?: number | undefined;
	  };

/** What the door knows of a request before it looks at credentials. The gate has passed it. */
export interface RequestFacts {
	method: string;
	headers: IncomingHttpHeaders;
	listener: Listener;
	/** The client's, where the gateway told it; else the connection's. */
	remoteAddress: string;
	/** A login of the tailnet's, vouched for by its gateway. */
	tailnet?: string | undefined;
	/** The role that the tailnet's policy grants that login here. */
	granted?: GrantedRole | undefined;
	/** `scheme://host[:port]` of this request as we see it; the host is one of the listener's own. */
	origin: string;
}

export interface Check {
	name: string;
	ok: boolean;
	ms: number;
	detail?: string;
}

export interface Authority {
	/**
	 * Order: Bearer, Basic (`<anything>:<token>` or `<user>:<password>`), session cookie, member of the tailnet.
	 * A refused credential never falls back to a weaker one.
	 */
	authenticate(facts: RequestFacts): Verdict | Promise<Verdict>;
	/**
	 * For unsafe methods: a reason to refuse what a session's browser may have been made to send by
	 * another site's page. `undefined`: fine.
	 */
	checkCsrf(facts: RequestFacts, identity: Identity): string | undefined;
	/** `Set-Cookie` values that the answer to a session needs, so that MLflow's page sends the right CSRF token. */
	setCookies(facts: RequestFacts, identity: Identity): string[];
	/** `Set-Cookie` values for the answer to `HEADER_COOKIE`. */
	clearPlanted(facts: RequestFacts): string[];
	/** Still valid right now? Asked every few seconds for each running transfer, so it must be cheap. */
	stillValid(identity: Identity): boolean;
	/** The public keys that verify tokens, as a JWK set. */
	jwks(): { keys: object[] };
	/** Round trips through the stores that the accounts use. */
	checks(): Promise<Check[]>;
}

/** The door's pages. The pipeline calls them before authentication, for these paths only. */
export interface Pages {
	/** Exact paths, and prefixes where the entry ends in `/`. */
	paths: readonly string[];
	handle(
		req: IncomingMessage,
		res: ServerResponse,
		facts: RequestFacts & { path: string; query: URLSearchParams },
	): Promise<void>;
}
