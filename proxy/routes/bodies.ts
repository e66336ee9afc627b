/**
 * Where the body decides. MLflow reads and writes wherever an experiment's `artifact_location` or a model
 * version's `source` points, with its own rights: anything but its own artifact root needs an admin. What a
 * search may ask for at once is bounded too: MLflow holds all of an answer in memory.
 */
import type { DoorErrorCode } from "../errors.ts";
import { belowTwin } from "./classes.ts";
import { refusedQuery } from "./graphql.ts";
import { isAmbiguous, isWithin, valuesOf } from "./json.ts";

/** A body that decides, or whose length is not announced, is taken in whole, up to this size. In bytes. */
export const DECIDING = 1024 * 1024;

type Message = Readonly<Record<string, unknown>>;

export interface BodyRule {
	/** @returns why this may not be sent */
	judge(message: Message): DoorErrorCode | undefined;
	/** An admin may. */
	sparesAdmin: boolean;
}

/** The most rows of one answer: what MLflow's own client asks for at most. */
export const ROWS = 10_000;

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

const forOthers = (judge: BodyRule["judge"]): BodyRule => ({ judge, sparesAdmin: true });

/** What is missing or empty is MLflow's to refuse. */
const RULES: Readonly<Record<string, BodyRule>> = {
	"POST /mlflow/experiments/create": forOthers((message) =>
		valuesOf(message, "artifact_location").every((value) => value === "") ? undefined : "ARTIFACT_LOCATION",
	),
	"POST /mlflow/model-versions/create": forOthers(({ source }) =>
		(source ?? "") === "" || isTracked(source) ? undefined : "MODEL_SOURCE",
	),
	"POST /mlflow/runs/search": forOthers((message) =>
		valuesOf(message, "max_results").every((value) => isWithin(value, ROWS)) ? undefined : "TOO_MANY_ROWS",
	),
};

const PLAIN_RULES: Readonly<Record<string, BodyRule>> = {
	/** Whoever asks: what is refused there is of use to nobody. */
	"POST /graphql": {
		judge: ({ query, variables }) =>
			typeof query === "string" ? refusedQuery(query, variables) : "GRAPHQL_QUERY",
		sparesAdmin: false,
	},
};

/** The rule for one method of one of MLflow's rules. */
export const bodyRuleOf = (method: string, rule: string): BodyRule | undefined => {
	const below = belowTwin(rule);
	return below === undefined ? PLAIN_RULES[`${method} ${rule}`] : RULES[`${method} ${below}`];
};

/**
 * Reads a body as MLflow does, which takes JSON within a JSON string too. Narrower on purpose: MLflow guesses
 * the encoding, we take UTF-8 alone, and each name once, so that what we judge is what it reads.
 * @returns what is wrong with what is no JSON object, or no unambiguous one
 */
export function messageOf(body: Buffer): { message: Message } | { refused: DoorErrorCode } {
	if (body.length === 0) return { message: {} };
	try {
		let text = new TextDecoder("utf-8", { fatal: true }).decode(body);
		let value: unknown = JSON.parse(text);
		if (typeof value === "string") {
			text = value;
			value = JSON.parse(text);
		}
		if (typeof value !== "object" || value === null || Array.isArray(value)) return { refused: "BODY_JSON" };
		return isAmbiguous(text) ? { refused: "BODY_AMBIGUOUS" } : { message: value as Message };
	} catch {
		return { refused: "BODY_JSON" };
	}
}

export function refusedBody(rule: BodyRule, body: Buffer): DoorErrorCode | undefined {
	const read = messageOf(body);
	return "refused" in read ? read.refused : rule.judge(read.message);
}
