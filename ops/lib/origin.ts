/**
 * Which checkout a stack on the host is typed in, and with which settings: noted on its keeper, so that a checkout that
 * has lost its files finds its stack again, and no other checkout takes it for its own.
 */
import { existsSync, realpathSync } from "node:fs";
import { LABEL, ORIGIN_LABEL } from "../../infra/contract.ts";
import { IDENTITY_KEY, STORES } from "../../infra/identities.ts";
import { isSettingKey } from "../../infra/settings.ts";
import { type Container, docker, inspectContainer } from "./docker.ts";
import { OpsError } from "./errors.ts";
import { identify } from "./identity.ts";
import type { Report } from "./report.ts";
import { configPath, plainConfig, type StackRef, writeIdentity, writeSetting } from "./stack/config-file.ts";
import { hasState } from "./stack/state.ts";
import { list } from "./text.ts";

export interface Origin extends StackRef {
	/** What is set, secrets left out. */
	settings: Readonly<Record<string, string>>;
}

export const originOf = (ref: StackRef): Origin => ({
	checkout: ref.checkout,
	stack: ref.stack,
	settings: plainConfig(ref),
});

export const originLabels = ({ checkout, stack, settings }: Origin): Record<string, string> => ({
	[ORIGIN_LABEL.checkout]: checkout,
	[ORIGIN_LABEL.stack]: stack,
	[ORIGIN_LABEL.settings]: JSON.stringify(settings),
});

interface Kept extends Origin {
	/** The stack's name on the host. */
	name: string;
}

/**
 * For a checkout without settings of this stack: takes over those of the stack that was typed here, or of one whose
 * checkout is gone, and says what it did. With settings it only looks whose the stack of that name is.
 * @throws OpsError STACK_ELSEWHERE (exit 3) if the name belongs to a stack of a checkout that is still in use.
 */
export async function adoptLostSettings(ref: StackRef, report: Report): Promise<void> {
	const kept = await keptOrigins();
	const ours = kept.filter((one) => isFrom(ref, one));
	const { name } = identify(ref);
	const namesake = kept.find((one) => one.name === name);
	const another = namesake && !isFrom(ref, namesake) && isInUse(namesake) ? namesake : undefined;
	if (existsSync(configPath(ref))) {
		if (another) throw elsewhere(another);
		return;
	}
	const [mine, ...more] = ours;
	if (mine && more.length > 0) {
		// Only one of them can be meant, and only the person knows which.
		throw severalStacks(ref, ours);
	}
	if (!mine && another) throw elsewhere(another);
	const found = mine ?? namesake;
	if (!found) return;
	adopt(ref, found, report);
}

/** From here, or from a checkout that shares its settings with this one: folders of releases have links to the same. */
const isFrom = (ref: StackRef, origin: Origin): boolean =>
	(origin.checkout === ref.checkout && origin.stack === ref.stack) ||
	isSame(configPath(ref), configPath(origin));

const isSame = (one: string, other: string): boolean =>
	existsSync(one) && existsSync(other) && realpathSync(one) === realpathSync(other);

const isInUse = (ref: StackRef): boolean => existsSync(configPath(ref)) || hasState(ref);

function adopt(ref: StackRef, { name, settings }: Kept, report: Report): void {
	const known = Object.entries(settings).filter(([key]) => isSettingKey(key));
	const all = new Map([["name", name], ...known]);
	for (const [key, value] of all) writeSetting(ref, key, value);
	for (const store of STORES) {
		const identity = settings[IDENTITY_KEY[store]];
		if (identity) writeIdentity(ref, store, identity);
	}
	report.note(
		`This checkout has no settings of the stack ${ref.stack}, and this host has its data: they were lost. From the keeper of ${name} they are again: ${list([...all].map(([key, value]) => `${key} ${value || "(empty)"}`))}. Secrets of your own (api.secretEnv) are not among them; set them again if there were any.`,
	);
}

/** What the keepers on this host know. */
async function keptOrigins(): Promise<Kept[]> {
	const filter = `label=${ORIGIN_LABEL.stack}`;
	const ids = (await docker(["ps", "-aq", "--no-trunc", "--filter", filter])).split("\n").filter(Boolean);
	const keepers = await Promise.all(ids.map(inspectContainer));
	return keepers.flatMap((keeper) => (keeper ? keptBy(keeper) : []));
}

function keptBy({ Config: { Labels } }: Container): Kept[] {
	try {
		const settings = JSON.parse(Labels[ORIGIN_LABEL.settings] ?? "");
		const [name = "", checkout = "", stack = ""] = [
			LABEL.stack,
			ORIGIN_LABEL.checkout,
			ORIGIN_LABEL.stack,
		].map((label) => Labels[label]);
		return [{ name, checkout, stack, settings }];
	} catch {
		// Nobody but us writes them; what cannot be read is no help.
		return [];
	}
}

const elsewhere = ({ name, checkout, stack }: Kept): OpsError =>
	new OpsError({
		code: "STACK_ELSEWHERE",
		kind: "precondition",
		what: `The stack ${name} on this host is run from ${checkout} (stack ${stack}), not from here.`,
		why: "Both would replace each other's containers and passwords.",
		fix: "Work in that checkout, or give the stack of this one another name and port: npx mlgate config set name <name>",
	});

const severalStacks = ({ stack }: StackRef, ours: readonly Kept[]): OpsError =>
	new OpsError({
		code: "STACK_AMBIGUOUS",
		kind: "precondition",
		what: `The settings of the stack ${stack} are gone, and this host has several stacks that were run from here: ${list(ours.map(({ name }) => name))}.`,
		fix: "Say which one is meant: npx mlgate config set name <name>",
	});
