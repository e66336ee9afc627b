/** Room on the disk, looked at before something long begins. */
import { existsSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { OpsError } from "./errors.ts";
import type { Report } from "./report.ts";

/** What Node throws where a file cannot grow. */
export const isDiskFull = (error: unknown): boolean =>
	["ENOSPC", "EDQUOT"].includes((error as NodeJS.ErrnoException | undefined)?.code ?? "");

/** Leaves out what there is no room for. */
export function unlessFull(write: () => void): void {
	try {
		write();
	} catch (error) {
		if (!isDiskFull(error)) throw error;
	}
}

export interface DiskNeed {
	/** A path on the disk in question; it need not exist yet. */
	path: string;
	needMiB: number;
	/** What the room is for, e.g. "the container images". */
	purpose: string;
}

/** @throws OpsError DISK_FULL with required and found room. */
export async function ensureDiskSpace(report: Report, { path, needMiB, purpose }: DiskNeed): Promise<void> {
	let folder = path;
	while (!existsSync(folder) && folder !== dirname(folder)) folder = dirname(folder);
	const { bavail, bsize } = await statfs(folder);
	const freeMiB = Math.floor((bavail * bsize) / 2 ** 20);
	report.log(`${folder}: ${freeMiB} MiB free, ${needMiB} MiB wanted for ${purpose}`);
	if (freeMiB >= needMiB) return;
	throw new OpsError({
		code: "DISK_FULL",
		kind: "precondition",
		what: `The disk is too full for ${purpose}.`,
		why: `${folder} has ${freeMiB} MiB free; ${needMiB} MiB are needed.`,
		fix: `Free ${needMiB - freeMiB} MiB or more on the disk of ${folder} and run this again.`,
	});
}
