/**
 * Headers that cross the door to and from the inference API, both ways by allow-list. The API is hostile
 * ground on our own origin: whatever it says to a browser must not reach beyond its own answer.
 */
import type { IncomingHttpHeaders } from "node:http";
import { SAFE_HEADERS } from "../answer.ts";
import { canonicalTarget } from "../gate/target.ts";
import { BARE, INFERENCE_TAIL, PREFIX } from "./route.ts";

/** What describes a request or its body. Never credentials, cookies, or who and where the client is. */
const TO_API = [
	"accept",
	"accept-encoding",
	"accept-language",
	"cache-control",
	"content-encoding",
	"content-language",
	"content-length",
	"content-type",
	"idempotency-key",
	"if-match",
	"if-modified-since",
	"if-none-match",
	"if-range",
	"if-unmodified-since",
	"last-event-id",
	"prefer",
	"range",
	"traceparent",
	"tracestate",
	"user-agent",
	"x-correlation-id",
	"x-request-id",
] as const;

/** The handshake of RFC 6455. No `Origin`: it was checked here, and does not name the host that the API sees. */
const HANDSHAKE = [
	"sec-websocket-extensions",
	"sec-websocket-key",
	"sec-websocket-protocol",
	"sec-websocket-version",
] as const;

/** @param host of the API, as its own clients would say it */
export function headersToApi(
	headers: IncomingHttpHeaders,
	host: string,
	upgrading = false,
): Record<string, string> {
	// So that a framework which makes links knows where it is mounted.
	const sent: Record<string, string> = { host, "x-forwarded-prefix": BARE };
	for (const name of upgrading ? [...TO_API, ...HANDSHAKE] : TO_API) {
		const value = headers[name];
		if (typeof value === "string") sent[name] = value;
	}
	if (upgrading) Object.assign(sent, { connection: "Upgrade", upgrade: "websocket" });
	return sent;
}

/**
 * What describes an answer or its body. Not here, on purpose: `Set-Cookie`, `Clear-Site-Data`, `Link`, `Refresh`,
 * `Service-Worker-Allowed`, every policy (ours stands), CORS, `WWW-Authenticate` (the browser's own prompt over
 * our pages), `X-Door-Error` (tells our answers from others), and whatever browsers learn next year.
 */
const FROM_API = [
	"accept-ranges",
	"age",
	"allow",
	"content-disposition",
	"content-encoding",
	"content-language",
	"content-length",
	"content-range",
	"content-type",
	"etag",
	"last-modified",
	"retry-after",
	"server-timing",
	"vary",
	"x-correlation-id",
	"x-process-time",
	"x-request-id",
] as const;

/**
 * No origin, no forms, no windows, nothing of what a page of ours may do. A page that the API sends runs as
 * nobody, whatever it contains.
 */
const POLICY = "sandbox allow-scripts";

/** Answers to people who have signed in: for their own browser at most, and only if the API says so itself. */
const cacheControl = (said: string | undefined): string =>
	said !== undefined && /(?:^|[,\s])private(?:[,\s]|$)/i.test(said) ? said : "no-store";

/**
 * Where a redirect of the API leads, as a path of ours. It sees itself at the root of its own host, or at
 * `/inference` if it goes by `X-Forwarded-Prefix`.
 * @param asked the path that the API was asked for
 * @returns undefined if that is not below `/inference/`
 */
export function locationOf(said: string, asked: string, host: string): string | undefined {
	const own = `http://${host}`;
	// Two parsers must agree on what it is: a browser takes `\` for `/` and drops what cannot be seen.
	if (!/^[\x21-\x5b\x5d-\x7e]+$/.test(said) || !URL.canParse(said, own + asked)) return undefined;
	const url = new URL(said, own + asked);
	if (url.origin !== own || url.username !== "" || url.password !== "") return undefined;
	const { pathname } = url;
	const path = pathname === BARE ? PREFIX : pathname.startsWith(PREFIX) ? pathname : BARE + pathname;
	const target = canonicalTarget("GET", path + url.search, [INFERENCE_TAIL]);
	return "refused" in target ? undefined : target.forward;
}

/** The headers of the door itself on everything that comes from there; those of every answer come with them. */
const OWN = [...SAFE_HEADERS, "Content-Security-Policy", POLICY] as const;

/**
 * @param asked the path that the API was asked for
 * @returns a flat list of names and values; undefined for an answer that must not go out at all
 */
export function headersFromApi(
	status: number,
	headers: IncomingHttpHeaders,
	asked: string,
	host: string,
): string[] | undefined {
	const list: string[] = [...OWN, "Cache-Control", cacheControl(headers["cache-control"])];
	for (const name of FROM_API) {
		const value = headers[name];
		if (typeof value === "string") list.push(name, value);
	}
	// With `nosniff` this is a download; without a type each browser would do as it likes.
	if (headers["content-type"] === undefined && status !== 204 && status !== 304)
		list.push("Content-Type", "application/octet-stream");
	if (headers.location !== undefined) {
		const location = locationOf(headers.location, asked, host);
		if (location !== undefined) list.push("Location", location);
		else if (status >= 300 && status < 400) return undefined;
	}
	return list;
}

/** Of the answer that switches to WebSocket nothing else concerns anybody; a cookie in it would be kept. */
export function switchingHeaders(headers: IncomingHttpHeaders): IncomingHttpHeaders {
	const list: IncomingHttpHeaders = { connection: "Upgrade", upgrade: "websocket" };
	for (const name of [
		"sec-websocket-accept",
		"sec-websocket-extensions",
		"sec-websocket-protocol",
	] as const) {
		const value = headers[name];
		if (value !== undefined) list[name] = value;
	}
	return list;
}
