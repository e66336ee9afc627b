/**
 * Artifacts down: through the door, through stock MLflow (what its client asks for, and what its pages ask for),
 * and from MinIO itself, beside the server and over a line of 1 Gbit/s.
 */
import { artifacts, GB, MB, SIZES, type Stored } from "./frame/artifacts.ts";
import { type Ask, at, bearer, type Moved, move, moveAll, type Place, signed, sum } from "./frame/curl.ts";
import type { Door } from "./frame/door.ts";
import { inTurn, mid, say } from "./frame/measure.ts";
import { alone, difference, type Row, ratio } from "./frame/rows.ts";
import { AT, type Site } from "./frame/site.ts";
import { type Use, type Watched, watching } from "./frame/usage.ts";

const ROUNDS = 3;
const LAST = 1024 * 1024;

type Sides = Record<"direct" | "door" | "client" | "page", (stored: Stored, place?: Place) => Ask>;

/** How each side is asked for the same object. */
const sidesOf = (site: Site, door: Door): Sides => ({
	direct: ({ key }, place) => signed(site, "GET", key, place),
	door: ({ key }, place = "here") => ({
		url: at(AT.door, `/api/2.0/mlflow-artifacts/artifacts/${key}`, place),
		headers: bearer(door.readers[0] ?? ""),
		place,
	}),
	client: ({ key }, place = "here") => ({
		url: at(AT.stock, `/api/2.0/mlflow-artifacts/artifacts/${key}`, place),
		place,
	}),
	page: ({ name, run }, place = "here") => ({
		url: at(AT.stock, `/get-artifact?path=${name}&run_uuid=${run}`, place),
		place,
	}),
});

interface Taken extends Moved {
	use: Use[];
}

const speed = ({ bytes, seconds }: Moved): number => bytes / MB / seconds;
const cpuPerGb = ({ use, bytes }: Taken): number => use.reduce((all, { cpu }) => all + cpu, 0) / (bytes / GB);

