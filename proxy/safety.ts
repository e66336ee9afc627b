/**
 * What browsers are told about each answer, as one table. No answer is without a policy: whatever is no page may
 * load nothing, run nothing and be framed by nobody, whatever a browser is brought to make of it.
 */
import type { Route } from "./routes/match.ts";
import { perRoute } from "./routes/per-route.ts";

/** On every answer, the door's own and those of MLflow. */
export const SAFE_HEADERS = [
	"X-Content-Type-Options",
	"nosniff",
	"X-Frame-Options",
	"SAMEORIGIN",
	"Referrer-Policy",
	"same-origin",
	"Cross-Origin-Resource-Policy",
	"same-origin",
] as const;

const policy = (directives: Readonly<Record<string, string>>): string =>
	Object.entries(directives)
		.map(([name, sources]) => `${name} ${sources}`.trim())
		.join("; ");

/** JSON and words: nothing to show. */
const DATA_POLICY = policy({ "default-src": "'none'", "frame-ancestors": "'none'", sandbox: "" });

/**
 * The tightest that the pages of MLflow 2.13.0 run under, found by opening each of them in Chromium with this
 * policy and giving back what died:
 * - `unsafe-eval`: plotly makes functions as it loads; without it every experiment and run page is an error page.
 *   What else could reach it, js-yaml's `!!js/function` in a stored `MLmodel`, never gets to the page (`mlmodel.ts`).
 * - inline styles: emotion, antd and plotly make them.
 * - pictures of openstreetmap.org: the map under a GeoJSON artifact.
 * Inline scripts, `javascript:` links and pictures from elsewhere in notes stay out.
 */
const UI_POLICY = policy({
	"default-src": "'none'",
	"script-src": "'self' 'unsafe-eval'",
	"style-src": "'self' 'unsafe-inline'",
	"img-src": "'self' data: blob: https://tile.openstreetmap.org https://*.tile.openstreetmap.org",
	"font-src": "'self' data:",
	"connect-src": "'self'",
	"worker-src": "'self' blob:",
	"frame-src": "blob:",
	"manifest-src": "'self'",
	"form-action": "'none'",
	"base-uri": "'none'",
	"frame-ancestors": "'none'",
});

/** Scripts and their workers, styles, fonts and pictures of MLflow's pages. */
const FILES_POLICY = policy({ "default-src": "'self'", "object-src": "'none'", "frame-ancestors": "'none'" });

/** Whatever people have logged, HTML and SVG with scripts included, in an origin of its own. */
const ARTIFACT_POLICY = policy({
	sandbox: "",
	"default-src": "'none'",
	"style-src": "'unsafe-inline'",
	"img-src": "data:",
	"frame-ancestors": "'none'",
});

export interface Safety {
	/** A flat list of names and values. */
	readonly headers: readonly string[];
	/** Instead of what MLflow says about keeping an answer. */
	readonly cache?: string;
	/** A browser offers it as a download, even where MLflow does not say so. */
	readonly attachment?: boolean;
}

const withPolicy = (value: string, ...more: string[]): readonly string[] => [
	...SAFE_HEADERS,
	"Content-Security-Policy",
	value,
	...more,
];

const DATA: Safety = { headers: withPolicy(DATA_POLICY) };
const PAGE: Safety = {
	headers: withPolicy(
		UI_POLICY,
		"Cross-Origin-Opener-Policy",
		"same-origin",
		"Permissions-Policy",
		"camera=(), geolocation=(), microphone=(), payment=(), usb=()",
	),
	cache: "private, no-cache",
};
const FILE: Safety = { headers: withPolicy(FILES_POLICY), cache: "private, no-cache" };
/** Their name changes with every byte in them. */
const HASHED: Safety = { headers: withPolicy(FILES_POLICY), cache: "private, max-age=31536000, immutable" };
/** For whoever sends artifacts, MLflow or the door. */
export const ARTIFACT = {
	headers: withPolicy(ARTIFACT_POLICY),
	cache: "private, no-cache",
	attachment: true,
} as const satisfies Safety;

/** `main.83f1172e.js`, `inter.0a1b2c3d4e5f60718293.woff2` */
const HASHED_NAME = /\.[0-9a-f]{8,32}\.(?:chunk\.)?[a-z0-9]+$/;
const ARTIFACT_ROUTE =
	/^(?:\/get-artifact|\/model-versions\/get-artifact|.*\/mlflow-artifacts\/artifacts\/<path:\w+>)$/;

/** Undefined: a static file, whose name decides. */
const safetyByRule = perRoute(({ rule }: Pick<Route, "rule">): Safety | undefined => {
	if (rule === "/") return PAGE;
	if (rule.startsWith("/static-files/")) return undefined;
	return ARTIFACT_ROUTE.test(rule) ? ARTIFACT : DATA;
});

/** What goes out with MLflow's answer to a request on a route, whoever gives it. Status and body do not matter. */
export const safetyOf = (route: Pick<Route, "rule">, path: string): Safety =>
	safetyByRule(route) ?? (HASHED_NAME.test(path) ? HASHED : FILE);

/** On JSON of the door's own. */
export const OWN_HEADERS = [...DATA.headers, "Cache-Control", "no-store"] as const;
