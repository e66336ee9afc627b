/** What the parts use of what they may: memory, and room on their volumes' disk. */
import { PATH, type Part } from "../../infra/contract.ts";
import { type Container, docker, start } from "./docker.ts";

export interface Memory {
	/** Bytes; the engine's own count, without the file cache that it gives back at once. */
	used: number;
	limit: number;
}

export interface Disk {
	/** Bytes that the volume's content takes; missing if counting them takes too long. */
	used?: number;
	/** Bytes that are free on the disk it lies on, and that disk's size. */
	free: number;
	size: number;
}

/** By container id. */
export async function memoryOf(containers: readonly Container[]): Promise<ReadonlyMap<string, Memory>> {
	const running = containers.filter(({ State }) => State.Status === "running");
	if (running.length === 0) return new Map();
	const args = ["stats", "--no-stream", "--no-trunc", "--format", "{{.ID}}\t{{.MemUsage}}"];
	const lines = (await docker([...args, ...running.map(({ Id }) => Id)])).split("\n");
	return new Map(
		lines.flatMap((line): [string, Memory][] => {
			const [id = "", usage = ""] = line.split("\t");
			const [used, limit] = usage.split(" / ").map(bytesOf);
			return used === undefined || limit === undefined ? [] : [[id, { used, limit }]];
		}),
	);
}

const UNITS: Readonly<Record<string, number>> = { B: 0, KiB: 1, MiB: 2, GiB: 3, TiB: 4 };

/** `123.4MiB`, as the engine writes it. */
export function bytesOf(text: string): number | undefined {
	const [, number, unit = ""] = /^([\d.]+)([A-Za-z]+)$/.exec(text.trim()) ?? [];
	const power = UNITS[unit];
	return number === undefined || power === undefined ? undefined : Math.round(Number(number) * 1024 ** power);
}

export interface Room extends Omit<Disk, "used"> {
	/** Where it was asked for, in the container. */
	place: string;
}

/** The disk of each place, asked from inside a container. Empty if nobody answers. */
export async function roomOf(container: Container, places: readonly string[]): Promise<Room[]> {
	const { stdout } = await start(["exec", container.Id, "df", "-Pk", ...places], { timeoutMs: 15_000 });
	const lines = stdout.trim().split("\n").slice(1);
	return lines.flatMap((line, i): Room[] => {
		const [used, free] = line.trim().split(/\s+/).slice(2).map(Number);
		const place = places[i];
		if (used === undefined || free === undefined || place === undefined || Number.isNaN(used + free))
			return [];
		// Without what the file system keeps for root.
		return [{ place, free: free * 1024, size: (used + free) * 1024 }];
	});
}

/** Where each part keeps what grows. */
const PLACES: Readonly<Partial<Record<Part, string>>> = {
	...PATH.data,
	mlflow: PATH.scratch,
};

/** Seconds: a store of a million files is not counted while somebody waits. */
const COUNTING = 4;

/** Asked from inside, because the volume's folder on the host is the engine's own. Undefined: it has none, or does not run. */
export async function diskOf(part: Part, container: Container): Promise<Disk | undefined> {
	const place = PLACES[part];
	if (place === undefined || container.State.Status !== "running") return undefined;
	const script = `df -Pk "$0" | tail -n 1; timeout ${COUNTING} du -sk "$0" 2>/dev/null`;
	const { stdout } = await start(["exec", container.Id, "sh", "-c", script, place], { timeoutMs: 15_000 });
	const [df = "", du = ""] = stdout.split("\n");
	const [, size, , free] = df.trim().split(/\s+/).map(Number);
	const used = Number.parseInt(du, 10);
	if (!size || free === undefined || Number.isNaN(free)) return undefined;
	return { free: free * 1024, size: size * 1024, ...(Number.isNaN(used) ? {} : { used: used * 1024 }) };
}
