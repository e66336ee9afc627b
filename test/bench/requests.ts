/**
 * Small requests: what the door adds, beside nginx with `auth_request` and a verifier of jose, and beside a bare
 * http-proxy with jose. Before a stub that answers at once, and before MLflow. The peers check HS256, which is the
 * cheapest that jose does; the door's tokens are its own.
 */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { SignJWT } from "jose";
import { experiments } from "./frame/api.ts";
import { CORE, pin } from "./frame/cores.ts";
import { inTurn, median, mid, QUICK, say } from "./frame/measure.ts";
import { type Row, ratio } from "./frame/rows.ts";
import { AT, answers, origin, type Site, until } from "./frame/site.ts";
import { cpu, sleeps, type Watched } from "./frame/usage.ts";
import { type Load, type LoadOptions, load } from "./frame/wrk.ts";
import { gatekeeper, stub } from "./peers/nginx.ts";

const STUB = JSON.stringify({ experiment: { experiment_id: "0", name: "Default", filler: "x".repeat(220) } });

/** Milliseconds that MLflow takes for one of these when sixteen are asked at once. */
const SLOW = 25;
const ROUNDS = 5;
const SECONDS = 3;
/** Many short rounds: the machine's moods last for seconds, and each round's sides should meet the same one. */
const COUNTED = { rounds: 15, seconds: 1 } as const;
/** Connections at once where CPU is counted, each in rounds of its own. MLflow has some thirty threads. */
const MANY = { "the stub": [64, 16], MLflow: [16] } as const;
/**
 * Requests before anything is counted. V8 makes its best code for what has run often: before the stub a door's CPU for
 * a request falls until some sixty thousand. A door runs for weeks. Before MLflow twenty thousand take a minute.
 */
const WARM = { "the stub": 100_000, MLflow: 20_000, any: 5_000 } as const;

interface Side {
	port: number;
	tokens: readonly string[];
	/** Whose CPU counts. */
	of: readonly Watched[];
}

async function warm(enough: number, options: Omit<LoadOptions, "connections" | "seconds">): Promise<void> {
	let served = 0;
	while (served < (QUICK ? 1 : enough)) {
		served += (await load({ ...options, core: CORE?.around, connections: 16, seconds: SECONDS })).requests;
	}
}

/** CPU in µs for each request. */
type Asked = Load & { cpu: number };

type Sides = Record<"direct" | "nginx" | "httpProxy" | "door", Side>;

/** Everybody says the same, and lets nobody in without a good token. */
async function check(sides: Sides, path: string): Promise<void> {
	const ask = async ({ port }: Side, token: string | undefined) => {
		const answer = await fetch(`${origin(port)}${path}`, { headers: { authorization: `Bearer ${token}` } });
		return { status: answer.status, body: answer.ok ? JSON.stringify(await answer.json()) : "" };
	};
	const right = await ask(sides.direct, "");
	for (const [name, side] of Object.entries(sides)) {
		const good = await ask(side, side.tokens[0]);
		if (good.status !== 200 || good.body !== right.body) {
			throw new Error(`${name} answers ${good.status} ${good.body}, and not ${right.body}`);
		}
		const bad = await ask(side, side.tokens[0]?.replace(/.{9}$/, "AAAAAAAAA"));
		if (name !== "direct" && bad.status !== 401)
			throw new Error(`${name} lets a bad token in: ${bad.status}`);
	}
}

