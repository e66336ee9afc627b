/** Artifacts of a run, of two sizes, and the files that they are made of. */
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { api } from "./api.ts";
import { moveAll, signed } from "./curl.ts";
import { QUICK, say } from "./measure.ts";
import { AT, origin, type Site } from "./site.ts";

export const MB = 1e6;
export const GB = 1e9;
export const SIZES = ["200 MB", "2 GB"] as const;
export type Size = (typeof SIZES)[number];
/** In a quick run a hundredth of what they are called. */
const SCALE = QUICK ? 0.01 : 1;
const BYTES: Record<Size, number> = { "200 MB": 200 * MB * SCALE, "2 GB": 2 * GB * SCALE };

export interface Stored {
	name: string;
	bytes: number;
	/** In the bucket. */
	key: string;
	run: string;
	/** The same bytes on disk. */
	file: string;
}

const BLOCK = 4 * 1024 * 1024;

/** A file that does not compress and repeats nothing. */
async function write(file: string, bytes: number): Promise<void> {
	const out = await open(file, "w");
	const block = randomBytes(BLOCK);
	for (let left = bytes, i = 0; left > 0; left -= BLOCK, i++) {
		block.writeUInt32LE(i, 0);
		await out.write(block, 0, Math.min(left, BLOCK));
	}
	await out.close();
}

let made: Promise<Record<Size, Stored>> | undefined;

/** Made once in a run of the bench. */
export function artifacts(site: Site): Promise<Record<Size, Stored>> {
	made ??= make(site);
	return made;
}

async function make(site: Site): Promise<Record<Size, Stored>> {
	say("artifacts");
	const { run } = (await api(origin(AT.mlflow), "runs/create", { experiment_id: "0" })) as {
		run: { info: { run_id: string } };
	};
	const id = run.info.run_id;
	const entries: [Size, Stored][] = [];
	for (const size of SIZES) {
		const name = `${size.replace(" ", "").toLowerCase()}.bin`;
		const file = join(site.folder, name);
		if (!existsSync(file)) await write(file, BYTES[size]);
		const key = `0/${id}/artifacts/${name}`;
		await moveAll({ ...signed(site, "PUT", key), upload: file }, BYTES[size]);
		entries.push([size, { name, bytes: BYTES[size], key, run: id, file }]);
	}
	return Object.fromEntries(entries) as Record<Size, Stored>;
}
