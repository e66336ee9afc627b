/**
 * Who stands behind a request that the tailnet's gateway has passed on, by the headers that Tailscale sets on every
 * request and lets no client set (`ipn/ipnlocal/serve.go`). They mean something on the `ident` listener, from the
 * gateway's own address, and nothing anywhere else.
 */
import type { IncomingHttpHeaders } from "node:http";
import { BlockList, isIP } from "node:net";
import { type GrantedRole, grantedRole } from "./grant.ts";

export interface Caller {
	/** The client's own address, as the gateway saw it. */
	address: string;
	/** A member of the tailnet, in lower case. Nobody from the public internet has one. */
	login?: string;
	/** What the tailnet's policy grants them here, if it does. */
	granted?: GrantedRole;
}

/** Where nodes of a tailnet have their addresses; nobody comes from there through Funnel. */
const TAILNET = new BlockList();
TAILNET.addSubnet("100.64.0.0", 10, "ipv4");
TAILNET.addSubnet("fd7a:115c:a1e0::", 48, "ipv6");

const isOfTailnet = (address: string): boolean =>
	TAILNET.check(address, isIP(address) === 4 ? "ipv4" : "ipv6");

const one = (value: string | string[] | undefined): string | undefined =>
	typeof value === "string" ? value : undefined;

/** As people sign in with their identity provider: `ada@example.org`, `ada@github`. */
const LOGIN = /^[\x21-\x3f\x41-\x7e]{1,200}@[\x21-\x3f\x41-\x7e]{1,200}$/;

/**
 * @param headers of a request from the gateway
 * @param peer the gateway's address: who has no better one is counted by it
 */
export function callerOf(headers: IncomingHttpHeaders, peer: string): Caller {
	const forwarded = one(headers["x-forwarded-for"])?.trim() ?? "";
	// Tailscale names one address. Anything else was not made by it, or by two.
	if (isIP(forwarded) === 0) return { address: peer };
	const address = forwarded.toLowerCase();
	const login = one(headers["tailscale-user-login"])?.toLowerCase();
	const isMember =
		headers["tailscale-funnel-request"] === undefined &&
		one(headers["tailscale-headers-info"]) !== undefined &&
		login !== undefined &&
		LOGIN.test(login) &&
		isOfTailnet(address);
	if (!isMember) return { address };
	const granted = grantedRole(one(headers["tailscale-app-capabilities"]));
	return { address, login, ...(granted && { granted }) };
}
