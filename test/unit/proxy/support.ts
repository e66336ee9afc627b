/** A door on loopback with accounts in memory, an upstream that records what it got, and a raw client. */
import {
	createServer,
	request as httpRequest,
	type IncomingMessage,
	type Server,
	type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";
import { pino } from "pino";
import type { Answered, RequestAudit } from "../../../proxy/audit/requests.ts";
import type { Authority, Identity, Pages, RequestFacts, Verdict } from "../../../proxy/authority.ts";
import { type Door, type DoorOptions, openDoor } from "../../../proxy/door.ts";
import type { Role } from "../../../proxy/roles.ts";

export { eventually, exchange, quiet, Raw } from "../../support/raw.ts";

export const HOST = "door.test:5000";

/** Tokens named after their role, sessions named after their role, and what a test changes about them. */
export class MemoryAuthority implements Authority {
	readonly revoked = new Set<string>();
	/** Milliseconds that each verification takes. */
	delay = 0;
	/** Verifications wait for it. */
	until: Promise<void> | undefined;
	/** Verifications begun. */
	asked = 0;
	broken = false;
	/** What everybody is told. */
	refusal: Verdict | undefined;
	facts: RequestFacts | undefined;

	async authenticate(facts: RequestFacts): Promise<Verdict> {
		this.facts = facts;
		this.asked++;
		await this.until;
		if (this.refusal) return this.refusal;
		if (this.broken) throw new Error("the store is on fire");
		if (this.delay > 0) await new Promise((resolve) => setTimeout(resolve, this.delay));
		const { authorization, cookie } = facts.headers;
		const basic = /^Basic (.+)$/.exec(authorization ?? "")?.[1];
		const token =
			basic === undefined
				? /^Bearer (.+)$/.exec(authorization ?? "")?.[1]
				: Buffer.from(basic, "base64").toString().split(":")[1];
		if (authorization !== undefined) return this.#verdict("token", token);
		const session = /(?:^|; )session=(\w+)/.exec(cookie ?? "")?.[1];
		return session === undefined
			? { ok: false, presented: false, reason: "NO_CREDENTIAL" }
			: this.#verdict("session", session);
	}

	#verdict(kind: "token" | "session", credential: string | undefined): Verdict {
		const role = (["viewer", "editor", "admin"] as const).find((name) => name === credential);
		if (role === undefined || credential === undefined) {
			return { ok: false, presented: true, reason: kind === "token" ? "TOKEN_INVALID" : "SESSION_INVALID" };
		}
		if (this.revoked.has(role)) return { ok: false, presented: true, reason: "TOKEN_REVOKED" };
		return { ok: true, identity: { kind, user: `${role}-user`, role: role satisfies Role, credential } };
	}

	checkCsrf(facts: RequestFacts, identity: Identity): string | undefined {
		if (identity.kind !== "session") return undefined;
		return facts.headers["x-csrf-token"] === `csrf-${identity.credential}` ? undefined : "CSRF_TOKEN";
	}

	/** What an answer to a session is to carry. */
	cookies: string[] = [];

	setCookies(_facts: RequestFacts, identity: Identity): string[] {
		return identity.kind === "session" ? this.cookies : [];
	}

	clearPlanted(): string[] {
		return ["planted=; Max-Age=0"];
	}

	stillValid(identity: Identity): boolean {
		return !this.revoked.has(identity.role);
	}

	jwks() {
		return { keys: [{ kid: "one" }] };
	}

	async checks() {
		return [{ name: "postgres", ok: !this.broken, ms: 1 }];
	}
}

export interface Seen {
	method: string;
	url: string;
	headers: Record<string, string>;
	rawHeaders: string[];
	body: Buffer;
	/** The request came to its end. */
	whole: boolean;
}

export class Upstream {
	readonly seen: Seen[] = [];
	/** Requests whose connection broke before they were answered. */
	broken = 0;
	connections = 0;
	answer: (req: IncomingMessage, res: ServerResponse, seen: Seen) => void = (_req, res) => {
		res.setHeader("content-type", "application/json");
		res.end('{"from":"upstream"}');
	};
	/** Answers before the request's body has arrived. */
	early: ((req: IncomingMessage, res: ServerResponse) => void) | undefined;
	readonly server: Server;

	constructor() {
		this.server = createServer((req, res) => {
			const chunks: Buffer[] = [];
			const seen: Seen = {
				method: req.method ?? "",
				url: req.url ?? "",
				headers: Object.fromEntries(Object.entries(req.headers).map(([k, v]) => [k, String(v)])),
				rawHeaders: req.rawHeaders,
				body: Buffer.alloc(0),
				whole: false,
			};
			this.seen.push(seen);
			req.on("error", () => {});
			res.on("error", () => {});
			res.on("close", () => {
				if (!res.writableFinished) this.broken++;
			});
			if (this.early) return this.early(req, res);
			req.on("data", (chunk) => chunks.push(chunk));
			req.on("end", () => {
				seen.body = Buffer.concat(chunks);
				seen.whole = true;
				this.answer(req, res, seen);
			});
		});
		this.server.keepAliveTimeout = 60_000;
		this.server.on("connection", (socket) => {
			this.connections++;
			socket.on("close", () => this.connections--);
		});
	}

	async listen(port = 0): Promise<number> {
		await new Promise<void>((resolve) => this.server.listen(port, "127.0.0.1", resolve));
		return (this.server.address() as AddressInfo).port;
	}

