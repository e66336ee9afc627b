/** Small requests of four clients while four others download at 30 MB/s each, on a door and on stock MLflow. */
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { experiments } from "./frame/api.ts";
import { artifacts } from "./frame/artifacts.ts";
import { type Ask, at, bearer, slowly } from "./frame/curl.ts";
import { inTurn, mid, say } from "./frame/measure.ts";
import { alone, type Row, ratio } from "./frame/rows.ts";
import { AT, origin, type Site } from "./frame/site.ts";
import { type Load, tryLoad } from "./frame/wrk.ts";

const ROUNDS = 5;
const SECONDS = 8;
const CLIENTS = 4;
const DOWNLOADS = 4;
const RATE = "30M";
/** More than anybody fetches in the time. */
const TIMES = 20;

export async function measure(site: Site): Promise<Row[]> {
	const { key } = (await artifacts(site))["200 MB"];
	const paths = await experiments();
	const door = await site.door();
	const path = `/api/2.0/mlflow-artifacts/artifacts/${key}`;
	const sides = {
		door: {
			port: AT.door,
			tokens: door.readers,
			from: { url: at(AT.door, path), headers: bearer(door.editor) },
		},
		stock: { port: AT.stock, tokens: ["none"], from: { url: at(AT.stock, path) } },
	};
	const answer = async (port: number, token: string) =>
		(await fetch(`${origin(port)}${paths[0]}`, { headers: bearer(token) })).text();
	const same = JSON.parse(await answer(AT.door, door.readers[0] ?? ""));
	if (JSON.stringify(same) !== JSON.stringify(JSON.parse(await answer(AT.stock, "none")))) {
		throw new Error("the two do not answer the same");
	}
	const quiet = ({ port, tokens }: { port: number; tokens: readonly string[] }): Promise<Load> =>
		tryLoad({
			origin: origin(port),
			paths,
			tokens,
			connections: CLIENTS,
			seconds: SECONDS,
			folder: site.folder,
		});
	const beside = async (side: { port: number; tokens: readonly string[]; from: Ask }): Promise<Load> => {
		const { command, input } = slowly(side.from, RATE, TIMES);
		const downloads = Array.from({ length: DOWNLOADS }, () => {
			const child = site.children.start("a download", command, { stdio: ["pipe", "ignore", "ignore"] });
			child.process.stdin?.end(input);
			return child;
		});
		await Promise.all(downloads.map(({ process }) => once(process, "spawn")));
		await sleep(1000);
		const result = await quiet(side);
		await Promise.all(downloads.map((download) => download.stop()));
		await site.stock.tidy();
		return result;
	};

	say("the door");
	const here = await inTurn(ROUNDS, { idle: () => quiet(sides.door), beside: () => beside(sides.door) });
	say("stock");
	const stock = await inTurn(1, { idle: () => quiet(sides.stock), beside: () => beside(sides.stock) });
	await door.stop();
	for (const { refused, broken } of [...here.idle, ...here.beside]) {
		if (refused + broken > 0) throw new Error(`${refused} requests were refused, ${broken} got no answer`);
	}
	/** What never came took at least as long as anybody waited. */
	const worst = ({ worst, requests }: Load) => (requests === 0 ? SECONDS * 1000 : worst);
	const what = "A small request beside four downloads of 30 MB/s";
	return [
		ratio(
			`${what}, 99th percentile`,
			"ms",
			mid(here.beside, ({ p99 }) => p99),
			{ name: "the door without downloads", value: mid(here.idle, ({ p99 }) => p99) },
			{ atMost: 3 },
		),
		alone(
			`${what}, the longest`,
			"ms",
			Math.max(...here.beside.map(worst)),
			{ atMost: 500 },
			{
				name: "stock",
				value: Math.max(...stock.beside.map(worst)),
			},
		),
		ratio(
			`${what}, median`,
			"ms",
			mid(here.beside, ({ p50 }) => p50),
			{
				name: "the door without downloads",
				value: mid(here.idle, ({ p50 }) => p50),
			},
		),
		ratio(
			"Small requests a second beside four downloads",
			"",
			mid(here.beside, ({ requests, seconds }) => requests / seconds),
			{ name: "stock", value: mid(stock.beside, ({ requests, seconds }) => requests / seconds) },
		),
	];
}
