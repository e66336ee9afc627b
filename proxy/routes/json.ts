/**
 * JSON read for a decision. Of a name that occurs twice in one object Python and JavaScript keep the last
 * value, others the first, and protobuf's JSON joins two spellings: what is decided upon must have one reading.
 */

/** Deeper than any message of MLflow. */
const DEEPEST = 64;

/** What a value may begin with, and strings as JSON writes them. The text has passed `JSON.parse`. */
const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]/g;

/**
 * What fields are called. Protobuf looks a field up by the part of its name before a NUL: `artifact_location\0` sets
 * the artifact_location.
 */
const FIELD = /^[A-Za-z_][A-Za-z0-9_]*$/;

/**
 * Whether an object anywhere in a JSON text has a name twice, or one that no field has, or is nested deeper than any
 * that belongs here.
 * @param text what `JSON.parse` has read without an error
 */
export function isAmbiguous(text: string): boolean {
	/** The names so far of each open object; of an array nothing. */
	const open: (Set<string> | undefined)[] = [];
	let naming = false;
	for (const [token] of text.matchAll(TOKEN)) {
		if (token === "{" || token === "[") {
			if (open.length === DEEPEST) return true;
			open.push(token === "{" ? new Set() : undefined);
			naming = token === "{";
		} else if (token === "}" || token === "]") {
			open.pop();
			naming = false;
		} else if (token === ",") {
			naming = open.at(-1) !== undefined;
		} else if (token === ":") {
			naming = false;
		} else if (naming) {
			const names = open.at(-1);
			const name = JSON.parse(token) as string;
			if (!FIELD.test(name) || names?.has(name)) return true;
			names?.add(name);
		}
	}
	return false;
}

/** A field's name as protobuf's JSON writes it: `max_results` is `maxResults`. */
const camel = (field: string): string =>
	field.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

/** A field's values, under both names that protobuf's JSON takes; null is no value. */
export const valuesOf = (message: Readonly<Record<string, unknown>>, field: string): unknown[] =>
	[...new Set([field, camel(field)])].map((name) => message[name]).filter((value) => value != null);

/** A whole number from 0 to `most`, as a number or in plain digits: Python takes `1_0` and other digits too. */
export function isWithin(value: unknown, most: number): boolean {
	if (typeof value === "string") return /^\d{1,9}$/.test(value) && Number(value) <= most;
	return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= most;
}
