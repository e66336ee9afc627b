/** Artifacts up: through the door, through stock MLflow, and into MinIO itself, beside it and over 1 Gbit/s. */
import { artifacts, GB, MB, SIZES, type Size } from "./frame/artifacts.ts";
import { type Ask, at, bearer, type Moved, moveAll, type Place, signed, sum } from "./frame/curl.ts";
import type { Door } from "./frame/door.ts";
import { inTurn, mid, say } from "./frame/measure.ts";
import { alone, type Row, ratio } from "./frame/rows.ts";
import { AT, type Site } from "./frame/site.ts";
import { type Use, watching } from "./frame/usage.ts";

const ROUNDS = 3;
const FAR_ROUNDS = 2;

type Sides = Record<"direct" | "door" | "stock", (key: string, place?: Place) => Ask>;

const sidesOf = (site: Site, door: Door): Sides => ({
	direct: (key, place) => signed(site, "PUT", key, place),
	door: (key, place = "here") => ({
		url: at(AT.door, `/api/2.0/mlflow-artifacts/artifacts/${key}`, place),
		headers: bearer(door.editor),
		place,
	}),
	stock: (key, place = "here") => ({
		url: at(AT.stock, `/api/2.0/mlflow-artifacts/artifacts/${key}`, place),
		place,
	}),
});

interface Given extends Moved {
	use: Use[];
}

const speed = ({ bytes, seconds }: Moved): number => bytes / MB / seconds;
const cpuPerGb = ({ use, bytes }: Given): number => use.reduce((all, { cpu }) => all + cpu, 0) / (bytes / GB);
const most = (given: readonly Given[], what: "disk" | "memory", names?: readonly string[]): number =>
	Math.max(
		...given.map(({ use }) =>
			use.filter(({ name }) => names?.includes(name) ?? true).reduce((all, one) => all + one[what], 0),
		),
	) /
	2 ** 20;

export async function measure(site: Site): Promise<Row[]> {
	const stored = await artifacts(site);
	let door = await site.door();
	const sides = sidesOf(site, door);
	const rows: Row[] = [];
	const remove = async (key: string) => {
		const { url, headers } = signed(site, "DELETE", key);
		const { Host: _, ...rest } = headers;
		await fetch(url, { method: "DELETE", headers: rest });
	};

	say("whether what arrives is what was sent, on all sides");
	const right = await sum(signed(site, "GET", stored["200 MB"].key));
	for (const [name, side] of Object.entries(sides)) {
		const key = `bench/check-${name}`;
		await moveAll({ ...side(key), upload: stored["200 MB"].file }, stored["200 MB"].bytes);
		if ((await sum(signed(site, "GET", key))) !== right) throw new Error(`${name} stores other bytes`);
		await remove(key);
	}

	const given = async (name: keyof Sides, size: Size, place: Place): Promise<Given> => {
		const key = `bench/${name}`;
		const { file, bytes } = stored[size];
		const { result, use } = await watching([site.minio, site.mlflow, site.stock, door], () =>
			moveAll({ ...sides[name](key, place), upload: file }, bytes),
		);
		await remove(key);
		await site.stock.tidy();
		return { ...result, use };
	};
	const each = (size: Size, place: Place) => ({
		direct: () => given("direct", size, place),
		door: () => given("door", size, place),
		stock: () => given("stock", size, place),
	});

	for (const size of SIZES) {
		say(`${size}, beside the server`);
		const here = await inTurn(ROUNDS, each(size, "here"));
		const other = (name: string, side: keyof Sides, field: (one: Given) => number) => ({
			name,
			value: mid(here[side], field),
		});
		rows.push(
			ratio(`${size} up, no line`, "MB/s", mid(here.door, speed), other("MinIO itself", "direct", speed)),
			ratio(`${size} up, no line`, "MB/s", mid(here.door, speed), other("stock", "stock", speed)),
			ratio(
				`${size} up, CPU of all parts`,
				"s/GB",
				mid(here.door, cpuPerGb),
				other("MinIO itself", "direct", cpuPerGb),
			),
			ratio(
				`${size} up, CPU of all parts`,
				"s/GB",
				mid(here.door, cpuPerGb),
				other("stock", "stock", cpuPerGb),
			),
			alone(
				`${size} up, temporary files`,
				"MiB",
				most(here.door, "disk", ["mlflow", "the door"]),
				{ atMost: 0 },
				{
					name: "stock",
					value: most(here.stock, "disk", ["stock"]),
				},
			),
			alone(
				`${size} up, memory that MinIO grew by`,
				"MiB",
				most(here.door, "memory", ["minio"]),
				{},
				{
					name: "MinIO itself",
					value: most(here.direct, "memory", ["minio"]),
				},
			),
		);
	}

	say("2 GB, over a line of 1 Gbit/s");
	const far = await inTurn(FAR_ROUNDS, each("2 GB", "far"));
	rows.push(
		ratio("2 GB up, line of 1 Gbit/s", "MB/s", mid(far.door, speed), {
			name: "MinIO itself",
			value: mid(far.direct, speed),
		}),
		ratio("2 GB up, line of 1 Gbit/s", "MB/s", mid(far.door, speed), {
			name: "stock",
			value: mid(far.stock, speed),
		}),
	);

	for (const times of [1, 4]) {
		say(`memory: ${times} of 2 GB`);
		await door.stop();
		door = await site.door();
		Object.assign(sides, sidesOf(site, door));
		const keys = Array.from({ length: times }, (_, i) => `bench/memory-${i}`);
		const { file, bytes } = stored["2 GB"];
		const { use } = await watching([door], () =>
			Promise.all(keys.map((key) => moveAll({ ...sides.door(key), upload: file }, bytes))),
		);
		for (const key of keys) await remove(key);
		rows.push(
			alone(
				`Memory that ${times === 1 ? "one upload" : "four uploads at once"} of 2 GB adds to a fresh door`,
				"MiB",
				(use[0]?.memory ?? 0) / 2 ** 20,
				{ atMost: 128 },
			),
		);
	}
	await door.stop();
	return rows;
}
