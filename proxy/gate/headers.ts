/**
 * Headers that two parsers could read differently are refused before anybody looks at what they say.
 * Node joins or drops repeated headers, WSGI servers fold `_` into `-`, gunicorn takes two `Authorization`.
 */
import type { IncomingMessage } from "node:http";
import type { DoorErrorCode } from "../errors.ts";
import type { Hosts } from "../listeners.ts";

/** Lists by their definition, and never decided upon here. Any other header occurs once. */
const REPEATABLE = new Set([
	"accept",
	"accept-encoding",
	"accept-language",
	"cache-control",
	"forwarded",
	"pragma",
	"via",
	"warning",
	"x-forwarded-for",
	"x-forwarded-host",
	"x-forwarded-proto",
]);

/** MLflow's pages send each cookie `mlflow-request-header-<Name>` as header `<Name>`. This one is ours. */
const ECHO_PREFIX = "mlflow-request-header-";
const ECHO_OURS = "mlflow-request-header-X-CSRF-Token";

/** @returns the code of what is wrong with the header block, if anything */
export function refusedHeaders(req: IncomingMessage): DoorErrorCode | undefined {
	const { rawHeaders } = req;
	for (let i = 0; i < rawHeaders.length; i += 2) {
		if (rawHeaders[i]?.includes("_")) return "HEADER_UNDERSCORE";
	}
	if (Object.keys(req.headers).length * 2 !== rawHeaders.length) {
		const seen = new Set<string>();
		for (let i = 0; i < rawHeaders.length; i += 2) {
			const name = (rawHeaders[i] ?? "").toLowerCase();
			if (seen.has(name) && !REPEATABLE.has(name)) return "HEADER_DUPLICATE";
			seen.add(name);
		}
	}
	return undefined;
}

/** @param hosts accepted values, in lower case */
export function refusedHost(req: IncomingMessage, hosts: Hosts): DoorErrorCode | undefined {
	return hosts.has(req.headers.host?.toLowerCase() ?? "") ? undefined : "HOST_UNKNOWN";
}

/**
 * Names of cookies that MLflow's pages would turn into request headers of somebody's choice: a sibling host
 * of the same domain can plant `mlflow-request-header-Authorization`. Tokens only, so that they can be cleared.
 */
export function plantedCookies(cookie: string | undefined): string[] {
	if (cookie === undefined || !cookie.toLowerCase().includes(ECHO_PREFIX)) return [];
	return cookie
		.split(";")
		.map((pair) => pair.split("=", 1)[0]?.trim() ?? "")
		.filter((name) => name.toLowerCase().startsWith(ECHO_PREFIX) && name !== ECHO_OURS);
}

/** `Set-Cookie` values that clear them. What is no cookie name cannot be cleared, nor be set by a browser. */
export const clearing = (names: readonly string[]): string[] =>
	names.filter((name) => /^[\w!#$%&'*+.^`|~-]+$/.test(name)).map((name) => `${name}=; Path=/; Max-Age=0`);
