/**
 * Answers of the door that keep MLflow's own from cutting its client off from data. Each is a row of
 * `deviations.md`.
 */
import type { Route } from "./match.ts";

/**
 * MLflow's client drops what follows a `#` in a file's name when it uploads it, and again when it downloads
 * it, so both meet in the same object. In between it asks whether that name is a folder, and there the `#`
 * arrives, and MLflow refuses it. No name that MLflow stores holds one: such a folder is empty.
 * @param query the canonical query
 * @returns the JSON to answer with, if the door is to answer
 */
export function quirk(route: Route, query: string): object | undefined {
	if (route.method !== "GET" || !query.includes("%23")) return undefined;
	if (!route.rule.endsWith("/mlflow-artifacts/artifacts")) return undefined;
	return new URLSearchParams(query).getAll("path").some((path) => path.includes("#")) ? {} : undefined;
}
