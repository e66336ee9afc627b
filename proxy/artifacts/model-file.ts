/**
 * `MLmodel` files on their way to MLflow's pages, out of the store: whole or not at all, and never one that the pages
 * would make code of (`forward/mlmodel.ts` says why, and does the same for runs whose artifacts lie elsewhere).
 */
import { isCode, LARGEST } from "../forward/mlmodel.ts";
import { ARTIFACT, SAFE_HEADERS } from "../safety.ts";
import { download } from "./download.ts";
import { ArtifactError, answer } from "./errors.ts";
import type { Exchange, Shared } from "./exchange.ts";
import { mimeType } from "./mime.ts";
import { attachment, baseName } from "./names.ts";
import { patiently } from "./patience.ts";

export const isModelFile = (key: string): boolean => baseName(key) === "MLmodel";

/** @throws ArtifactError MODEL_FILE_CODE, and what a download throws */
export async function modelFile(x: Exchange, shared: Shared, key: string): Promise<void> {
	const { req, res, signal } = x;
	// A HEAD shows nothing, and of what is not there a download tells what is in its place.
	if (req.method === "HEAD") return await download(x, shared, key);
	const found = await patiently(signal, shared.limits.hold, () => whole(shared, key, signal));
	if (found === undefined) return await download(x, shared, key);
	const { file, etag } = found;
	if (isCode(file)) throw new ArtifactError("MODEL_FILE_CODE");
	shared.moved("down", file.length);
	const headers = [
		...ARTIFACT.headers.slice(SAFE_HEADERS.length),
		...["Content-Type", mimeType(key), "Content-Disposition", attachment(baseName(key))],
		...["Cache-Control", ARTIFACT.cache, "ETag", etag],
	];
	answer(req, res, 200, headers, file);
}

async function whole(shared: Shared, key: string, signal: AbortSignal) {
	const object = await shared.store.get(key, signal);
	if (object === undefined) return undefined;
	const chunks: Buffer[] = [];
	let size = 0;
	for await (const chunk of object.body) {
		size += chunk.length;
		if (size > LARGEST) throw new ArtifactError("MODEL_FILE_CODE");
		chunks.push(chunk);
	}
	return { file: Buffer.concat(chunks), etag: object.etag };
}
