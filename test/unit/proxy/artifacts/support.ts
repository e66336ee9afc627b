/** Artifacts behind a plain HTTP server, with a wire to the store that a test can cut, and runs in memory. */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer as createHttpServer, type RequestListener, type Server } from "node:http";
import { type AddressInfo, connect, createServer as createNetServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import type { ArtifactsOptions } from "../../../../proxy/artifacts/index.ts";
import {
	type ArtifactKind,
	type Artifacts,
	openArtifacts,
	PART_PATH,
} from "../../../../proxy/artifacts/index.ts";
import type { TestMinio } from "../../../support/minio.ts";

const listen = (server: Server | ReturnType<typeof createNetServer>): Promise<number> =>
	new Promise((resolve) => {
		server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port));
	});

/** The way to the store. */
export class Wire {
	/** New connections are closed at once. */
	dead = false;
	/** Called with what comes from the store or goes to it; returns what goes on. */
	tamper: ((bytes: Buffer, towards: "store" | "door") => Buffer) | undefined;
	/** Bytes that came from the store. */
	received = 0;
	/** Bytes that went to it. */
	sent = 0;
	#pairs = new Set<[Socket, Socket]>();
	readonly #server: ReturnType<typeof createNetServer>;

	constructor(port: number) {
		this.#server = createNetServer((near) => {
			near.on("error", () => {});
			if (this.dead) {
				near.destroy();
				return;
			}
			const far = connect(port, "127.0.0.1");
			const pair: [Socket, Socket] = [near, far];
			this.#pairs.add(pair);
			const forward = (from: Socket, to: Socket, towards: "store" | "door") => {
				from.on("error", () => {});
				from.on("data", (bytes: Buffer) => {
					if (towards === "door") this.received += bytes.length;
					else this.sent += bytes.length;
					if (!to.write(this.tamper?.(bytes, towards) ?? bytes)) {
						from.pause();
						to.once("drain", () => from.resume());
					}
				});
				from.on("close", () => {
					to.destroy();
					this.#pairs.delete(pair);
				});
			};
			forward(near, far, "store");
			forward(far, near, "door");
		});
	}

	listen(): Promise<number> {
		return listen(this.#server);
	}

	get open(): number {
		return this.#pairs.size;
	}

	cut(): void {
		for (const [near, far] of this.#pairs) {
			near.destroy();
			far.destroy();
		}
	}

	close(): void {
		this.cut();
		this.#server.close();
	}
}

export interface Rig {
	artifacts: Artifacts;
	wire: Wire;
	origin: string;
	port: number;
	/** What MLflow answers, by path and query; everything else is 404. */
	mlflow: Map<string, unknown>;
	asked: string[];
	logged: Record<string, unknown>[];
	/** Ends what is running, as the request pipeline does for a credential that was revoked. */
	end(): void;
	/** Of the last request. */
	outcome: string | undefined;
	journal: string;
	close(): Promise<void>;
}

const ROUTES: [RegExp, (method: string) => ArtifactKind][] = [
	[
		/^\/artifacts\/(.*)$/,
		(method) => (method === "PUT" ? "upload" : method === "DELETE" ? "delete" : "download"),
	],
	[/^\/artifacts()$/, () => "list"],
	[/^\/run-list()$/, () => "run-list"],
	[/^\/run()$/, () => "run-artifact"],
	[/^\/version()$/, () => "version-artifact"],
	[/^\/create\/(.*)$/, () => "mpu-create"],
	[/^\/complete\/(.*)$/, () => "mpu-complete"],
	[/^\/abort\/(.*)$/, () => "mpu-abort"],
	[new RegExp(`^${PART_PATH}()$`), () => "mpu-part"],
];

export async function rig(
	minio: TestMinio,
	options: Partial<Pick<ArtifactsOptions, "limits" | "pace" | "journal">> = {},
): Promise<Rig> {
	const wire = new Wire(minio.port);
	const folder = mkdtempSync(join(tmpdir(), "mlgate-test-artifacts-"));
	const mlflow = new Map<string, unknown>();
	const asked: string[] = [];
	const logged: Record<string, unknown>[] = [];
	const journal = options.journal ?? join(folder, "uploads");
	const artifacts = openArtifacts({
		store: {
			url: `http://127.0.0.1:${await wire.listen()}`,
			bucket: minio.bucket,
			user: minio.user,
			secretFile: minio.secretFile,
		},
		mlflow: async (path) => {
			asked.push(path);
			const body = mlflow.get(path);
			if (body instanceof Error) throw body;
			return body === undefined ? { status: 404, body: undefined } : { status: 200, body };
		},
		log: pino({ level: "debug" }, { write: (line: string) => void logged.push(JSON.parse(line)) }),
		...options,
		journal,
	});
	const endings = new Set<AbortController>();
	const server = createHttpServer({ requestTimeout: 0 });
	const handle: RequestListener = (req, res) => {
		const [path = "", query = ""] = String(req.url).split("?", 2);
		const found = ROUTES.map(([pattern, kind]) => ({ match: pattern.exec(path), kind })).find((r) => r.match);
		const ending = new AbortController();
		endings.add(ending);
		artifacts
			.handle(req, res, {
				kind: found?.kind(req.method ?? "") ?? "download",
				path: decodeURIComponent(found?.match?.[1] ?? ""),
				query: new URLSearchParams(query),
				signal: ending.signal,
				origin: `http://${req.headers.host}`,
				owner: "somebody",
			})
			.then(
				(outcome) => {
					self.outcome = outcome;
					if (outcome === "fallback") res.writeHead(299).end("MLflow's answer");
				},
				(error) => {
					self.outcome = String(error);
					res.destroy();
				},
			)
			.finally(() => endings.delete(ending));
	};
	server.on("request", handle);
	// As the door's own server: nobody is told to go on before it is known that they may.
	server.on("checkContinue", handle);
	const port = await listen(server);
	const self: Rig = {
		artifacts,
		wire,
		port,
		origin: `http://127.0.0.1:${port}`,
		mlflow,
		asked,
		logged,
		outcome: undefined,
		journal,
		end() {
			for (const ending of endings) ending.abort();
		},
		async close() {
			server.closeAllConnections();
			await new Promise((resolve) => server.close(resolve));
			await artifacts.close();
			wire.close();
			rmSync(folder, { recursive: true, force: true });
		},
	};
	return self;
}

/** MLflow's answer about a run. */
export const runAt = (uri: string) => ({ run: { info: { artifact_uri: uri } } });
export const runPath = (id: string) => `/api/2.0/mlflow/runs/get?run_id=${id}`;

export async function eventually(holds: () => boolean | Promise<boolean>, ms = 10_000): Promise<void> {
	const end = performance.now() + ms;
	while (!(await holds())) {
		if (performance.now() > end) throw new Error(`still not so after ${ms} ms: ${holds}`);
		await new Promise((resolve) => setTimeout(resolve, 20));
	}
}

/** Bytes that are different everywhere, so that none can be in another's place. */
export function pattern(length: number, seed = 1): Buffer {
	const words = new Uint32Array(Math.ceil(length / 4));
	for (let i = 0, x = seed; i < words.length; i++) {
		x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
		words[i] = x ^ i;
	}
	return Buffer.from(words.buffer, 0, length);
}