export async function measure(site: Site): Promise<Row[]> {
	const stored = await artifacts(site);
	let door = await site.door();
	const sides = sidesOf(site, door);
	const rows: Row[] = [];

	say("whether all sides send the same");
	for (const size of SIZES) {
		const right = await sum(sides.direct(stored[size]));
		// The client's route takes half a minute for the larger one; its length is looked at below.
		const others = size === "200 MB" ? (["door", "client", "page"] as const) : (["door"] as const);
		for (const name of others) {
			if ((await sum(sides[name](stored[size]))) !== right) throw new Error(`${name} sends other bytes`);
		}
		await site.stock.tidy();
	}

	const taken = async (name: keyof Sides, size: (typeof SIZES)[number], place: Place = "here") => {
		const parts: Watched[] = [site.minio, site.mlflow, site.stock, door];
		const { result, use } = await watching(parts, () =>
			moveAll(sides[name](stored[size], place), stored[size].bytes),
		);
		await site.stock.tidy();
		return { ...result, use } satisfies Taken;
	};
	const each = (size: (typeof SIZES)[number], place: Place, names: readonly (keyof Sides)[]) =>
		Object.fromEntries(names.map((name) => [name, () => taken(name, size, place)])) as Record<
			keyof Sides,
			() => Promise<Taken>
		>;

	for (const size of SIZES) {
		say(`${size}, beside the server`);
		const here = await inTurn(ROUNDS, each(size, "here", ["direct", "door", "client", "page"]));
		const large = size === "2 GB";
		const other = (name: string, side: keyof Sides, field: (one: Taken) => number) => ({
			name,
			value: mid(here[side], field),
		});
		const doorSpeed = mid(here.door, speed);
		const first = (one: Taken) => one.first;
		rows.push(
			ratio(
				`${size} down, no line`,
				"MB/s",
				doorSpeed,
				other("MinIO itself", "direct", speed),
				large ? { atLeast: 0.45 } : {},
			),
			ratio(
				`${size} down, no line`,
				"MB/s",
				doorSpeed,
				other("stock, client's route", "client", speed),
				large ? { atLeast: 5 } : {},
			),
			ratio(`${size} down, no line`, "MB/s", doorSpeed, other("stock, page's route", "page", speed)),
			difference(
				`${size} down, first byte`,
				"ms",
				mid(here.door, first),
				other("MinIO itself", "direct", first),
				{ atMost: 20 },
			),
			ratio(
				`${size} down, first byte`,
				"ms",
				mid(here.door, first),
				other("stock, client's route", "client", first),
			),
			ratio(
				`${size} down, CPU of all parts`,
				"s/GB",
				mid(here.door, cpuPerGb),
				other("MinIO itself", "direct", cpuPerGb),
			),
			ratio(
				`${size} down, CPU of all parts`,
				"s/GB",
				mid(here.door, cpuPerGb),
				other("stock, client's route", "client", cpuPerGb),
			),
			...diskRows(size, here),
		);
	}

	say("the last MiB");
	const tail = (name: keyof Sides) => async () => {
		const moved = await move({ ...sides[name](stored["2 GB"]), range: `-${LAST}` });
		if (moved.status !== 206 || moved.bytes !== LAST) throw new Error(`${name}: no range`);
		return moved.seconds * 1000;
	};
	const tails = await inTurn(5, { direct: tail("direct"), door: tail("door") });
	rows.push(
		difference(
			"The last MiB of 2 GB",
			"ms",
			mid(tails.door, Number),
			{ name: "MinIO itself", value: mid(tails.direct, Number) },
			{ atMost: 50 },
		),
	);

	say("2 GB, over a line of 1 Gbit/s");
	const far = await inTurn(ROUNDS, each("2 GB", "far", ["direct", "door"]));
	rows.push(
		ratio(
			"2 GB down, line of 1 Gbit/s",
			"MB/s",
			mid(far.door, speed),
			{ name: "MinIO itself", value: mid(far.direct, speed) },
			{ atLeast: 0.95 },
		),
	);
	const stockFar = await taken("client", "2 GB", "far");
	rows.push(
		ratio("2 GB down, line of 1 Gbit/s", "MB/s", mid(far.door, speed), {
			name: "stock, client's route",
			value: speed(stockFar),
		}),
	);

	for (const [size, times] of [
		["200 MB", 1],
		["2 GB", 1],
		["2 GB", 4],
	] as const) {
		say(`memory: ${times} of ${size}`);
		await door.stop();
		door = await site.door();
		Object.assign(sides, sidesOf(site, door));
		const { use } = await watching([door], () =>
			Promise.all(Array.from({ length: times }, () => moveAll(sides.door(stored[size]), stored[size].bytes))),
		);
		rows.push(
			alone(
				`Memory that ${times === 1 ? "one download" : "four downloads at once"} of ${size} adds to a fresh door`,
				"MiB",
				(use[0]?.memory ?? 0) / 2 ** 20,
				{ atMost: 128 },
			),
		);
	}
	await door.stop();
	return rows;
}

/** Temporary files and memory, of whoever has some. */
function diskRows(size: string, here: Record<keyof Sides, Taken[]>): Row[] {
	const most = (side: keyof Sides, what: "disk" | "memory", name?: string) =>
		Math.max(
			...here[side].map(({ use }) =>
				use.filter((one) => name === undefined || one.name === name).reduce((all, one) => all + one[what], 0),
			),
		) /
		2 ** 20;
	return [
		alone(
			`${size} down, temporary files of all parts`,
			"MiB",
			most("door", "disk"),
			{ atMost: 0 },
			{
				name: "stock, client's route",
				value: most("client", "disk"),
			},
		),
		alone(
			`${size} down, memory that MinIO grew by`,
			"MiB",
			most("door", "memory", "minio"),
			{},
			{
				name: "MinIO itself",
				value: most("direct", "memory", "minio"),
			},
		),
		alone(
			`${size} down, memory that MLflow grew by`,
			"MiB",
			most("door", "memory", "mlflow"),
			{},
			{
				name: "stock, client's route",
				value: most("client", "memory", "stock"),
			},
		),
	];
}
