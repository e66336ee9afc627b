/** A whole door: its listeners, its pipeline, and the end of it. */
import type { Server } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { artifactsAnswerer, partRoute } from "./artifacts/answerer.ts";
import { type ArtifactsOptions, mlflowOver, openArtifacts } from "./artifacts/index.ts";
import { modelsOnly } from "./artifacts/models-only.ts";
import type { RequestAudit } from "./audit/requests.ts";
import type { Authority, Check, Pages } from "./authority.ts";
import { onceClosed } from "./closed.ts";
import { type Creates, createsAnswerer } from "./creates/index.ts";
import { doorRoutes } from "./door/routes.ts";
import { forwardTo } from "./forward/index.ts";
import { modelFiles } from "./forward/mlmodel.ts";
import { type TransferOptions, Transfers } from "./forward/transfers.ts";
import { databaseAnswers, openUpstream, probeUpstream, serverAnswers } from "./forward/upstream.ts";
import { holding } from "./hold/answerer.ts";
import { Holds, type HoldsOptions } from "./hold/holds.ts";
import { OWN_DATABASE } from "./hold/parts.ts";
import { holdUpstream } from "./hold/upstream.ts";
import { type InferenceOptions, openInference } from "./inference/index.ts";
import { type BoundListener, ownAddress, resolveListeners } from "./listeners.ts";
import type { Log } from "./log.ts";
import { readEarly } from "./menu/early.ts";
import { menuOver } from "./menu/index.ts";
import { Metrics } from "./metrics.ts";
import { type Handle, openPipeline } from "./pipeline.ts";
import { RateLimits, type Rates } from "./rates.ts";
import { type ReadsOptions, readsAnswerer } from "./reads/index.ts";
import { Sharing } from "./reads/sharing.ts";
import { type RunsOptions, runsAnswerer } from "./runs/index.ts";
import { createDoorServer } from "./server.ts";
import type { DoorSettings } from "./settings.ts";
import { Gateway, type GatewayOptions } from "./tailnet/gateway.ts";
import type { PublicName } from "./tailnet/public-name.ts";
import { uiAnswerer } from "./ui/index.ts";

export interface DoorOptions {
	settings: Pick<DoorSettings, "listeners" | "metrics" | "drainSeconds" | "holdSeconds"> &
		Partial<Pick<DoorSettings, "name" | "api" | "uiFolder" | "tailnet">> & {
			mlflow: Pick<DoorSettings["mlflow"], "url">;
		};
	authority: Authority;
	pages: Pages;
	audit: RequestAudit;
	log: Log;
	/** Where artifacts lie. Without it MLflow answers what it can of them. */
	artifacts?: Pick<ArtifactsOptions, "store" | "journal" | "limits" | "pace">;
	/** What makes creates exact-once. Without it they are forwarded, and an answer that is lost is a 503. */
	creates?: Pick<Creates, "intents" | "finder">;
	/** What the public calls us. */
	publicName?: Pick<PublicName, "host">;
	/** For tests. */
	gateway?: Pick<GatewayOptions, "lookup" | "now">;
	/** Milliseconds; for tests. */
	transfers?: Pick<TransferOptions, "sweep" | "clientIdle">;
	/** What one credential may ask; for tests. */
	rates?: Rates;
	/** For tests. */
	reads?: Pick<ReadsOptions, "memory"> & { unseen?: number };
	/** Bytes; for tests. */
	runs?: Pick<RunsOptions, "memory" | "largest">;
	/** For tests. */
	inference?: Pick<InferenceOptions, "patience" | "most">;
	/** For tests. */
	holds?: Pick<HoldsOptions, "most" | "longest">;
}

export interface Door {
	/** The listeners as they were bound, with the ports that they got. */
	listeners: readonly BoundListener[];
	metrics: Metrics;
	/** What is held, and who waits for it. */
	holds: Holds;
	/** Requests that are being forwarded, and the connections to MLflow. */
	live(): { transfers: number; connected: number; running: number; queued: number };
	/** Round trips through MLflow: by itself, and to its database. */
	checks(): Promise<Check[]>;
	/** Round trips that write. */
	writes(): Promise<Check[]>;
	/**
	 * Lets what is running finish for at most `drainSeconds`, then cuts it. Whoever comes meanwhile is still answered, on
	 * a connection that closes: one long upload is no reason to shut everybody else out.
	 * @returns whether everything had finished by itself
	 */
	stop(): Promise<boolean>;
}

/** Milliseconds of the drain that are for those who came during it. */
const LATECOMERS_MS = 2_000;

const listen = (server: Server, address: string, port: number): Promise<void> =>
	new Promise((resolve, reject) => {
		server.once("error", reject).listen(port, address, () => {
			server.off("error", reject);
			resolve();
		});
	});

/**
 * @throws {ListenerError}, the error of a port that is taken, or of the store's secret that cannot be read; nothing
 * is left listening then
 */
