/** What the door counts, and the listener that Prometheus reads it from. It has no other route. */
import { createServer, type Server } from "node:http";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { DoorErrorCode } from "./errors.ts";
import type { RouteClass } from "./roles.ts";

/** What a request was for, as a label: the class of its route, or the door's own. */
export type Kind = RouteClass | "page" | "door" | "unknown";

/** Numbers read when they are asked for. */
export interface Live {
	transfers(): number;
	upstream(): { connected: number; running: number; queued: number };
}

interface Served {
	/** Requests by status. */
	statuses: Map<number, number>;
	/** Seconds that have not been observed yet. */
	took: number[];
	timer: { observe(seconds: number): void };
}

/** Observations of one kind. Many at once cost a quarter of what they cost one by one. */
const AT_ONCE = 64;

function observe({ took, timer }: Served): void {
	for (const seconds of took.splice(0)) timer.observe(seconds);
}

export class Metrics {
	readonly registry = new Registry();
	readonly #refusals: Counter<"code">;
	readonly #seconds: Histogram<"class">;
	readonly #surprises: Counter;
	readonly #held: Histogram<"part" | "outcome">;
	readonly #recovered: Counter<"how">;
	readonly #moved: Readonly<Record<"down" | "up", { inc(bytes: number): void }>>;
	/** By listener and kind. prom-client hashes its labels at each call, so requests are counted here until it is asked. */
	readonly #served = new Map<string, Map<Kind, Served>>();

	constructor(live: Live) {
		const registers = [this.registry];
		collectDefaultMetrics({ register: this.registry });
		const served = this.#served;
		new Counter({
			name: "door_requests_total",
			help: "Requests, by listener, class of the route and status",
			labelNames: ["listener", "class", "status"],
			registers,
			collect() {
				this.reset();
				for (const [listener, kinds] of served) {
					for (const [kind, { statuses }] of kinds) {
						for (const [status, count] of statuses) this.inc({ listener, class: kind, status }, count);
					}
				}
			},
		});
		this.#refusals = new Counter({
			name: "door_refusals_total",
			help: "Answers of the door itself that refused a request, by code",
			labelNames: ["code"],
			registers,
		});
		this.#seconds = new Histogram({
			name: "door_request_seconds",
			help: "From the request's headers to the last byte of its answer",
			labelNames: ["class"],
			buckets: [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120],
			registers,
			collect() {
				for (const kinds of served.values()) for (const one of kinds.values()) observe(one);
			},
		});
		this.#surprises = new Counter({
			name: "door_unexpected_errors_total",
			help: "Errors that nothing expected; each has a line in the log",
			registers,
		});
		this.#held = new Histogram({
			name: "door_held_seconds",
			help: "How long requests waited for a part, and how that ended: there, late, full, gone",
			labelNames: ["part", "outcome"],
			buckets: [0.1, 0.5, 1, 2.5, 5, 10, 20, 45, 90],
			registers,
		});
		this.#recovered = new Counter({
			name: "door_recovered_creates_total",
			help: "Creates whose answer was lost: found in MLflow's database, or asked for again",
			labelNames: ["how"],
			registers,
		});
		const bytes = new Counter({
			name: "door_artifact_bytes_total",
			help: "Bytes of artifacts that went to clients (down) or came from them (up)",
			labelNames: ["way"],
			registers,
		});
		this.#moved = { down: bytes.labels({ way: "down" }), up: bytes.labels({ way: "up" }) };
		new Gauge({
			name: "door_transfers",
			help: "Requests that are forwarded or move artifacts right now",
			registers,
			collect() {
				this.set(live.transfers());
			},
		});
		new Gauge({
			name: "door_upstream_requests",
			help: "Connections to the tracking server, and requests on them",
			labelNames: ["state"],
			registers,
			collect() {
				for (const [state, value] of Object.entries(live.upstream())) this.set({ state }, value);
			},
		});
	}

	request(listener: string, kind: Kind, status: number, seconds: number): void {
		const served = this.#servedBy(listener, kind);
		const { statuses, took } = served;
		statuses.set(status, (statuses.get(status) ?? 0) + 1);
		took.push(seconds);
		if (took.length >= AT_ONCE) observe(served);
	}

	#servedBy(listener: string, kind: Kind): Served {
		let kinds = this.#served.get(listener);
		if (kinds === undefined) {
			kinds = new Map();
			this.#served.set(listener, kinds);
		}
		let served = kinds.get(kind);
		if (served === undefined) {
			served = { statuses: new Map(), took: [], timer: this.#seconds.labels({ class: kind }) };
			kinds.set(kind, served);
		}
		return served;
	}

	refusal(code: DoorErrorCode): void {
		this.#refusals.inc({ code });
	}

	/** Bytes of artifacts. */
	moved(way: "down" | "up", bytes: number): void {
		this.#moved[way].inc(bytes);
	}

	/** @param count multipart uploads that are under way or wait to be aborted */
	uploads(count: () => number): void {
		new Gauge({
			name: "door_unfinished_uploads",
			help: "Multipart uploads that are under way or wait to be aborted",
			registers: [this.registry],
			collect() {
				this.set(count());
			},
		});
	}

	/** A request has waited for a part, or could not. */
	held(part: string, outcome: string, seconds: number): void {
		this.#held.observe({ part, outcome }, seconds);
	}

	/** @param waiting requests that wait now, by part that is held */
	holds(waiting: () => readonly { part: string; reason: string; waiting: number }[]): void {
		new Gauge({
			name: "door_holds",
			help: "Requests that wait for a part that is away or about to go; no line for a part that is not held",
			labelNames: ["part", "reason"],
			registers: [this.registry],
			collect() {
				this.reset();
				for (const { part, reason, waiting: count } of waiting()) this.set({ part, reason }, count);
			},
		});
	}

	/** A create whose answer was lost: what it made was found, or it was asked for again. */
	recovered(how: "found" | "repeated"): void {
		this.#recovered.inc({ how });
	}

	surprise(): void {
		this.#surprises.inc();
	}

	/** Serves `GET /metrics` on an address of its own. */
	async listen(address: string, port: number): Promise<Server> {
		const server = createServer((req, res) => {
			if (req.method !== "GET" || req.url !== "/metrics") {
				res.writeHead(404).end();
				return;
			}
			this.registry.metrics().then(
				(text) => res.writeHead(200, { "content-type": this.registry.contentType }).end(text),
				() => res.writeHead(500).end(),
			);
		});
		server.requestTimeout = 10_000;
		await new Promise<void>((resolve, reject) => {
			server.once("error", reject).listen(port, address, () => resolve());
		});
		return server;
	}
}
