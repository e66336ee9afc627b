/** The seam between the request pipeline and the accounts: who is asking, and with which role. */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import type { Listener } from "../infra/contract.ts";
import type { Role } from "./roles.ts";

export interface Identity {
	kind: "token" | "session" | "password";
	/** The user's name. */
	user: string;
	/** Effective: the lower of the credential's and its owner's, now. */
	role: Role;
	/** Token id, session id or user id. */
	credential: string;
	/** A token's name. */
	name?: string;
}

export type Verdict =
	| { ok: true; identity: Identity }
	| {
			ok: false;
			/** False when the request carried no credential at all. */
			presented: boolean;
			reason: string;
	  };

/** What the door knows of a request before it looks at credentials. */
export interface RequestFacts {
	method: string;
	headers: IncomingHttpHeaders;
	listener: Listener;
	remoteAddress: string;
	/** `scheme://host[:port]` of this request as we see it. */
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
	 * Order: Bearer, Basic (`<anything>:<token>` or `<user>:<password>`), session cookie.
	 * A refused credential never falls back to a weaker one.
	 */
	authenticate(facts: RequestFacts): Promise<Verdict>;
	/** A reason to refuse, for unsafe methods that a session or another site's page may have sent. */
	checkCsrf(facts: RequestFacts, identity: Identity): string | undefined;
	/** Asked again and again while a transfer runs. */
	stillValid(identity: Identity): boolean;
	jwks(): { keys: object[] };
	checks(): Promise<Check[]>;
}

export interface Pages {
	/** Exact paths, and prefixes where the entry ends in `/`. */
	paths: readonly string[];
	handle(
		req: IncomingMessage,
		res: ServerResponse,
		facts: RequestFacts & { path: string; query: URLSearchParams },
	): Promise<void>;
}
