/** When a part's containers ended and why, as far as the engine remembers: it keeps its last few hundred events. */
import { LABEL, type Part } from "../../infra/contract.ts";
import { type Container, docker } from "./docker.ts";

export interface Death {
	/** ISO time. */
	at: string;
	exitCode: number;
	/** The kernel killed it for memory. */
	oom: boolean;
	/** The signal that somebody sent just before, as its number. */
	signal?: number;
}

interface EngineEvent {
	Action: string;
	/** Nanoseconds since the epoch. */
	timeNano: number;
	Actor: { ID: string; Attributes: Record<string, string> };
}

/** How far back is looked. */
const SINCE = "168h";
/** A signal and the end that it brought: a stop takes its grace. Milliseconds. */
const CONSEQUENCE_MS = 150_000;

/** The youngest first. The container's own last word is there even if the engine has forgotten its events. */
export async function deathsOf(name: string, part: Part, container: Container | undefined): Promise<Death[]> {
	const filters = [
		`label=${LABEL.stack}=${name}`,
		`label=${LABEL.part}=${part}`,
		"event=die",
		"event=kill",
		"event=oom",
	];
	const listing = await docker([
		...["events", "--since", SINCE, "--until", "0s", "--format", "{{json .}}"],
		...filters.flatMap((filter) => ["--filter", filter]),
	]);
	const events = listing
		.split("\n")
		.filter((line) => line !== "")
		.map((line) => JSON.parse(line) as EngineEvent);
	const deaths = fromEvents(events);
	const own = container && lastDeath(container);
	if (own && !deaths.some(({ at }) => Math.abs(Date.parse(at) - Date.parse(own.at)) < 2_000))
		deaths.push(own);
	return deaths.sort((a, b) => b.at.localeCompare(a.at));
}

export function fromEvents(events: readonly EngineEvent[]): Death[] {
	return events.flatMap((event, i): Death[] => {
		if (event.Action !== "die") return [];
		const before = events
			.slice(0, i)
			.filter(
				(one) => one.Actor.ID === event.Actor.ID && (event.timeNano - one.timeNano) / 1e6 < CONSEQUENCE_MS,
			);
		const since = before.slice(before.findLastIndex(({ Action }) => Action === "die") + 1);
		const signal = since.findLast(({ Action }) => Action === "kill")?.Actor.Attributes.signal;
		return [
			{
				at: new Date(event.timeNano / 1e6).toISOString(),
				exitCode: Number(event.Actor.Attributes.exitCode),
				oom: since.some(({ Action }) => Action === "oom"),
				...(signal && { signal: Number(signal) }),
			},
		];
	});
}

function lastDeath({ State }: Container): Death | undefined {
	const at = Date.parse(State.FinishedAt);
	// Docker writes the year 1 for never.
	if (!(at > 0)) return undefined;
	return { at: new Date(at).toISOString(), exitCode: State.ExitCode, oom: State.OOMKilled };
}

const SIGNALS: Readonly<Record<number, string>> = { 2: "SIGINT", 9: "SIGKILL", 15: "SIGTERM" };
const nameOf = (signal: number) => SIGNALS[signal] ?? `signal ${signal}`;

/** What an end means; the first that fits counts. */
const MEANINGS: readonly {
	fits: (death: Death) => boolean;
	words: (death: Death) => string;
	fix: (part: Part) => string;
}[] = [
	{
		fits: ({ oom }) => oom,
		words: () => "it was killed because it wanted more memory than it may have",
		fix: (part) => `npx mlgate config set ${part}.memory <MiB>, then npm start`,
	},
	{
		fits: ({ exitCode, signal }) => signal === 9 && exitCode === 137,
		words: () => "somebody killed it (docker kill), or it did not end within its grace",
		fix: () => "npm start",
	},
	{
		fits: ({ signal }) => signal !== undefined,
		words: ({ signal = 0 }) => `it was told to stop (${nameOf(signal)})`,
		fix: () => "npm start",
	},
	{
		fits: ({ exitCode }) => exitCode === 64,
		words: () => "it refused to start; its last lines say why",
		fix: () => "Mend what its last lines name, then npm start",
	},
	{
		fits: ({ exitCode }) => exitCode === 0,
		words: () => "it ended by itself, in order",
		fix: () => "npm start",
	},
	{
		fits: ({ exitCode }) => exitCode === 137,
		words: () =>
			"it was killed from outside (SIGKILL): by a person, or by the kernel when the host had no memory left",
		fix: () => "Look whether the host has memory to spare: npx mlgate doctor",
	},
	{
		fits: ({ exitCode }) => exitCode > 128,
		words: ({ exitCode }) => `it was ended by ${nameOf(exitCode - 128)}`,
		fix: (part) => `npx mlgate logs ${part} --tail 200`,
	},
	{
		fits: () => true,
		words: ({ exitCode }) => `it failed with exit code ${exitCode}; its last lines say more`,
		fix: (part) => `npx mlgate logs ${part} --tail 200`,
	},
];

export function meaningOf(death: Death, part: Part): { words: string; fix: string } {
	const meaning = MEANINGS.find(({ fits }) => fits(death));
	return { words: meaning?.words(death) ?? "", fix: meaning?.fix(part) ?? "" };
}
