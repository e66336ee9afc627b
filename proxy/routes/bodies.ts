/**
 * Where the body decides. MLflow reads and writes wherever an experiment's `artifact_location` or a model
 * version's `source` points, with its own rights: anything but its own artifact root needs an admin.
 */
import type { DoorErrorCode } from "../errors.ts";
import { TWINS } from "./classes.ts";

/** A body that decides is taken in whole, up to this size. In bytes. */
export const DECIDING = 1024 * 1024;

/** @returns why somebody who is no admin may not send this */
export type BodyRule = (message: Readonly<Record<string, unknown>>) => DoorErrorCode | undefined;

/** URIs that resolve inside the tracked artifact root, without an authority of their own. */
const TRACKED = /^(?:mlflow-artifacts|runs|models):\/(?!\/)/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
const TRICKS = /[\u0000-\u001f\u007f\\?#;]|(?:^|\/)\.{1,2}(?:\/|$)/;

/** MLflow decodes a source until it does not change any more. */
export function isTracked(source: unknown): boolean {
	if (typeof source !== "string" || !TRACKED.test(source)) return false;
	let level = source;
	for (let i = 0; i < 10; i++) {
		if (TRICKS.test(level)) return false;
		const next = level.replace(/%[0-9a-f]{2}/gi, (hex) =>
			String.fromCharCode(Number.parseInt(hex.slice(1), 16)),
		);
		if (next === level) return true;
		level = next;
	}
	return false;
}

/** What is missing or empty is MLflow's to refuse. */
const RULES: Readonly<Record<string, BodyRule>> = {
	/** Protobuf's JSON takes both spellings of a field. */
	"POST /mlflow/experiments/create": (message) =>
		[message.artifact_location, message.artifactLocation].every((value) => (value ?? "") === "")
			? undefined
			: "ARTIFACT_LOCATION",
	"POST /mlflow/model-versions/create": ({ source }) =>
		(source ?? "") === "" || isTracked(source) ? undefined : "MODEL_SOURCE",
};

/** The rule for one method of one of MLflow's rules. */
export const bodyRuleOf = (method: string, rule: string): BodyRule | undefined => {
	const twin = TWINS.find((prefix) => rule.startsWith(`${prefix}/`));
	return twin === undefined ? undefined : RULES[`${method} ${rule.slice(twin.length)}`];
};

/**
 * Reads a body as MLflow does, which takes JSON within a JSON string too. Narrower on purpose: MLflow guesses
 * the encoding, we take UTF-8 alone, so that what we judge is what it reads.
 * @returns undefined for what is no JSON object
 */
export function messageOf(body: Buffer): Readonly<Record<string, unknown>> | undefined {
	if (body.length === 0) return {};
	try {
		const once: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
		const value: unknown = typeof once === "string" ? JSON.parse(once) : once;
		return typeof value === "object" && value !== null && !Array.isArray(value)
			? (value as Record<string, unknown>)
			: undefined;
	} catch {
		return undefined;
	}
}

/** Judges the body of a request by somebody who is no admin. */
export function refusedBody(rule: BodyRule, body: Buffer): DoorErrorCode | undefined {
	const message = messageOf(body);
	return message === undefined ? "BODY_JSON" : rule(message);
}