export async function openDoor({
	settings,
	authority,
	pages,
	audit,
	log,
	artifacts: place,
	creates,
	publicName,
	gateway: finding,
	transfers: pace,
	rates,
	reads,
	runs,
	inference: bounds,
	holds: room,
}: DoorOptions): Promise<Door> {
	let accepting = true;
	const bound = await resolveListeners(
		settings.listeners,
		settings.tailnet && (() => publicName?.host ?? null),
	);
	/** For the door's own looks, which must not wait. */
	const direct = openUpstream(settings.mlflow.url);
	const ownDatabase = async () => (await authority.checks()).every(({ ok }) => ok);
	const holds: Holds = new Holds({
		limit: settings.holdSeconds * 1000,
		probes: {
			[OWN_DATABASE]: ownDatabase,
			// MLflow's word counts, while it is there itself.
			postgres: async () => await (holds.isHeld("mlflow") ? ownDatabase() : databaseAnswers(direct)),
			mlflow: async () =>
				(await serverAnswers(direct)) && (holds.isHeld("postgres") || (await databaseAnswers(direct))),
			minio: async () => (await artifacts?.check())?.ok ?? true,
			api: () => inference.isThere(),
		},
		log,
		told: (...wait) => metrics.held(...wait),
		...room,
	});
	const upstream = holdUpstream(direct, holds);
	const transfers = new Transfers({ upstream, stillValid: authority.stillValid.bind(authority), ...pace });
	const live = () => {
		const { connected, running, queued } = upstream.stats;
		return { transfers: transfers.size, connected, running, queued };
	};
	const inference = openInference({
		stack: settings.name ?? "mlgate",
		api: settings.api?.url,
		transfers,
		...bounds,
	});
	const metrics: Metrics = new Metrics({ transfers: () => transfers.size, upstream: () => upstream.stats });
	const artifacts =
		place &&
		openArtifacts({
			...place,
			mlflow: mlflowOver(upstream),
			log,
			moved: metrics.moved.bind(metrics),
			away: (why) => holds.away("minio", why),
		});
	const limits = new RateLimits(rates);
	const sharing = new Sharing(reads?.unseen);
	metrics.holds(() => holds.list());
	if (artifacts !== undefined) metrics.uploads(() => artifacts.unfinished);
	const checks = async () => (await Promise.all([probeUpstream(direct), artifacts?.check() ?? []])).flat();
	const { tailnet } = settings;
	const answer = openPipeline({
		authority,
		gateway: tailnet && new Gateway({ host: tailnet.gateway, log, ...finding }),
		pages,
		doorRoutes: doorRoutes({ authority, probe: checks, accepting: () => accepting }),
		signedRoutes: new Map(artifacts ? [partRoute(artifacts, authority)] : []),
		answerers: [
			holding(holds, authority.stillValid.bind(authority)),
			inference.answer,
			modelsOnly(mlflowOver(upstream), place?.store.bucket ?? ""),
			menuOver(upstream, settings.uiFolder === undefined ? undefined : readEarly(settings.uiFolder)),
			...(artifacts ? [artifactsAnswerer(artifacts, transfers)] : []),
			modelFiles(upstream),
			...(settings.uiFolder === undefined ? [] : [uiAnswerer(settings.uiFolder, transfers)]),
			runsAnswerer({ upstream, transfers, sharing, rates: limits, ...runs }),
			readsAnswerer({ upstream, transfers, sharing, ...reads }),
			...(creates ? [createsAnswerer({ ...creates, upstream, holds, transfers, metrics })] : []),
			forwardTo(transfers),
		],
		audit,
		rates: limits,
		metrics,
		log,
		patience: holds.limit,
		accepting: () => accepting,
	});

	/** Those who came before the door was told to stop are counted apart from those who came after. */
	const [before, after] = [{ running: 0 }, { running: 0 }];
	const handle: Handle = (req, res, listener, upgrade) => {
		const those = accepting ? before : after;
		those.running++;
		onceClosed(res, () => those.running--);
		answer(req, res, listener, upgrade);
	};
	async function finished(patienceMs: number): Promise<void> {
		const end = performance.now() + patienceMs;
		while (before.running > 0 && performance.now() < end) await sleep(20);
	}

	const servers: Server[] = [];
	let metricsServer: Server | undefined;

	async function close(graceMs: number): Promise<boolean> {
		const end = performance.now() + graceMs;
		accepting = false;
		holds.close();
		inference.endStreams();
		// Connections that fall idle while the others finish.
		const idle = setInterval(() => {
			for (const server of servers) server.closeIdleConnections();
		}, 100);
		await finished(graceMs - LATECOMERS_MS);
		metricsServer?.close();
		inference.endStreams();
		const ended = Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
		const left = Math.max(0, end - performance.now());
		const whole = await Promise.race([ended.then(() => true), sleep(left, false, { ref: false })]);
		clearInterval(idle);
		for (const server of servers) server.closeAllConnections();
		inference.close();
		metricsServer?.closeAllConnections();
		transfers.close();
		await artifacts?.close();
		await direct.destroy();
		await ended;
		return whole;
	}

	try {
		for (const listener of bound) {
			const server = createDoorServer(listener, handle);
			await listen(server, listener.address, listener.port);
			servers.push(server);
			const at = server.address();
			if (typeof at === "object" && at !== null) listener.port = at.port;
			log.info({ listener: listener.name, address: listener.address, port: listener.port }, "listening");
		}
		if (settings.metrics !== undefined) {
			const { host, port } = settings.metrics;
			metricsServer = await metrics.listen(await ownAddress(host), port);
		}
	} catch (error) {
		await close(0);
		throw error;
	}

	return {
		listeners: bound,
		metrics,
		holds,
		live,
		checks,
		writes: async () => (artifacts ? [await artifacts.roundTrip()] : []),
		stop: () => close(settings.drainSeconds * 1000),
	};
}
