/**
 * Our own verdict over a stack: every part's container, the door's deep checks of what is behind it, and round
 * trips through the published port. Pulumi's result is never the verdict (design section 3).
 */
import { request } from "undici";
import { OPTIONAL_PARTS, PARTS, type Part, PORT } from "../../infra/contract.ts";
import { checkApi } from "./api.ts";
import { type Container, containersOf, dataVolumesOf, failingCheck, imageNames, partOf } from "./docker.ts";
import { type Check, control } from "./door.ts";
import { OpsError } from "./errors.ts";
import { examineFunnel } from "./funnel/examine.ts";
import { keyRefused, refusalOf } from "./funnel/refused-key.ts";
import type { Identity } from "./identity.ts";
import { heldBy, isKeeper } from "./keeper.ts";
import { LOOPBACK } from "./port.ts";
import { roomOf } from "./resources.ts";
import { age, bytesInWords, firstLine, list } from "./text.ts";

/** `absent`: nothing of the stack is on this host. `stopped`: `down` was here, or the host restarted without us. */
export type Verdict = "healthy" | "starting" | "unhealthy" | "stopped" | "absent";

export interface PartHealth {
	part: Part;
	/** Docker's word, or `absent` if there is no container. */
	state: Container["State"]["Status"] | "absent";
	health: "healthy" | "starting" | "unhealthy" | "none";
	/** ISO time of the last start or end. */
	since?: string;
	image?: string;
	restarts: number;
}

export interface Finding {
	part?: Part;
	/** Where more is known than that it does not work. */
	code?: string;
	what: string;
	why?: string;
	fix: string;
}

export interface Health {
	verdict: Verdict;
	url: string;
	/** Where the public reaches the door. */
	publicUrl?: string;
	parts: PartHealth[];
	/** Round trips; none while the door does not run or a part is starting. */
	checks: Check[];
	keeper: { state: string; holds: string[] };
	dataVolumes: string[];
	/** What is wrong, the first thing to mend first. */
	findings: Finding[];
}

/** What mends a part that does not run. */
export const START: string = "npm start";

/** A look at everything. @throws OpsError ENGINE_UNREACHABLE if Docker does not answer. */
export async function examine({ name, port, url, funnel }: Identity): Promise<Health> {
	const [containers, volumes, images] = await Promise.all([
		containersOf(name).then((all) => Promise.all(all.map(asOfNow))),
		dataVolumesOf(name),
		imageNames(),
	]);
	const found = PARTS.map((part) => ({
		part,
		container: containers.find((one) => partOf(one) === part),
	})).filter(({ part, container }) => container || funnel || !OPTIONAL_PARTS.has(part));
	const parts = found.map(({ part, container }) => partHealth(part, container, images));
	const dataVolumes = volumes.map((volume) => volume.Name).sort();
	const keeper = containers.find(isKeeper);
	const running = (part: Part) =>
		found.find((one) => one.part === part && one.container?.State.Status === "running")?.container;
	const [door, api, node] = [running("door"), running("api"), running("tailscale")];
	// Nobody behind a starting part can answer yet.
	const answers = door !== undefined && parts.every(({ health }) => health !== "starting");
	const [checks, full, refused] = await Promise.all([
		answers ? roundTrips(name, port, api && (() => checkApi(door, api, isReference(api, images)))) : [],
		keeper ? fullDisks(keeper) : [],
		refusedNode(found),
	]);
	const funnelled = answers && node && funnel ? await examineFunnel(name, node) : undefined;

	const findings = [
		...full,
		...found.flatMap(({ part, container }) =>
			part === "tailscale" && refused ? refused : (troubleOf(part, container) ?? []),
		),
		...(door ? wrongPort(door, port) : []),
		...(node && !funnel ? [NOT_WANTED] : []),
		...(funnelled?.findings ?? []),
		...checks.filter((check) => !check.ok).map(failedCheck),
		...(dataVolumes.length > 0 ? missedBy(keeper, dataVolumes) : []),
	];
	return {
		verdict: verdictOf(parts, findings),
		url,
		...(funnelled?.url && { publicUrl: funnelled.url }),
		parts,
		checks,
		keeper: { state: keeper?.State.Status ?? "absent", holds: keeper ? heldBy(keeper).sort() : [] },
		dataVolumes,
		findings,
	};
}

