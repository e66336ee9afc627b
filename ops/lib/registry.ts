/** MLflow's model registry, and what serves from it, as everybody reaches them: through the door, with a token. */
import { request } from "undici";
import { type Model, modelOf } from "./api.ts";
import { OpsError } from "./errors.ts";

/** A model version, the fields that we read. Times are milliseconds since 1970. */
export interface ModelVersion {
	name: string;
	version: string;
	/** `None`, `Staging`, `Production` or `Archived`. */
	current_stage: string;
	run_id?: string;
	creation_timestamp: number;
	/** Changes with the stage and the description, not with tags. */
	last_updated_timestamp: number;
	/** Whether MLflow has the version ready: `READY`, else why not. */
	status?: string;
	tags?: { key: string; value: string }[];
}

/** Tag on a version that `promote` moved: JSON of a `Promotion`. */
export const PROMOTION_TAG = "mlgate.promotion";

export interface Promotion {
	stage: string;
	/** The user of the host who ran the command. */
	by: string;
	/** ISO time. */
	at: string;
	/** `last_updated_timestamp` of the version then: another one now means that it was moved again by others. */
	updated: number;
}

const API = "/api/2.0/mlflow";
const TIMEOUT_MS = 30_000;

export class Registry {
	readonly #origin: string;
	readonly #token: string;

	/** @param origin where the door answers, `http://localhost:5000`. */
	constructor(origin: string, token: string) {
		this.#origin = origin;
		this.#token = token;
	}

	/** All versions of a model, the highest first. */
	async versions(model: string): Promise<ModelVersion[]> {
		const found: ModelVersion[] = [];
		let page = "";
		do {
			const query = new URLSearchParams({
				// MLflow's filters know no escape: a name is quoted by what it does not contain.
				filter: `name=${model.includes("'") ? `"${model}"` : `'${model}'`}`,
				max_results: "1000",
				...(page && { page_token: page }),
			});
			const answer = await this.#mlflow<{ model_versions?: ModelVersion[]; next_page_token?: string }>(
				"GET",
				`/model-versions/search?${query}`,
			);
			found.push(...(answer.model_versions ?? []));
			page = answer.next_page_token ?? "";
		} while (page);
		return found.sort((a, b) => Number(b.version) - Number(a.version));
	}

	async moveTo(stage: string, { name, version }: ModelVersion, archiveOthers = false): Promise<ModelVersion> {
		const body = { name, version, stage, archive_existing_versions: archiveOthers };
		const answer = await this.#mlflow<{ model_version: ModelVersion }>(
			"POST",
			"/model-versions/transition-stage",
			body,
		);
		return answer.model_version;
	}

	async tag({ name, version }: ModelVersion, promotion: Promotion): Promise<void> {
		const value = JSON.stringify(promotion);
		await this.#mlflow("POST", "/model-versions/set-tag", { name, version, key: PROMOTION_TAG, value });
	}

	/** What the API says at `/model`, or why it says nothing of the kind. */
	async served(): Promise<Model | { unknown: string }> {
		const { status, text } = await this.#ask("GET", "/inference/model").catch((error: Error) => ({
			status: 0,
			text: error.message,
		}));
		const model = status === 200 ? modelOf(text) : undefined;
		return model ?? { unknown: `GET /inference/model answered ${status || text}` };
	}

	async #mlflow<T>(method: "GET" | "POST", path: string, body?: object): Promise<T> {
		const { status, text } = await this.#ask(method, `${API}${path}`, body);
		if (status === 200) return JSON.parse(text) as T;
		throw new OpsError({
			code: "REGISTRY_REFUSED",
			kind: "precondition",
			what: messageOf(text) || `The tracking server answered ${status}.`,
			fix: "npx mlgate status",
		});
	}

	async #ask(method: "GET" | "POST", path: string, body?: object): Promise<{ status: number; text: string }> {
		try {
			const answer = await request(`${this.#origin}${path}`, {
				method,
				headers: {
					authorization: `Bearer ${this.#token}`,
					accept: "application/json",
					...(body && { "content-type": "application/json" }),
				},
				...(body && { body: JSON.stringify(body) }),
				signal: AbortSignal.timeout(TIMEOUT_MS),
			});
			return { status: answer.statusCode, text: await answer.body.text() };
		} catch (error) {
			throw new OpsError(
				{
					code: "DOOR_DOWN",
					kind: "unhealthy",
					what: "The door does not answer.",
					why: String((error as Error).message),
					fix: "npx mlgate status",
				},
				{ cause: error },
			);
		}
	}
}

/** MLflow's and the door's errors: `{"error_code", "message"}`. */
function messageOf(text: string): string {
	try {
		return String(JSON.parse(text).message ?? "");
	} catch {
		return "";
	}
}

/** Who moved a version to its stage, as far as its tag tells the truth about the last change. */
export function promotionOf(version: ModelVersion): Promotion | undefined {
	const tag = version.tags?.find(({ key }) => key === PROMOTION_TAG);
	try {
		const promotion = JSON.parse(tag?.value ?? "null");
		const current =
			promotion?.updated === version.last_updated_timestamp && promotion?.stage === version.current_stage;
		return current ? promotion : undefined;
	} catch {
		return undefined;
	}
}
