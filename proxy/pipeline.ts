/**
 * What happens to a request, in this order: the gate, the public pages, who is it, did a page of ours send it,
 * which route is it, may this role use it, and only then whoever answers it.
 *
 * After every `await` the client may be gone: nothing is then taken for it.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { answerJson, linger, redirect, refuse } from "./answer.ts";
import type { Allowed, Answerer, Upgrade } from "./answerer.ts";
import { isAct, type RequestAudit } from "./audit/requests.ts";
import type { Authority, Identity, Pages, RequestFacts, Verdict } from "./authority.ts";
import { onceClosed } from "./closed.ts";
import { knownOn } from "./connections.ts";
import type { DoorRoute } from "./door/routes.ts";
import { DOOR_ERRORS, type DoorErrorCode, ROLE_TOO_LOW, refusal } from "./errors.ts";
import { clearing } from "./gate/headers.ts";
import { gate, HEALTH_PATH } from "./gate/index.ts";
import type { Target } from "./gate/target.ts";
import { Patience } from "./hold/patience.ts";
import type { BoundListener } from "./listeners.ts";
import type { Log } from "./log.ts";
import type { Kind, Metrics } from "./metrics.ts";
import type { RateLimits } from "./rates.ts";
import { atLeast } from "./roles.ts";
import { EVERY_TAIL, routeOf } from "./routes/every.ts";
import { quirk } from "./routes/quirks.ts";
import { outOfScope } from "./scopes.ts";
import type { SignedRoute } from "./signed.ts";
import type { Caller } from "./tailnet/caller.ts";
import type { Gateway } from "./tailnet/gateway.ts";

export interface PipelineOptions {
	authority: Pick<Authority, "authenticate" | "checkCsrf" | "setCookies" | "clearPlanted">;
	audit: RequestAudit;
	/** Who brings the tailnet here, if anybody. */
	gateway?: Pick<Gateway, "caller"> | undefined;
	pages: Pages;
	doorRoutes: ReadonlyMap<string, DoorRoute>;
	/** By path. */
	signedRoutes: ReadonlyMap<string, SignedRoute>;
	/** In the order in which they are asked. The last one answers whatever is left. */
	answerers: readonly Answerer[];
	rates: RateLimits;
	metrics: Metrics;
	log: Log;
	/** How long a request may be held, in milliseconds. */
	patience: number;
	/** False once the door is stopping: answers then close their connection. */
	accepting(): boolean;
}

const SAFE_METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);

/** Seconds. Of a shorter `Retry-After` MLflow's client makes less patience than of none. */
const PATIENT = 15;

/** Paths that programs ask for: never answered with a page. */
const API_PATH = /^\/(?:api|ajax-api|graphql|door|version|health)(?:\/|$)/;

/** Somebody stands in front of a browser and would see what we answer. */
export function isNavigation(req: IncomingMessage, path: string): boolean {
	const { accept, authorization, "sec-fetch-mode": mode } = req.headers;
	return (
		req.method === "GET" &&
		authorization === undefined &&
		accept?.includes("text/html") === true &&
		(mode === undefined || mode === "navigate") &&
		!API_PATH.test(path)
	);
}

/** A browser that sees `WWW-Authenticate: Basic` opens its own prompt, over our pages, even for a fetch. */
const isBrowser = ({ headers }: IncomingMessage): boolean =>
	headers["sec-fetch-mode"] !== undefined ||
	headers["sec-fetch-site"] !== undefined ||
	headers.cookie !== undefined ||
	headers.origin !== undefined ||
	headers["user-agent"]?.includes("Mozilla/") === true;

/** One request and what became known of it. For the log and the metrics once its response has closed. */
class Exchange {
	readonly req: IncomingMessage;
	readonly res: ServerResponse;
	readonly listener: BoundListener;
	readonly upgrade: Upgrade | undefined;
	readonly started = performance.now();
	readonly patience: Patience;
	/** The response has closed. Before it has finished that means: the client has left. */
	gone = false;
	/** The connection speaks another protocol now. */
	switched = false;
	kind: Kind = "unknown";
	rule: string | undefined;
	code: DoorErrorCode | undefined;
	/** The client's. */
	address: string;
	identity: Identity | undefined;
	target: Target | undefined;
	/** Of what changes something, where it was small. */
	body: Buffer | undefined;

	constructor(
		req: IncomingMessage,
		res: ServerResponse,
		listener: BoundListener,
		patience: number,
		upgrade?: Upgrade,
	) {
		this.patience = new Patience(patience);
		this.req = req;
		this.res = res;
		this.listener = listener;
		this.upgrade = upgrade;
		this.address = req.socket.remoteAddress ?? "";
	}

