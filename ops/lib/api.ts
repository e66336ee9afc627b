/** The inference API as the door reaches it: asked from inside the door's container, because nobody else may. */
import { ALIAS } from "../../infra/contract.ts";
import { type Container, start } from "./docker.ts";
import type { Check } from "./door.ts";

/** What it answers to a GET, or why it does not. `body` at most 64 KiB. */
export type ApiAnswer = { status: number; body: string } | { error: string };

/** In the door's container: Node is there. Prints an `ApiAnswer`. */
const ASK = `
const [url, ms] = process.argv.slice(1);
fetch(url, { redirect: "manual", signal: AbortSignal.timeout(Number(ms)) })
	.then(async (answer) => ({ status: answer.status, body: (await answer.text()).slice(0, 65536) }))
	.catch((error) => ({ error: String(error.cause?.message || error.cause?.code || error.message) }))
	.then((answer) => console.log(JSON.stringify(answer)));
`;

/** The port it was told to listen on. */
export const portOf = (api: Container): string =>
	api.Config.Env.find((line) => line.startsWith("PORT="))?.slice("PORT=".length) ?? "";

/** @param host who is asked: whoever has the API's name now, if not said. */
export async function askApi(
	door: Container,
	api: Container,
	path: string,
	{ host = ALIAS.api as string, timeoutMs = 5_000 } = {},
): Promise<ApiAnswer> {
	const url = `http://${host}:${portOf(api)}${path}`;
	const { stdout, stderr } = await start(["exec", door.Id, "node", "-e", ASK, url, String(timeoutMs)], {
		timeoutMs: timeoutMs + 10_000,
	});
	try {
		return JSON.parse(stdout);
	} catch {
		return { error: stderr.trim().split("\n").at(-1) || "nobody could be asked" };
	}
}

/** `GET /model` of the reference API, and of any image that follows its stage by itself: the fields we read. */
export interface Model {
	/** What serves; null: nothing yet. */
	version: string | null;
	run_id?: string | null;
	/** ISO time. */
	loaded_at?: string | null;
	/** What is going on, for people. */
	state?: string;
	/** The last try that ended badly; `at` is an ISO time, `retrying` that it is not given up. */
	last_failure?: { version: string; reason: string; at: string; retrying?: boolean } | null;
	/** Whether it reaches the tracking server; null before the first answer. */
	tracking?: { reachable: boolean | null; reason: string | null };
}

/** @returns undefined if the text is not what `GET /model` answers. */
export function modelOf(body: string): Model | undefined {
	try {
		const value = JSON.parse(body);
		const isModel = typeof value?.version === "string" || value?.version === null;
		return isModel ? value : undefined;
	} catch {
		return undefined;
	}
}

/** An ingredient of every kitchen; whether the model knows it does not matter. */
const QUESTION = `/similar?ingredient=${encodeURIComponent("盐")}&k=1`;
/** What the reference API answers when a model was asked: neighbours, or that the ingredient is unknown. */
const PREDICTED: readonly number[] = [200, 404];

/**
 * The round trip through the API. Having no model yet is well: somebody has to train and promote one first. So is a
 * version in the stage that is no usable model: the way out of it is to promote another one.
 * @param reference whether it is mlgate's own, which can be asked for a prediction; of others an answer must do.
 */
export async function checkApi(door: Container, api: Container, reference: boolean): Promise<Check> {
	const begun = performance.now();
	const check = (name: string, ok: boolean, detail?: string): Check => ({
		name,
		ok,
		ms: Math.round(performance.now() - begun),
		...(detail && { detail }),
	});
	if (!reference) {
		const answer = await askApi(door, api, "/");
		return "error" in answer ? check("api", false, answer.error) : check("api", true);
	}
	const prediction = await askApi(door, api, QUESTION);
	if ("error" in prediction) return check("api", false, prediction.error);
	if (PREDICTED.includes(prediction.status)) return check("api: prediction", true);
	const answer = await askApi(door, api, "/model");
	const model = "body" in answer ? modelOf(answer.body) : undefined;
	if (prediction.status !== 503 || !model) {
		return check("api: prediction", false, `GET ${QUESTION} answered ${prediction.status}.`);
	}
	const reached = model.tracking?.reachable === true;
	return check("api: no model yet", reached, reached ? model.state : (model.tracking?.reason ?? model.state));
}