async function compare(site: Site, before: "the stub" | "MLflow", app: number): Promise<Row[]> {
	const secret = randomBytes(32).toString("hex");
	const tokens = await Promise.all(
		Array.from({ length: 48 }, (_, i) =>
			new SignJWT({ role: "viewer" })
				.setProtectedHeader({ alg: "HS256" })
				.setSubject(`reader ${i}`)
				.setExpirationTime("2h")
				.sign(Buffer.from(secret)),
		),
	);
	const { children, folder } = site;
	const peer = (name: string, ...args: (string | number)[]) =>
		children.start(name, [
			process.execPath,
			join(import.meta.dirname, "peers", `${name}.ts`),
			...args.map(String),
		]);
	const verifier = peer("verifier", AT.verifier, secret);
	const nginx = gatekeeper(children, folder, AT.nginx, app, AT.verifier);
	const httpProxy = peer("http-proxy", AT.httpProxy, secret, origin(app));
	const door = await site.door({ upstream: origin(app) });
	for (const port of [AT.nginx, AT.httpProxy]) {
		await until("a peer", async () => (await fetch(`${origin(port)}/`)).status === 401, 30_000);
	}
	const sides: Sides = {
		direct: { port: app, tokens, of: [] },
		nginx: { port: AT.nginx, tokens, of: [nginx, verifier] },
		httpProxy: { port: AT.httpProxy, tokens, of: [httpProxy] },
		door: { port: AT.door, tokens: door.readers, of: [door] },
	};
	for (const child of [nginx, verifier, httpProxy, door]) await pin(child, "compared");
	const paths = await experiments();
	await check(sides, paths[0] ?? "");

	const ask = async (
		{ port, tokens, of }: Side,
		connections: number,
		seconds: number = SECONDS,
	): Promise<Asked> => {
		const used = () => of.map(cpu).reduce((sum, one) => sum + one, 0);
		const began = used();
		const result: Load = await load({
			origin: origin(port),
			paths,
			tokens,
			connections,
			seconds,
			folder,
			core: CORE?.around,
		});
		return { ...result, cpu: ((used() - began) * 1e6) / result.requests };
	};
	const all = <T>(work: (side: Side) => Promise<T>) =>
		Object.fromEntries(Object.entries(sides).map(([name, side]) => [name, () => work(side)])) as Record<
			keyof Sides,
			() => Promise<T>
		>;

	say(`before ${before}: warm`);
	await inTurn(
		1,
		all(({ port, tokens, of }) =>
			// Of what is asked directly nothing is counted.
			warm(of.length === 0 ? 1 : WARM[before], { origin: origin(port), paths, tokens, folder }),
		),
	);
	say(`before ${before}: one client`);
	const one = await inTurn(
		ROUNDS,
		all((side) => ask(side, 1)),
	);
	const counted: { clients: number; of: Record<Exclude<keyof Sides, "direct">, Asked[]> }[] = [];
	for (const clients of MANY[before]) {
		say(`before ${before}: ${clients} clients`);
		const { direct: _, ...proxies } = all((side) => ask(side, clients, COUNTED.seconds));
		counted.push({ clients, of: await inTurn(COUNTED.rounds, proxies) });
	}
	for (const child of [door, nginx, verifier, httpProxy]) await child.stop();

	/** Against the direct one of the same round: the machine's minutes differ. */
	const added = (side: keyof Sides) =>
		median(one[side].map(({ p50 }, i) => (p50 - (one.direct[i]?.p50 ?? 0)) * 1000));
	const real = before === "MLflow";
	return [
		ratio(
			`Added to a small request before ${before}, median`,
			"µs",
			added("door"),
			{ name: "nginx with auth_request and jose", value: added("nginx") },
			// Ties within a tenth pass.
			real ? { atMost: 1.1 } : {},
		),
		ratio(`Added to a small request before ${before}, median`, "µs", added("door"), {
			name: "http-proxy with jose",
			value: added("httpProxy"),
		}),
		...counted.flatMap(({ clients, of }): Row[] => {
			const spent = (side: keyof typeof of) => mid(of[side], ({ cpu: used }) => used);
			const rate = (side: keyof typeof of) => mid(of[side], ({ requests, seconds }) => requests / seconds);
			const what = `CPU for a small request before ${before}, ${clients} clients`;
			return [
				ratio(
					what,
					"µs",
					spent("door"),
					{ name: "http-proxy with jose", value: spent("httpProxy") },
					{ atMost: real ? 0.7 : 0.5 },
				),
				ratio(what, "µs", spent("door"), {
					name: "nginx with auth_request and jose",
					value: spent("nginx"),
				}),
				ratio(`Small requests a second before ${before}, ${clients} clients`, "", rate("door"), {
					name: "http-proxy with jose",
					value: rate("httpProxy"),
				}),
			];
		}),
	];
}

/**
 * Before MLflow a request costs the door more than before the stub, though it does the same for it. This takes apart
 * why: a stub that is as slow as MLflow, and costs the machine nothing meanwhile.
 */
async function unhurried(site: Site): Promise<Row[]> {
	const paths = await experiments();
	const slow = site.children.start("the slow stub", [
		process.execPath,
		join(import.meta.dirname, "peers", "slow-stub.ts"),
		...[String(AT.slowStub), String(SLOW), STUB],
	]);
	await until("the slow stub", () => answers(origin(AT.slowStub)), 30_000);
	await pin(slow, "around");
	/** CPU in µs and sleeps, of each request. */
	const spent = async (app: number) => {
		const door = await site.door({ upstream: origin(app) });
		await pin(door, "compared");
		const options = {
			core: CORE?.around,
			origin: origin(AT.door),
			paths,
			tokens: door.readers,
			connections: 16,
			folder: site.folder,
		};
		await warm(WARM.any, options);
		const before = { cpu: cpu(door), sleeps: sleeps(door) };
		const { requests } = await load({ ...options, seconds: SECONDS });
		const result = {
			cpu: ((cpu(door) - before.cpu) * 1e6) / requests,
			sleeps: (sleeps(door) - before.sleeps) / requests,
		};
		await door.stop();
		return result;
	};
	say("why a request costs more before MLflow");
	const seen = await inTurn(3, {
		full: () => spent(AT.stub),
		slow: () => spent(AT.slowStub),
		mlflow: () => spent(AT.mlflow),
	});
	await slow.stop();
	const full = (field: "cpu" | "sleeps") => ({
		name: "a stub that answers at once",
		value: mid(seen.full, (one) => one[field]),
	});
	const waits = `a stub that waits ${SLOW} ms`;
	return [
		ratio(
			`CPU for a small request before ${waits}`,
			"µs",
			mid(seen.slow, (one) => one.cpu),
			full("cpu"),
		),
		ratio(
			`Sleeps of the door for a small request before ${waits}`,
			"",
			mid(seen.slow, (one) => one.sleeps),
			full("sleeps"),
		),
		ratio(
			"CPU for a small request before MLflow",
			"µs",
			mid(seen.mlflow, (one) => one.cpu),
			full("cpu"),
		),
		ratio(
			"Sleeps of the door for a small request before MLflow",
			"",
			mid(seen.mlflow, (one) => one.sleeps),
			full("sleeps"),
		),
	];
}

export async function measure(site: Site): Promise<Row[]> {
	const answering = stub(site.children, site.folder, AT.stub, STUB);
	await until("the stub", () => answers(origin(AT.stub)), 10_000);
	await pin(answering, "around");
	const rows = [
		...(await compare(site, "the stub", AT.stub)),
		...(await compare(site, "MLflow", AT.mlflow)),
		...(await unhurried(site)),
	];
	await answering.stop();
	return rows;
}
