/**
 * The door's cookies. Over https they carry the `__Host-` prefix, which no other host can plant; over http
 * (localhost, where ports share their cookies) the stack's name keeps two stacks apart.
 */
import type { RequestFacts } from "../authority.ts";

/** MLflow's pages send every cookie named `mlflow-request-header-<Name>` as header `<Name>`. */
const ECHO_PREFIX = "mlflow-request-header-";
export const CSRF_HEADER = "x-csrf-token";
export const CSRF_COOKIE = `${ECHO_PREFIX}X-CSRF-Token`;

type Facts = Pick<RequestFacts, "headers" | "origin">;

const isSecure = ({ origin }: Pick<RequestFacts, "origin">): boolean => origin.startsWith("https:");

/** [name, value] in the order sent; what has no `=` is no cookie of ours. */
function readCookies({ headers }: Pick<RequestFacts, "headers">): [string, string][] {
	if (headers.cookie === undefined) return [];
	return headers.cookie.split(";").flatMap((pair): [string, string][] => {
		const at = pair.indexOf("=");
		return at < 0 ? [] : [[pair.slice(0, at).trim(), pair.slice(at + 1).trim()]];
	});
}

/** The different values of one cookie. More than one means that somebody else planted one. */
export function cookieValues(facts: Facts, name: string): string[] {
	return [...new Set(readCookies(facts).flatMap(([found, value]) => (found === name ? [value] : [])))];
}

/**
 * Names of cookies that MLflow's pages would turn into request headers, other than our CSRF pair: a sibling
 * host can plant `...-Authorization`. Any other spelling of our own name, or a second value, counts as planted.
 */
export function plantedCookies(facts: Facts): string[] {
	if (facts.headers.cookie === undefined) return [];
	const planted = readCookies(facts)
		.map(([name]) => name)
		.filter((name) => name.toLowerCase().startsWith(ECHO_PREFIX) && name !== CSRF_COOKIE);
	if (cookieValues(facts, CSRF_COOKIE).length > 1) planted.push(CSRF_COOKIE);
	return [...new Set(planted)];
}

export class Cookies {
	readonly #name: string;

	/** @param name the stack's name. */
	constructor(name: string) {
		this.#name = name;
	}

	sessionName(facts: Facts): string {
		return isSecure(facts) ? "__Host-mlgate" : `mlgate-${this.#name}`;
	}

	deviceName(facts: Facts): string {
		return `${this.sessionName(facts)}-device`;
	}

	/** `Set-Cookie` values of a new session. `maxAge` in seconds. */
	signedIn(
		facts: Facts,
		values: { session: string; csrf: string; device: string },
		maxAge: number,
	): string[] {
		return [
			set(facts, this.sessionName(facts), values.session, maxAge, "HttpOnly"),
			this.csrf(facts, values.csrf, maxAge),
			set(facts, this.deviceName(facts), values.device, DEVICE_SECONDS, "HttpOnly"),
		];
	}

	/** The CSRF cookie alone: readable by scripts of our pages, that is its purpose. */
	csrf(facts: Facts, value: string, maxAge: number): string {
		return set(facts, CSRF_COOKIE, value, maxAge);
	}

	/** `Set-Cookie` values that end a session in the browser. The device mark stays. */
	signedOut(facts: Facts): string[] {
		return [set(facts, this.sessionName(facts), "", 0, "HttpOnly"), set(facts, CSRF_COOKIE, "", 0)];
	}

	/**
	 * `Set-Cookie` values that clear planted cookies, as far as one can from here: host-only and for each parent
	 * domain. Their `Path` cannot be known.
	 */
	clearPlanted(facts: Facts): string[] {
		const host = new URL(facts.origin).hostname;
		const labels = /^[\d.]+$|:/.test(host) ? [] : host.split(".");
		const domains = labels.slice(0, -1).map((_, index) => labels.slice(index).join("."));
		return plantedCookies(facts)
			.filter((name) => /^[\w!#$%&'*+.^`|~-]+$/.test(name))
			.slice(0, 8)
			.flatMap((name) => [
				set(facts, name, "", 0),
				...domains.map((domain) => `${name}=; Domain=${domain}; Path=/; Max-Age=0`),
			]);
	}
}

/** Half a year. */
const DEVICE_SECONDS = 180 * 86_400;

function set(facts: Facts, name: string, value: string, maxAge: number, ...more: string[]): string {
	const secure = isSecure(facts) ? ["Secure"] : [];
	return [`${name}=${value}`, "Path=/", `Max-Age=${maxAge}`, "SameSite=Lax", ...secure, ...more].join("; ");
}