	async close(): Promise<void> {
		this.server.closeAllConnections();
		await new Promise((resolve) => this.server.close(resolve));
	}
}

export class TestPages implements Pages {
	readonly paths = ["/login", "/invite/"];
	handled: { path: string; query: string; origin: string }[] = [];

	async handle(
		req: IncomingMessage,
		res: ServerResponse,
		facts: RequestFacts & { path: string; query: URLSearchParams },
	) {
		this.handled.push({ path: facts.path, query: facts.query.toString(), origin: facts.origin });
		if (facts.path === "/invite/broken") throw new Error("a page failed");
		if (req.method === "POST") for await (const _ of req);
		res.writeHead(200, { "content-type": "text/html" }).end("<p>a page</p>");
	}
}

/** What the pipeline told the audit trail. */
export class MemoryAudit implements RequestAudit {
	full = false;
	readonly told: Answered[] = [];

	answered(request: Answered): void {
		this.told.push(request);
	}
}

export interface Rig {
	door: Door;
	port: number;
	origin: string;
	upstream: Upstream;
	authority: MemoryAuthority;
	pages: TestPages;
	audit: MemoryAudit;
	/** Lines of the door's log. */
	logged: Record<string, unknown>[];
	close(): Promise<void>;
}

export async function rig(
	options: Partial<
		Pick<
			DoorOptions,
			"transfers" | "artifacts" | "rates" | "reads" | "runs" | "inference" | "holds" | "creates"
		>
	> & {
		drainSeconds?: number;
		holdSeconds?: number;
		uiFolder?: string;
		/** The inference API's origin. */
		api?: string;
	} = {},
): Promise<Rig> {
	const upstream = new Upstream();
	const upstreamPort = await upstream.listen();
	const authority = new MemoryAuthority();
	const pages = new TestPages();
	const audit = new MemoryAudit();
	const logged: Record<string, unknown>[] = [];
	const log = pino({ level: "debug" }, { write: (line: string) => void logged.push(JSON.parse(line)) });
	const door = await openDoor({
		settings: {
			listeners: [
				{ name: "edge", bind: "127.0.0.1", port: 0, hosts: [HOST] },
				{ name: "ident", bind: "127.0.0.1", port: 0, hosts: [HOST] },
			],
			mlflow: { url: `http://127.0.0.1:${upstreamPort}` },
			metrics: undefined,
			...(options.uiFolder === undefined ? {} : { uiFolder: options.uiFolder }),
			name: "lab",
			api: options.api === undefined ? undefined : { url: options.api },
			drainSeconds: options.drainSeconds ?? 5,
			holdSeconds: options.holdSeconds ?? 90,
		},
		authority,
		pages,
		audit,
		log,
		...(options.transfers === undefined ? {} : { transfers: options.transfers }),
		...(options.reads === undefined ? {} : { reads: options.reads }),
		...(options.runs === undefined ? {} : { runs: options.runs }),
		...(options.artifacts === undefined ? {} : { artifacts: options.artifacts }),
		...(options.rates === undefined ? {} : { rates: options.rates }),
		...(options.creates === undefined ? {} : { creates: options.creates }),
		...(options.holds === undefined ? {} : { holds: options.holds }),
		...(options.inference === undefined ? {} : { inference: options.inference }),
	});
	const port = door.listeners[0]?.port ?? 0;
	return {
		door,
		port,
		origin: `http://127.0.0.1:${port}`,
		upstream,
		authority,
		pages,
		audit,
		logged,
		async close() {
			await Promise.all([door.stop(), upstream.close()]);
		},
	};
}

/** The bytes of a request with the right Host, and a token of a role unless `role` is null. */
export function request(
	method: string,
	target: string,
	{ role = "admin", headers = [], body = "" }: { role?: Role | null; headers?: string[]; body?: string } = {},
): string {
	return [
		`${method} ${target} HTTP/1.1`,
		`Host: ${HOST}`,
		...(role === null ? [] : [`Authorization: Bearer ${role}`]),
		...headers,
		"",
		body,
	].join("\r\n");
}

/** An answer, whole. */
export interface Said {
	status: number;
	headers: IncomingMessage["headers"];
	body: Buffer;
}

export interface Asked {
	/** `null`: no credential. */
	role?: Role | null;
	body?: string;
	headers?: Readonly<Record<string, string>>;
}

/** A request on a connection of its own, as a viewer unless said. `left` ends it without waiting for the answer. */
export function ask(
	port: number,
	method: string,
	path: string,
	{ role = "viewer", body, headers = {} }: Asked = {},
): { answer: Promise<Said>; left(): void } {
	const sent = httpRequest({
		port,
		host: "127.0.0.1",
		method,
		path,
		agent: false,
		headers: {
			host: HOST,
			...(role === null ? {} : { authorization: `Bearer ${role}` }),
			...(body === undefined
				? {}
				: { "content-type": "application/json", "content-length": Buffer.byteLength(body) }),
			...headers,
		},
	});
	const answer = new Promise<Said>((resolve, reject) => {
		sent.on("error", reject);
		sent.on("response", (res) => {
			const chunks: Buffer[] = [];
			res.on("data", (chunk) => chunks.push(chunk));
			res.on("error", reject);
			res.on("end", () =>
				resolve({ status: res.statusCode ?? 0, headers: res.headers, body: Buffer.concat(chunks) }),
			);
		});
	});
	answer.catch(() => {});
	sent.end(body);
	return { answer, left: () => sent.destroy() };
}
