/** Which of MLflow's files each of its pages asks for, as `infra/images/door/ui.mjs` found them in its routes. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";

const files = z.array(z.string());
const shape = z.record(z.string(), z.strictObject({ first: files, later: files }));

/**
 * By the name of the route in MLflow's own code; names of files below `static-files/`.
 * `first`: what the page cannot begin without. `later`: what these ask for when they have something to draw.
 */
export type EarlyParts = z.infer<typeof shape>;

/**
 * @param folder what `ui.mjs` made
 * @throws if there is no such list, or it cannot be read
 */
export const readEarly = (folder: string): EarlyParts =>
	shape.parse(JSON.parse(readFileSync(join(folder, "early.json"), "utf8")));