	refuse(code: DoorErrorCode, headers: readonly string[] = []): void {
		this.code = code;
		refuse(this.req, this.res, code, headers);
	}
}

/** Whatever breaks a connection closes its response, too, and that is where it is dealt with. */
const nothing = (): void => {};

export type Handle = (
	req: IncomingMessage,
	res: ServerResponse,
	listener: BoundListener,
	upgrade?: Upgrade,
) => void;

/** What a log at `info` need not hold one by one. */
const QUIET: ReadonlySet<Kind> = new Set<Kind>(["read", "static", "door", "inference"]);

export function openPipeline(options: PipelineOptions): Handle {
	const { authority, pages, doorRoutes, signedRoutes, answerers, audit, rates, metrics, log } = options;
	const { gateway, accepting } = options;
	const exactPages = new Set(pages.paths.filter((path) => !path.endsWith("/")));
	const pagesBelow = pages.paths.filter((path) => path.endsWith("/"));
	const isPage = (path: string) =>
		exactPages.has(path) || pagesBelow.some((prefix) => path.startsWith(prefix));

	function record(x: Exchange): void {
		const seconds = (performance.now() - x.started) / 1000;
		const { statusCode, headersSent, writableFinished } = x.res;
		// 499: the client left before there was a status to send.
		const status = x.switched ? 101 : headersSent ? statusCode : 499;
		metrics.request(x.listener.name, x.kind, status, seconds);
		if (x.code !== undefined) metrics.refusal(x.code);
		if (x.code !== undefined || isAct(x.kind)) {
			audit.answered({
				identity: x.identity,
				listener: x.listener.name,
				address: x.address,
				kind: x.kind,
				rule: x.rule,
				path: x.target?.path ?? "",
				query: x.target?.query ?? "",
				body: x.body,
				status,
				code: x.code,
			});
		}
		const level = status >= 500 ? "warn" : x.code !== undefined || !QUIET.has(x.kind) ? "info" : "debug";
		if (level === "debug" && !log.isLevelEnabled("debug")) return;
		log[level](
			{
				listener: x.listener.name,
				method: x.req.method,
				route: x.rule,
				class: x.kind,
				status,
				ms: Math.round(seconds * 1000),
				...(x.code === undefined ? {} : { refused: x.code }),
				...(x.identity === undefined ? {} : { user: x.identity.user, credential: x.identity.credential }),
				...(writableFinished || x.switched ? {} : { cut: true }),
			},
			"request",
		);
	}

	function challenge(
		x: Exchange,
		target: Target,
		facts: RequestFacts,
		verdict: Verdict & { ok: false },
	): void {
		const code = verdict.presented ? refusal(verdict.reason, "CREDENTIAL_REFUSED") : "NO_CREDENTIAL";
		const { status } = DOOR_ERRORS[code];
		if (status === 401 && isNavigation(x.req, target.path)) {
			x.code = code;
			redirect(x.req, x.res, `/login?next=${encodeURIComponent(target.forward)}`);
			return;
		}
		const headers: string[] = [];
		if (status === 401 && !isBrowser(x.req)) {
			headers.push("WWW-Authenticate", 'Basic realm="mlgate", charset="UTF-8"');
		}
		if (verdict.retryAfter !== undefined) {
			headers.push("Retry-After", String(Math.max(verdict.retryAfter, PATIENT)));
		}
		if (code === "HEADER_COOKIE") {
			headers.push(...authority.clearPlanted(facts).flatMap((cookie) => ["Set-Cookie", cookie]));
		}
		x.refuse(code, headers);
	}

	async function serve(x: Exchange): Promise<void> {
		const { req, res, listener } = x;
		let caller: Caller | undefined;
		if (gateway !== undefined && listener.trust.tailnet) {
			caller = await gateway.caller(req);
			if (x.gone) return;
			if (caller === undefined) return x.refuse("GATEWAY_ONLY");
			x.address = caller.address;
		}
		const target = gate(req, listener.hosts, EVERY_TAIL, x.upgrade !== undefined);
		if ("refused" in target) {
			if (target.close) res.shouldKeepAlive = false;
			// Not on requests with Authorization: MLflow's clients keep cookies, and send them with the next user's.
			const clear = req.headers.authorization === undefined ? clearing(target.planted ?? []) : [];
			return x.refuse(
				target.refused,
				clear.flatMap((cookie) => ["Set-Cookie", cookie]),
			);
		}
		const method = req.method ?? "";
		const { path } = target;
		x.target = target;
		const reading = method === "GET" || method === "HEAD";
		if (path === HEALTH_PATH && reading) {
			x.kind = "door";
			x.rule = path;
			return answerJson(req, res, 200, { status: "ok" });
		}
		const facts: RequestFacts = {
			method,
			headers: req.headers,
			listener: listener.name,
			remoteAddress: x.address,
			tailnet: caller?.login,
			granted: caller?.granted,
			origin: `${listener.trust.scheme}://${req.headers.host?.toLowerCase()}`,
		};
		if (isPage(path)) {
			x.kind = "page";
			x.rule = exactPages.has(path) ? path : pagesBelow.find((prefix) => path.startsWith(prefix));
			if (req.headers.expect !== undefined) res.writeContinue();
			await pages.handle(req, res, { ...facts, path, query: new URLSearchParams(target.query) });
			linger(req);
			return;
		}

		const found = signedRoutes.get(path);
		const signed = found?.route.method === method ? found : undefined;
		const told =
			signed === undefined
				? authority.authenticate(facts)
				: signed.identify(new URLSearchParams(target.query));
		// A credential that was checked before is known at once, and a turn of the queue costs more than looking it up.
		const verdict = told instanceof Promise ? await told : told;
		if (x.gone) return;
		if (!verdict.ok) return challenge(x, target, facts, verdict);
		const { identity } = verdict;
		x.identity = identity;
		knownOn(req.socket, identity);
		const taken = rates.take(identity);
		if ("retryAfter" in taken) {
			return x.refuse("TOO_MANY_REQUESTS", ["Retry-After", String(taken.retryAfter)]);
		}
		onceClosed(res, taken.done);
		const cookies = authority.setCookies(facts, identity);
		if (cookies.length > 0 && !res.headersSent) res.setHeader("Set-Cookie", cookies);
		const own = reading ? doorRoutes.get(path) : undefined;
		const route = signed?.route ?? routeOf(method, target);
		x.kind = own === undefined ? (route?.class ?? "unknown") : "door";
		x.rule = own === undefined ? route?.rule : path;

		// What no browser adds by itself, no other site's page can make it add.
		if (!SAFE_METHODS.has(method) && signed === undefined) {
			const reason = authority.checkCsrf(facts, identity);
			if (reason !== undefined) return x.refuse(refusal(reason, "CSRF_TOKEN"));
		}
		const outside = outOfScope(identity.scope ?? "all", method, x.rule);
		if (outside !== undefined) return x.refuse(outside);
		if (own !== undefined) {
			const { status, value } = await own(identity, new URLSearchParams(target.query));
			return answerJson(req, res, status, value);
		}
		if (route === undefined) return x.refuse("ROUTE_UNKNOWN");
		const known = quirk(route, target.query, identity.role);
		if (known !== undefined) return answerJson(req, res, 200, known);
		if (route.needs === undefined) return x.refuse("ROUTE_UNKNOWN");
		if (!atLeast(identity.role, route.needs)) return x.refuse(ROLE_TOO_LOW[route.needs]);
		if (isAct(route.class) && audit.full) return x.refuse("AUDIT_FULL");
		if (route.query !== undefined && identity.role !== "admin") {
			const refused = route.query(new URLSearchParams(target.query));
			if (refused !== undefined) return x.refuse(refused);
		}
		const { patience } = x;
		const allowed: Allowed = {
			req,
			res,
			facts,
			target,
			identity,
			route,
			patience,
			upgrade: x.upgrade,
			switched: () => {
				x.switched = true;
			},
			refused: (code) => {
				x.code = code;
			},
			body: (body) => {
				if (isAct(route.class)) x.body = body;
			},
			failed: (error) =>
				log.warn({ err: error, route: route.rule }, "what is behind the door failed a request"),
		};
		for (const answer of answerers) {
			const answered = answer(allowed);
			if (answered === true || (answered !== false && (await answered))) return;
			if (x.gone) return;
		}
	}

	/** The one guard at the edge: whatever a request makes us throw ends that request and nothing else. */
	function surprised(x: Exchange, error: unknown): void {
		metrics.surprise();
		log.error({ err: error, method: x.req.method, route: x.rule }, "a request failed unexpectedly");
		try {
			x.refuse("INTERNAL");
		} catch {
			x.res.destroy();
		}
	}

	return function handle(req, res, listener, upgrade) {
		const x = new Exchange(req, res, listener, options.patience, upgrade);
		req.on("error", nothing);
		res.on("error", nothing);
		onceClosed(res, () => {
			x.gone = true;
			x.patience.leave();
			record(x);
		});
		if (!accepting()) res.shouldKeepAlive = false;
		serve(x).catch((error: unknown) => surprised(x, error));
	};
}
