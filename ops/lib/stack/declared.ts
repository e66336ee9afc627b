/** What the program declares, seen while it runs in this process, and what it declared when all was well. */
import { output, runtime, secret } from "@pulumi/pulumi";
import type { PulumiFn } from "@pulumi/pulumi/automation/index.js";
import { OPTIONAL_PARTS, type Part } from "../../../infra/contract.ts";
import { nameOf } from "./events.ts";
import { type Deployment, RESOURCE_TYPE, resourceKey, resourcesOf } from "./state.ts";

export type Inputs = Readonly<Record<string, unknown>>;

/** Inputs by `resourceKey`, secrets in clear: it stays in memory. What only a real run can know is left out. */
export type Declared = ReadonlyMap<string, Inputs>;

/** The same program; what it declares goes into the map as well. */
export function recorded(program: PulumiFn, declared: Map<string, Inputs>): PulumiFn {
	return async () => {
		runtime.registerStackTransformation(({ type, name, props }) => {
			const inputs: Record<string, unknown> = {};
			declared.set(resourceKey(type, name), inputs);
			for (const [key, value] of Object.entries(props)) {
				output(value).apply((known) => {
					inputs[key] = known;
				});
			}
			return undefined;
		});
		return program();
	};
}

/** The containers of a stack as they were made, secrets in clear. */
export type LastGood = ReadonlyMap<string, Inputs>;

/** @param state exported with its secrets. */
export function lastGoodOf(state: Deployment): LastGood {
	const containers = resourcesOf(state).filter(({ type }) => type === RESOURCE_TYPE.container);
	return new Map(containers.map(({ urn, inputs = {} }) => [nameOf(urn), plain(inputs) as Inputs]));
}

/** @param optional those of the parts that not every stack has; not said: as the settings have it */
type Program = (optional?: ReadonlySet<Part>) => ReturnType<PulumiFn>;

/** Those of the optional parts that were there. */
export const optionalIn = (last: LastGood): ReadonlySet<Part> =>
	new Set([...OPTIONAL_PARTS].filter((part) => last.has(part)));

/**
 * The same program with those containers as they were, whatever it says of them by now: a part that was there is, and
 * one that was not is not made again.
 */
export function asItWas(program: Program, last: LastGood): PulumiFn {
	return async () => {
		runtime.registerStackTransformation(({ type, name, opts }) => {
			const props = type === RESOURCE_TYPE.container ? last.get(name) : undefined;
			return props && { props: { ...props }, opts };
		});
		return program(optionalIn(last));
	};
}

/** How Pulumi marks a secret in an exported state. */
const SIGNATURE = "4dabf18193072939515e22adb298388d";
const SECRET = "1b47061264138c4ac30d75fd1eb44270";
/** Where the provider's bridge notes which inputs it has filled in itself. */
const DEFAULTS = "__defaults";

/** Without what the bridge added; secrets are secrets again. */
function plain(value: unknown): unknown {
	if (Array.isArray(value)) return value.map(plain);
	if (typeof value !== "object" || value === null) return value;
	const object = value as Record<string, unknown>;
	if (object[SIGNATURE] === SECRET) return secret(JSON.parse(String(object.plaintext)));
	const added = new Set([DEFAULTS, ...((object[DEFAULTS] as string[] | undefined) ?? [])]);
	const own = Object.entries(object).filter(([key]) => !added.has(key));
	return Object.fromEntries(own.map(([key, inner]) => [key, plain(inner)]));
}
