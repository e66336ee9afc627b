/** The connections to MLflow. */
import { Pool } from "undici";
import type { Check } from "../authority.ts";

/** Milliseconds, where no other unit is said. */
const LIMITS = {
	/** More requests than this wait for each other. MLflow's threads are far fewer. */
	connections: 256,
	connectTimeout: 10_000,
	/** Below gunicorn's own `--keep-alive`, so that the side which sends is the side which closes. */
	keepAliveTimeout: 10_000,
	/** Searches over many runs, and big artifacts that MLflow fetches whole before their first byte. */
	headersTimeout: 600_000,
	/** Between two chunks of an answer; not counted while the client is the one who is slow. */
	bodyTimeout: 300_000,
	maxHeaderSize: 32 * 1024,
} as const;

/** @param url MLflow's origin */
export function openUpstream(url: string): Pool {
	const { connections, connectTimeout, ...client } = LIMITS;
	return new Pool(url, {
		connections,
		connect: { timeout: connectTimeout },
		keepAliveMaxTimeout: LIMITS.keepAliveTimeout,
		pipelining: 1,
		...client,
	});
}

const PROBE_TIMEOUT = 5_000;

/** MLflow alone, through MLflow to its database, through MLflow to its objects (a folder that no run has). */
const PROBES = [
	{ name: "mlflow", path: "/health" },
	{ name: "tracking database", path: "/api/2.0/mlflow/experiments/search?max_results=1" },
	{ name: "object store", path: "/api/2.0/mlflow-artifacts/artifacts?path=mlgate-probe" },
] as const;

/** Whether MLflow answers a path. */
async function answers(upstream: Pool, path: string): Promise<boolean> {
	const { statusCode, body } = await upstream.request({
		path,
		method: "GET",
		signal: AbortSignal.timeout(PROBE_TIMEOUT),
	});
	await body.dump();
	return statusCode === 200;
}

/** MLflow by itself. */
export const serverAnswers = (upstream: Pool): Promise<boolean> => answers(upstream, PROBES[0].path);
/** MLflow and its database. */
export const databaseAnswers = (upstream: Pool): Promise<boolean> => answers(upstream, PROBES[1].path);

/** Round trips through MLflow. */
export async function probeUpstream(upstream: Pool): Promise<Check[]> {
	return await Promise.all(
		PROBES.map(async ({ name, path }) => {
			const started = performance.now();
			const took = () => Math.round(performance.now() - started);
			try {
				const answer = await upstream.request({
					path,
					method: "GET",
					signal: AbortSignal.timeout(PROBE_TIMEOUT),
				});
				await answer.body.dump();
				const ok = answer.statusCode === 200;
				return { name, ok, ms: took(), ...(ok ? {} : { detail: `status ${answer.statusCode}` }) };
			} catch (error) {
				return {
					name,
					ok: false,
					ms: took(),
					detail: error instanceof Error ? error.message : String(error),
				};
			}
		}),
	);
}
