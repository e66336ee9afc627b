/** Downloads over http(s), through the host's proxy (`HTTPS_PROXY`, ...) and with the certificates the host trusts. */
import { createWriteStream } from "node:fs";
import { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { EnvHttpProxyAgent, fetch, type Response } from "undici";
import { hostCa } from "./host-ca.ts";
import type { Report, Step } from "./report.ts";

/** A download that says nothing for so long has failed. */
const SILENCE_MS = 30_000;
const PROBE_MS = 3_000;

let shared: EnvHttpProxyAgent | undefined;

/** For requests that go out the same way. */
export function agent(): EnvHttpProxyAgent {
	const ca = hostCa();
	shared ??= new EnvHttpProxyAgent({ connect: { ca }, requestTls: { ca }, bodyTimeout: SILENCE_MS });
	return shared;
}

/** Whether `url` can be had, found out within three seconds. */
export async function probe(report: Report, url: string, timeoutMs: number = PROBE_MS): Promise<boolean> {
	try {
		const response = await fetch(url, {
			method: "HEAD",
			dispatcher: agent(),
			signal: AbortSignal.timeout(timeoutMs),
		});
		report.log(`probe ${url}: ${response.status}`);
		return response.ok;
	} catch (error) {
		report.log(`probe ${url}: ${reason(error)}`);
		return false;
	}
}

/** @throws Error with the reason, if it does not arrive whole. */
export async function download(url: string, file: string, step: Step): Promise<void> {
	const name = url.slice(url.lastIndexOf("/") + 1);
	let response: Response;
	try {
		// As it lies there: a server that calls an archive an encoding would have it unpacked on the way.
		response = await fetch(url, { dispatcher: agent(), headers: { "accept-encoding": "identity" } });
	} catch (error) {
		throw new Error(`${url}: ${reason(error)}`, { cause: error });
	}
	if (!response.ok || !response.body) throw new Error(`${url}: ${response.status} ${response.statusText}`);
	const total = Number(response.headers.get("content-length") ?? 0);
	let done = 0;
	let told = 0;
	const counter = new Transform({
		transform(chunk: Buffer, _encoding, next) {
			done += chunk.length;
			if (performance.now() - told > 1000) {
				told = performance.now();
				step.detail(`downloading ${name}: ${mebibytes(done)}${total ? ` of ${mebibytes(total)}` : ""} MiB`);
			}
			next(null, chunk);
		},
	});
	try {
		await pipeline(Readable.fromWeb(response.body), counter, createWriteStream(file));
	} catch (error) {
		throw new Error(`${url}: ${reason(error)}`, { cause: error });
	}
	if (total && done !== total) throw new Error(`${url}: ${done} of ${total} bytes arrived`);
}

const mebibytes = (bytes: number) => Math.round(bytes / 2 ** 20);

/** fetch says "fetch failed" and keeps why in the cause. */
function reason(error: unknown): string {
	let deepest = error;
	while (deepest instanceof Error && deepest.cause) deepest = deepest.cause;
	return deepest instanceof Error ? deepest.message || deepest.name : String(deepest);
}
