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

export class Metrics {
	readonly registry = new Registry();
	readonly #requests: Counter<"listener" | "class" | "status">;
	readonly #refusals: Counter<"code">;
	readonly #seconds: Histogram<"class">;
	readonly #surprises: Counter;
	readonly #held: Histogram<"part" | "outcome">;
	readonly #recovered: Counter<"how">;
	readonly #moved: Readonly<Record<"down" | "up", { inc(bytes: number): void }>>;
	/** prom-client hashes its labels at each call. What was bound once is kept. */
	readonly #bound = new Map<string, { inc(): void }>();
	readonly #timers = new Map<Kind, { observe(seconds: number): void }>();

	constructor(live: Live) {
		const registers = [this.registry];
		collectDefaultMetrics({ register: this.registry });
		this.#requests = new Counter({
			name: "door_requests_total",
			help: "Requests, by listener, class of the route and status",
			labelNames: ["listener", "class", "status"],
			registers,
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
		const key = `${listener} ${kind} ${status}`;
		let bound = this.#bound.get(key);
		if (bound === undefined) {
			bound = this.#requests.labels({ listener, class: kind, status: String(status) });
			this.#bound.set(key, bound);
		}
		bound.inc();
		let timer = this.#timers.get(kind);
		if (timer === undefined) {
			timer = this.#seconds.labels({ class: kind });
			this.#timers.set(kind, timer);
		}
		timer.observe(seconds);
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
