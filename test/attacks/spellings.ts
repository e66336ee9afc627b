/**
 * Other ways to write a request for the same thing: what one server takes for the plain route, another for a
 * different one. None of them is a way round a refusal.
 */
import type { Call } from "../support/caller.ts";

/** Rewrites the path of a target. `origin` is the door's own. */
type Respell = (path: string, origin: string) => string;

const lastSlash = (path: string, by: string): string => {
	const at = path.lastIndexOf("/");
	return path.slice(0, at) + by + path.slice(at + 1);
};
const encodeAt = (path: string, at: number): string =>
	`${path.slice(0, at)}%${path.charCodeAt(at).toString(16)}${path.slice(at + 1)}`;

export const SPELLINGS: Readonly<Record<string, Respell>> = {
	"a slash too many in front": (path) => `/${path}`,
	"two slashes too many": (path) => `//${path}`,
	"a slash too many inside": (path) => lastSlash(path, "//"),
	"a slash at the end": (path) => `${path}/`,
	"a dot segment in front": (path) => `/.${path}`,
	"a dot segment at the end": (path) => `${path}/.`,
	"up and down": (path) => `/x/..${path}`,
	"up and down, encoded": (path) => `/x/%2e%2e${path}`,
	"up and down past a parameter": (path) => `/x/..;${path}`,
	"up and down from a public file": (path) => `/static-files/..${path}`,
	"up and down from health": (path) => `/door/health/..${path}`,
	"a dot segment, encoded": (path) => `/%2e${path}`,
	"the first letter encoded": (path) => encodeAt(path, 1),
	"the last letter encoded": (path) => encodeAt(path, path.length - 1),
	"the last letter encoded twice": (path) =>
		`${path.slice(0, -1)}%25${path.charCodeAt(path.length - 1).toString(16)}`,
	"a slash encoded": (path) => lastSlash(path, "%2f"),
	"a slash encoded twice": (path) => lastSlash(path, "%252f"),
	"a backslash": (path) => lastSlash(path, "\\"),
	"a backslash, encoded": (path) => lastSlash(path, "%5c"),
	"a slash of another script": (path) => lastSlash(path, "%EF%BC%8F"),
	"a slash in too many bytes": (path) => lastSlash(path, "%c0%af"),
	"a parameter": (path) => `${path};x=1`,
	"a fragment": (path) => `${path}#x`,
	"a NUL": (path) => `${path}%00`,
	"a blank": (path) => `${path}%20`,
	"a line break": (path) => `${path}%0d%0a`,
	"an empty query mark": (path) => `${path}%3f`,
	"absolute, of nobody": (path) => `http://evil.example${path}`,
	"absolute, of the door": (path, origin) => origin + path,
	"with a host in front": (path) => `//evil.example${path}`,
	capitals: (path) => path.toUpperCase(),
	"the API of old (preview)": (path) => path.replace("/2.0/", "/2.0/preview/"),
	"the API to come (GHSA-46r5, GHSA-qqq6: the twin that nobody gated)": (path) =>
		path.replace("/2.0/", "/3.0/"),
	"without a slash behind the version": (path) => path.replace("/2.0/", "/2.0"),
};

/** Headers and parameters that some server or framework takes for another method, path or user. */
export const DISGUISES: Readonly<Record<string, (call: Call) => Call>> = {
	"X-HTTP-Method-Override on a GET": ({ method, target }) => ({
		method: "GET",
		target,
		headers: { "x-http-method-override": method, "x-method-override": method, "x-http-method": method },
	}),
	"X-HTTP-Method-Override on the route's own POST": ({ method, target, headers, body }) => ({
		method: "POST",
		target,
		headers: { ...headers, "x-http-method-override": method },
		body,
	}),
	"_method in the query": ({ method, target }) => ({
		method: "GET",
		target: `${target}${target.includes("?") ? "&" : "?"}_method=${method}`,
	}),
	"another path in X-Original-URL and its like (CVE-2026-40575)": ({ method, target, headers, body }) => ({
		method,
		target,
		headers: {
			...headers,
			"x-original-url": "/door/health",
			"x-rewrite-url": "/door/health",
			"x-original-uri": "/door/health",
			"x-forwarded-uri": "/door/health",
			"x-forwarded-path": "/door/health",
			"x-forwarded-prefix": "/door/health",
			"x-forwarded-method": "GET",
			"x-original-method": "GET",
		},
		body,
	}),
	"the path in X-Original-URL of a harmless one": ({ method, target, headers }) => ({
		method: "GET",
		target: "/door/health",
		headers: { ...headers, "x-original-url": target, "x-rewrite-url": target, "x-forwarded-method": method },
	}),
	"the user agent of a health check (GHSA-5hvv)": ({ method, target, headers, body }) => ({
		method,
		target,
		headers: { ...headers, "user-agent": "GoogleHC/1.0 kube-probe/1.30 ELB-HealthChecker/2.0" },
		body,
	}),
	"somebody else's name": ({ method, target, headers, body }) => ({
		method,
		target,
		headers: {
			...headers,
			"tailscale-user-login": "root@example.com",
			"tailscale-app-capabilities": '{"mlgate":[{"role":"admin"}]}',
			"x-remote-user": "admin",
			"remote-user": "admin",
			"x-forwarded-user": "admin",
			"x-forwarded-email": "admin@example.com@evil.example",
			"x-forwarded-for": "127.0.0.1",
			"x-real-ip": "127.0.0.1",
			"x-auth-request-user": "admin",
			"x-webauth-user": "admin",
			"x-mlflow-guardrail-bypass": "1",
		},
		body,
	}),
	"a type that is no JSON": ({ method, target, body }) => ({
		method,
		target,
		headers: { "content-type": "text/plain" },
		body,
	}),
};

/** @param target as it stands in a request line */
export function respell(target: string, how: Respell, origin: string): string {
	const mark = target.indexOf("?");
	return mark < 0 ? how(target, origin) : how(target.slice(0, mark), origin) + target.slice(mark);
}
