/** Everything that `status` tells: the verdict, and what the parts use, which tokens end soon, what was cut off. */
import { PARTS } from "../../infra/contract.ts";
import { containersOf, partOf } from "./docker.ts";
import { control, type DoorToken } from "./door.ts";
import { examine, type Health, type PartHealth } from "./health.ts";
import { identify } from "./identity.ts";
import { cutOff, type Run, readRuns } from "./journal.ts";
import { journalFolder } from "./paths.ts";
import { type Disk, diskOf, type Memory, memoryOf } from "./resources.ts";
import type { StackRef } from "./stack/config-file.ts";

export interface PartOverview extends PartHealth {
	memory?: Memory;
	disk?: Disk;
}

export interface Overview extends Omit<Health, "parts"> {
	stack: string;
	name: string;
	parts: PartOverview[];
	/** Tokens that end within two weeks; undefined while the door cannot be asked. */
	endingTokens?: Pick<DoorToken, "id" | "name" | "user" | "expires">[];
	/** The last changing command, if it was killed before it could end. */
	cutOff?: Run;
}

const SOON_MS = 14 * 86_400_000;

export async function overview(ref: StackRef): Promise<Overview> {
	const identity = identify(ref);
	const [health, resources, endingTokens] = await Promise.all([
		examine(identity),
		resourcesOf(identity.name),
		tokensEnding(identity.name),
	]);
	const killed = cutOff(readRuns(journalFolder(ref.checkout), ref.stack));
	return {
		stack: ref.stack,
		name: identity.name,
		...health,
		parts: health.parts.map((part) => ({ ...part, ...resources.get(part.part) })),
		...(endingTokens && { endingTokens }),
		...(killed && { cutOff: killed }),
	};
}

type Used = Pick<PartOverview, "memory" | "disk">;

async function resourcesOf(name: string): Promise<ReadonlyMap<string, Used>> {
	const containers = await containersOf(name);
	const memory = memoryOf(containers).catch(() => new Map<string, Memory>());
	const rows = PARTS.map(async (part): Promise<[string, Used]> => {
		const container = containers.find((one) => partOf(one) === part);
		if (!container) return [part, {}];
		const disk = await diskOf(part, container);
		const used = (await memory).get(container.Id);
		return [part, { ...(used && { memory: used }), ...(disk && { disk }) }];
	});
	return new Map(await Promise.all(rows));
}

async function tokensEnding(name: string): Promise<Overview["endingTokens"]> {
	try {
		const { tokens } = await control(name, "tokens/list");
		const soon = Date.now() + SOON_MS;
		return tokens
			.filter(({ state, expires }) => state === "active" && expires !== null && Date.parse(expires) < soon)
			.map(({ id, name, user, expires }) => ({ id, name, user, expires }));
	} catch {
		// That it cannot be asked is said by the round trips.
		return undefined;
	}
}