/** Docker looks again only after a whole interval. A part that is starting for it may have been well for long. */
async function asOfNow(container: Container): Promise<Container> {
	const { State } = container;
	if (State.Status !== "running" || State.Health?.Status !== "starting") return container;
	if ((await failingCheck(container)) !== undefined) return container;
	return { ...container, State: { ...State, Health: { ...State.Health, Status: "healthy" } } };
}

function partHealth(
	part: Part,
	container: Container | undefined,
	images: ReadonlyMap<string, string>,
): PartHealth {
	if (!container) return { part, state: "absent", health: "none", restarts: 0 };
	const { Status, Health, StartedAt, FinishedAt } = container.State;
	return {
		part,
		state: Status,
		// Docker keeps the last verdict of a container that has ended.
		health: (Status === "running" && Health?.Status) || "none",
		since: Status === "running" || Status === "paused" ? StartedAt : FinishedAt,
		image: images.get(container.Config.Image) ?? container.Config.Image,
		restarts: container.RestartCount,
	};
}

function verdictOf(parts: readonly PartHealth[], findings: readonly Finding[]): Verdict {
	if (parts.every(({ state }) => state === "absent")) return "absent";
	if (parts.every(({ state }) => state === "exited" || state === "created")) return "stopped";
	if (findings.length === 0) return "healthy";
	const coming = parts.every(({ state, health }) => state === "running" && health !== "unhealthy");
	return coming && parts.some(({ health }) => health === "starting") ? "starting" : "unhealthy";
}

/** Of a disk, at least: the object store then takes nothing more. */
const LEAST_SHARE = 0.01;
/** Bytes: Postgres begins a new file of its log every 16 MiB. */
const LEAST = 64 * 2 ** 20;

/** Everything else that is wrong may come of it. */
async function fullDisks(keeper: Container): Promise<Finding[]> {
	if (keeper.State.Status !== "running") return [];
	const volumes = keeper.Mounts.filter(({ Type }) => Type === "volume");
	const rooms = await roomOf(
		keeper,
		volumes.map(({ Destination }) => Destination),
	);
	const full = rooms.filter(({ free, size }) => free < Math.max(LEAST, size * LEAST_SHARE));
	const [first] = full;
	if (!first) return [];
	const names = full.flatMap(({ place }) => volumes.find((one) => one.Destination === place)?.Name ?? []);
	return [
		{
			what: `The disk is full: ${list(names)} have ${bytesInWords(first.free)} of ${bytesInWords(first.size)} left, and writes are refused.`,
			fix: "Free some space on the disk where Docker keeps its volumes (docker image prune removes images that nobody uses); the stack then goes on by itself.",
		},
	];
}

/** A node that does not come up says why in its own words, whatever state its container happens to be in. */
async function refusedNode(
	found: readonly { part: Part; container?: Container | undefined }[],
): Promise<Finding | undefined> {
	const node = found.find(({ part }) => part === "tailscale")?.container;
	if (!node || (node.State.Status === "running" && node.State.Health?.Status === "healthy")) return undefined;
	const said = await refusalOf(node);
	return said === undefined ? undefined : { part: "tailscale", ...keyRefused(said) };
}

/** What is wrong with a part's container, if anything. */
function troubleOf(part: Part, container: Container | undefined): Finding | undefined {
	const look = `npx mlgate logs ${part} --tail 50`;
	if (!container) return { part, what: `${part} has no container.`, fix: START };
	const { Status, ExitCode, OOMKilled, FinishedAt, Health } = container.State;
	switch (Status) {
		case "running":
			break;
		case "restarting":
			return {
				part,
				what: `${part} keeps ending (${ending(ExitCode, OOMKilled)}) and is restarted.`,
				fix: look,
			};
		case "paused":
			return { part, what: `${part} is paused.`, fix: `docker unpause ${container.Name.slice(1)}` };
		case "created":
			return { part, what: `${part} was made but never started.`, fix: START };
		default:
			return {
				part,
				what: `${part} stopped ${age(FinishedAt)} ago (${ending(ExitCode, OOMKilled)}).`,
				fix: OOMKilled ? moreMemory(part) : START,
			};
	}
	if (Health?.Status === "starting") {
		return {
			part,
			what: `${part} is starting.`,
			fix: "Wait a few seconds and look again: npx mlgate status",
		};
	}
	if (Health?.Status === "unhealthy") {
		const said = firstLine(Health.Log?.at(-1)?.Output ?? "");
		return { part, what: `${part} is unhealthy${said ? `: ${said}` : "."}`, fix: look };
	}
	return undefined;
}

