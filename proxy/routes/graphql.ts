/**
 * GraphQL, read-only and bounded. MLflow runs a query of any size, and each field at its root asks the database
 * anew (CVE-2025-0453: ten thousand aliases hold every worker). What MLflow's schema needs is a small part of
 * the language: one query, no fragments, which could multiply, and no introspection, whose answer has no bound
 * in the length of the question. A tokenizer is enough to hold a query to that; parsing is MLflow's.
 */
import type { DoorErrorCode } from "../errors.ts";
import { isWithin } from "./json.ts";

/** The whole schema is five levels deep, and its widest type has a dozen fields. */
export const GRAPHQL_LIMITS = {
	/** Characters. */
	length: 16_384,
	depth: 8,
	/** Fields in all, and at the root. */
	fields: 200,
	root: 10,
	aliases: 10,
	/** Rows that one field may ask for. */
	rows: 10_000,
} as const;

/** By the grammar of October 2021: punctuators, names, numbers, strings; block strings nobody needs. */
const TOKEN =
	/\.\.\.|[!$&():=@[\]{|}]|[_A-Za-z][_0-9A-Za-z]*|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|"(?!"")(?:[^"\\\n\r]|\\.)*"/y;
const IGNORED = /(?:[\t\n\r ,\ufeff]|#[^\n\r]*)+/y;

/** @returns undefined for what is no sequence of GraphQL's tokens */
function tokensOf(query: string): string[] | undefined {
	const tokens: string[] = [];
	for (let at = 0; at < query.length; ) {
		IGNORED.lastIndex = at;
		TOKEN.lastIndex = at;
		const [ignored] = IGNORED.exec(query) ?? [];
		const [token] = ignored === undefined ? (TOKEN.exec(query) ?? []) : [];
		if (token !== undefined) tokens.push(token);
		else if (ignored === undefined) return undefined;
		at += (ignored ?? token ?? "").length;
	}
	return tokens;
}

const NAME = /^[_A-Za-z]/;
const ROWS = new Set(["maxResults", "max_results"]);

/** Every `maxResults` in the variables, however deep, is a plain number within the bound. */
function boundedVariables(value: unknown): boolean {
	if (typeof value !== "object" || value === null) return true;
	return Object.entries(value).every(
		([name, inner]) =>
			(ROWS.has(name) ? inner === null || isWithin(inner, GRAPHQL_LIMITS.rows) : true) &&
			boundedVariables(inner),
	);
}

const REFUSED = "GRAPHQL_LIMIT";

/** @returns why this query is not sent on */
export function refusedQuery(query: string, variables: unknown): DoorErrorCode | undefined {
	if (query.length > GRAPHQL_LIMITS.length) return REFUSED;
	const tokens = tokensOf(query);
	if (tokens === undefined || tokens.length === 0) return "GRAPHQL_QUERY";
	if (tokens[0] !== "{" && tokens[0] !== "query") return "GRAPHQL_READ_ONLY";
	if (!boundedVariables(variables)) return REFUSED;
	const given = typeof variables === "object" && variables !== null ? variables : {};

	/** Open brackets. Only braces outside of parentheses hold fields. */
	const open: string[] = [];
	let [selections, fields, root, aliases, ended] = [0, 0, 0, 0, false];
	for (const [i, token] of tokens.entries()) {
		// Behind the last brace of the query nothing may follow: another operation, or a fragment.
		if (ended) return "GRAPHQL_QUERY";
		if (token === "...") return "GRAPHQL_QUERY";
		// GraphQL keeps these names for introspection, wherever they stand.
		if (/^__(?!typename$)/.test(token)) return "GRAPHQL_QUERY";
		const inSelection = open.length > 0 && open.at(-1) === "{" && !open.includes("(");
		if (token === "{" || token === "(" || token === "[") {
			open.push(token);
			if (token === "{" && !open.includes("(")) selections++;
			if (selections > GRAPHQL_LIMITS.depth || open.length > 4 * GRAPHQL_LIMITS.depth) return REFUSED;
		} else if (token === "}" || token === ")" || token === "]") {
			const opened = open.pop();
			if (`${opened}${token}` !== "{}" && `${opened}${token}` !== "()" && `${opened}${token}` !== "[]")
				return "GRAPHQL_QUERY";
			if (token === "}" && inSelection) selections--;
			ended = open.length === 0 && token === "}";
		} else if (inSelection && token === "@") {
			return "GRAPHQL_QUERY";
		} else if (inSelection && NAME.test(token)) {
			// `alias: field` is two names and one field.
			if (tokens[i + 1] === ":") {
				aliases++;
				continue;
			}
			fields++;
			if (selections === 1) root++;
		} else if (ROWS.has(token) && tokens[i + 1] === ":") {
			let value: unknown = tokens[i + 2];
			if (value === "$") value = (given as Record<string, unknown>)[tokens[i + 3] ?? ""];
			else if (/^"\d+"$/.test(String(value))) value = String(value).slice(1, -1);
			if (!isWithin(value, GRAPHQL_LIMITS.rows)) return REFUSED;
		}
		if (fields > GRAPHQL_LIMITS.fields || root > GRAPHQL_LIMITS.root || aliases > GRAPHQL_LIMITS.aliases)
			return REFUSED;
	}
	return ended ? undefined : "GRAPHQL_QUERY";
}