const moreMemory = (part: Part) =>
	`Give it more memory: npx mlgate config set ${part}.memory <MiB>, then npm start`;

function ending(code: number, killedForMemory: boolean): string {
	if (killedForMemory) return "killed for memory";
	return code === 137 ? "killed, exit code 137" : `exit code ${code}`;
}

/** The door runs, but was made for another port than the settings say now. */
function wrongPort(door: Container, port: number): Finding[] {
	const bound = door.HostConfig.PortBindings?.[`${PORT.door}/tcp`] ?? [];
	if (bound.some(({ HostIp, HostPort }) => HostIp === LOOPBACK && HostPort === String(port))) return [];
	const now = bound.map(({ HostPort }) => HostPort).join(", ") || "no port";
	return [{ part: "door", what: `The door is on ${now}, the settings say ${port}.`, fix: START }];
}

const NOT_WANTED: Finding = {
	part: "tailscale",
	what: "The node in the tailnet runs, and the settings say that the funnel is off.",
	fix: START,
};

function missedBy(keeper: Container | undefined, volumes: readonly string[]): Finding[] {
	if (keeper?.State.Status !== "running") {
		return [
			{ what: "The keeper, which guards the data volumes against `docker prune`, does not run.", fix: START },
		];
	}
	const missed = volumes.filter((volume) => !heldBy(keeper).includes(volume));
	if (missed.length === 0) return [];
	return [{ what: `The keeper does not hold ${list(missed)}.`, fix: START }];
}

const failedCheck = ({ name, detail }: Check): Finding => ({
	what: `The round trip "${name}" failed${detail ? `: ${detail}` : "."}`,
	fix: "npx mlgate logs --tail 50",
});

/** The door's own deep checks, and what a browser gets. A check that cannot be made is a failed one. */
async function roundTrips(
	name: string,
	port: number,
	prediction: (() => Promise<Check>) | undefined,
): Promise<Check[]> {
	const origin = `http://${LOOPBACK}:${port}`;
	const [deep, ...others] = await Promise.all([
		deepChecks(name),
		...(prediction ? [prediction()] : []),
		timed("port: health", () => expectHealth(origin)),
		timed("port: login", () => expectLogin(origin)),
	]);
	return [...deep, ...others];
}

/** Our own image, which can be asked for a prediction. */
const isReference = (api: Container, images: ReadonlyMap<string, string>): boolean =>
	(images.get(api.Config.Image) ?? "").startsWith("mlgate-api:");

async function deepChecks(name: string): Promise<Check[]> {
	const begun = performance.now();
	try {
		return (await control(name, "status")).checks;
	} catch (error) {
		if (!(error instanceof OpsError)) throw error;
		const { what, why } = error.problem;
		return [
			{
				name: "door",
				ok: false,
				ms: performance.now() - begun,
				detail: [what, why].filter(Boolean).join(" "),
			},
		];
	}
}

async function timed(name: string, look: () => Promise<string | undefined>): Promise<Check> {
	const begun = performance.now();
	const detail = await look().catch((error: Error) =>
		String((error.cause as Error)?.message ?? error.message),
	);
	const ms = Math.round(performance.now() - begun);
	return detail === undefined ? { name, ok: true, ms } : { name, ok: false, ms, detail };
}

/** Not `fetch`: it says `sec-fetch-mode: cors` whatever it is told, and the door would take it for a script. */
const ask = (url: string, headers: Record<string, string>) =>
	request(url, { headers, signal: AbortSignal.timeout(5_000) });

/** @returns what is wrong, or undefined. */
async function expectHealth(origin: string): Promise<string | undefined> {
	const { statusCode, body } = await ask(`${origin}/door/health`, {});
	if (statusCode === 200 && (await body.text()).includes('"ok"')) return undefined;
	return `GET /door/health answered ${statusCode}.`;
}

/** A stranger's browser is sent to the login page, and that is all it gets. */
async function expectLogin(origin: string): Promise<string | undefined> {
	const { statusCode, headers, body } = await ask(`${origin}/`, {
		accept: "text/html",
		"sec-fetch-mode": "navigate",
		"sec-fetch-dest": "document",
	});
	await body.dump();
	const location = String(headers.location ?? "");
	const path = location.startsWith("/") ? location : location.replace(origin, "");
	if (statusCode === 303 && path.startsWith("/login")) return undefined;
	return `GET / answered ${statusCode} ${location}`.trimEnd();
}
