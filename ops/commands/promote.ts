import { userInfo } from "node:os";
import { type ApiSettings, apiSettings } from "../../infra/api-settings.ts";
import { SETTINGS } from "../../infra/settings.ts";
import type { Model } from "../lib/api.ts";
import { notHealthy } from "../lib/await-health.ts";
import { takeOver } from "../lib/candidate/take-over.ts";
import { type Answer, type Context, defineCommand } from "../lib/command.ts";
import { containerOf } from "../lib/docker.ts";
import { OpsError } from "../lib/errors.ts";
import { examine } from "../lib/health.ts";
import { type Identity, identify } from "../lib/identity.ts";
import { type ModelVersion, promotionOf, Registry } from "../lib/registry.ts";
import type { Report } from "../lib/report.ts";
import { sleep } from "../lib/sleep.ts";
import { readSettings } from "../lib/stack/config-file.ts";
import { ago, duration, list } from "../lib/text.ts";
import { nameOfJob, withToken } from "../lib/token.ts";

/** An API that follows its stage has loaded a version by then, or says why not: it gives a load a minute. */
const FOLLOW_MS = 120_000;
const PAUSE_MS = 500;
/** Far longer than a promotion takes; the token is revoked at the end in any case. */
const TOKEN_LIFE = "1h";

const STAGES = ["Staging", "Production"] as const;

export const command = defineCommand({
	name: "promote",
	summary: "move a model version to a stage and wait until it is served, else put it back",
	arguments: {
		model: { summary: "the registered model", optional: true },
		version: { summary: "its version, `latest`, or the id of the run that logged it", optional: true },
	},
	options: {
		stage: { value: "stage", summary: "the stage (default: the one that is served)", choices: STAGES },
		archiveExisting: { summary: "move the versions that are in the stage to Archived" },
		status: { summary: "only say what is served, since when, and who promoted it" },
	},
	locks: true,
	async run(context, { model, version }, { stage, archiveExisting = false, status }) {
		if (!status && (!model || !version)) throw incomplete();
		const identity = identify(context);
		const settings = readSettings(context);
		await assertUp(identity);
		const api = apiSettings(settings);
		const token = { job: nameOfJob("promote"), life: TOKEN_LIFE };
		return withToken(identity, context.report, token, async (secret) => {
			const registry = new Registry(identity.url, secret);
			if (status || !model || !version) return describe(identity, api, registry);
			const wish = { model, version, stage: stage ?? settings["api.stage"], archiveExisting };
			return promote(context, identity, api, registry, wish);
		});
	},
});

interface Wish {
	model: string;
	version: string;
	stage: (typeof STAGES)[number];
	archiveExisting: boolean;
}

async function promote(
	{ report, interrupted }: Context,
	identity: Identity,
	api: ApiSettings,
	registry: Registry,
	wish: Wish,
): Promise<Answer> {
	const { model, stage, archiveExisting } = wish;
	const versions = await registry.versions(model);
	const chosen = choose(versions, wish);
	const others = versions.filter((one) => one.current_stage === stage && one.version !== chosen.version);
	const above = others.filter((one) => Number(one.version) > Number(chosen.version));
	if (above.length > 0 && !archiveExisting) throw hidden(chosen, stage, above);

	const begun = Date.now();
	const serves = model === api.model.name && stage === api.model.stage;
	const undo = once(() => putBack(registry, chosen, archiveExisting ? others : [], report));
	const moved = await registry.moveTo(stage, chosen, archiveExisting);
	try {
		if (serves && api.reload === "follows") await followed(registry, chosen, begun, report, interrupted);
		if (serves && api.reload === "restart") {
			await takeOver({ name: identity.name, ready: api.ready, report, interrupted, putBack: undo });
		}
	} catch (error) {
		await undo();
		throw notServed(chosen, stage, error);
	}
	const promotion = { stage, by: userInfo().username, at: new Date(begun).toISOString() };
	await registry.tag(chosen, { ...promotion, updated: moved.last_updated_timestamp });
	const archived = archiveExisting ? others.map((one) => one.version) : [];
	const seconds = (Date.now() - begun) / 1000;
	return {
		json: {
			model,
			version: chosen.version,
			runId: chosen.run_id ?? null,
			...promotion,
			archived,
			serves,
			seconds,
		},
		text: [
			serves
				? `${model} version ${chosen.version} is in ${stage} and served, after ${duration(seconds * 1000)}.`
				: `${model} version ${chosen.version} is in ${stage}. Nobody serves that: the API serves ${api.model.name} in ${api.model.stage}.`,
			...(archived.length > 0 ? [`Archived: ${list(archived.map((one) => `version ${one}`))}.`] : []),
			...(serves ? [`See it: ${identity.url}/inference/`] : []),
		].join("\n"),
	};
}

/** @throws OpsError VERSION_UNKNOWN, VERSION_NOT_READY */
function choose(versions: readonly ModelVersion[], { model, version }: Wish): ModelVersion {
	const isRun = /^[0-9a-f]{32}$/.test(version);
	const chosen =
		version === "latest"
			? versions[0]
			: versions.find((one) => (isRun ? one.run_id === version : one.version === version));
	if (!chosen) {
		const there = versions.slice(0, 10).map((one) => one.version);
		throw new OpsError({
			code: "VERSION_UNKNOWN",
			kind: "precondition",
			what: `There is no ${isRun ? `version of ${model} from the run` : `${model} version`} ${version}.`,
			why: there.length > 0 ? `There is ${list(there)}.` : `${model} has no versions.`,
			fix: there.length > 0 ? `npx mlgate promote ${model} latest` : "npx mlgate train",
		});
	}
	if (chosen.status === undefined || chosen.status === "READY") return chosen;
	throw new OpsError({
		code: "VERSION_NOT_READY",
		kind: "precondition",
		what: `${model} version ${chosen.version} is ${chosen.status}.`,
		fix: "Wait until MLflow has it ready, or register it again.",
	});
}

/** `models:/<model>/<stage>` means the highest version in the stage: a lower one beside it is never served. */
const hidden = (chosen: ModelVersion, stage: string, above: readonly ModelVersion[]): OpsError =>
	new OpsError({
		code: "VERSION_HIDDEN",
		kind: "precondition",
		what: `${chosen.name} version ${chosen.version} would not be served: ${stage} also has ${list(above.map(({ version }) => `version ${version}`))}.`,
		why: "A stage means its highest version.",
		fix: `npx mlgate promote ${chosen.name} ${chosen.version} --stage ${stage} --archive-existing`,
	});

/** Waits until an API that follows its stage says that it serves the version. Throws what went wrong. */
async function followed(
	registry: Registry,
	{ version }: ModelVersion,
	begun: number,
	report: Report,
	interrupted: AbortSignal,
): Promise<void> {
	await report.step(`Waiting until version ${version} is served`, async ({ detail }) => {
		for (let said = ""; ; await sleep(PAUSE_MS, interrupted)) {
			const model = await registry.served();
			if ("unknown" in model) said = model.unknown;
			else {
				if (model.version === version) return;
				const failure = failureOf(model, version, begun);
				if (failure) throw new Error(failure);
				said = model.state ?? `it serves version ${model.version}`;
			}
			detail(said);
			if (Date.now() - begun > FOLLOW_MS)
				throw new Error(`the API did not take it within ${duration(FOLLOW_MS)}: ${said}`);
		}
	});
}

/** Why the API has given the version up since then, if it has. */
function failureOf({ last_failure: failure }: Model, version: string, since: number): string | undefined {
	if (!failure || failure.version !== version || failure.retrying) return undefined;
	return Date.parse(failure.at) >= since ? failure.reason : undefined;
}

/** Every version back to the stage that it was in. */
async function putBack(
	registry: Registry,
	chosen: ModelVersion,
	archived: readonly ModelVersion[],
	report: Report,
): Promise<void> {
	for (const one of [...archived, chosen]) {
		await registry.moveTo(one.current_stage, one).catch((error: Error) => {
			report.note(
				`${one.name} version ${one.version} could not be put back to ${one.current_stage}: ${error.message}`,
			);
			throw error;
		});
	}
}

function once(work: () => Promise<void>): () => Promise<void> {
	let done: Promise<void> | undefined;
	return () => {
		done ??= work();
		return done;
	};
}

function notServed({ name, version, current_stage }: ModelVersion, stage: string, cause: unknown): unknown {
	if ((cause as Error).name === "AbortError") return cause;
	const problem = cause instanceof OpsError ? cause.problem : undefined;
	const reason = [problem?.what, problem ? problem.why : (cause as Error).message].filter(Boolean).join(" ");
	const where = current_stage === stage ? `stays in ${stage}, where it was` : `is back in ${current_stage}`;
	return new OpsError(
		{
			code: "NOT_PROMOTED",
			kind: "unhealthy",
			what: `${name} version ${version} cannot be served. It ${where}, and what was served before goes on.`,
			why: reason,
			fix: `Mend the version's artifact and log it again, or promote another one: npx mlgate promote ${name} <version>`,
			...(problem?.said && { said: problem.said }),
		},
		{ cause },
	);
}

/** What serves, since when, promoted by whom: no more than is known. */
async function describe(identity: Identity, api: ApiSettings, registry: Registry): Promise<Answer> {
	const { name, stage } = api.model;
	const inStage = (await registry.versions(name)).find((one) => one.current_stage === stage);
	const served = await (api.reload === "follows" ? byWord(registry) : byStart(identity, inStage));
	const promotion = inStage && promotionOf(inStage);
	const moved = inStage && new Date(inStage.last_updated_timestamp).toISOString();
	const lines = [
		served.version
			? `${name} version ${served.version} is served, since ${served.since} (${ago(served.since)}).`
			: `No version of ${name} is served.`,
		...(served.said ? [served.said] : []),
		inStage
			? `In ${stage}: version ${inStage.version}, ${promotion ? `promoted by ${promotion.by} with this command at ${promotion.at}` : `last changed in MLflow at ${moved}; the door's audit trail knows by whom`}.`
			: `In ${stage}: none.`,
	];
	return {
		json: {
			model: name,
			stage,
			served: { version: served.version, since: served.since, ...(served.said && { detail: served.said }) },
			inStage: inStage
				? {
						version: inStage.version,
						runId: inStage.run_id ?? null,
						changed: moved,
						promotion: promotion ?? null,
					}
				: null,
		},
		text: lines.join("\n"),
	};
}

interface Served {
	version: string | null;
	since: string | null;
	/** What else is to be known. */
	said?: string;
}

/** As the API says itself. */
async function byWord(registry: Registry): Promise<Served> {
	const model = await registry.served();
	if ("unknown" in model) return { version: null, since: null, said: model.unknown };
	const { version, loaded_at, last_failure: failure } = model;
	const said = failure ? `Version ${failure.version} could not be loaded: ${failure.reason}` : model.state;
	return { version, since: loaded_at ?? null, ...(said && { said }) };
}

/** An image that reads its stage when it starts, and says nothing about it. */
async function byStart({ name }: Identity, inStage: ModelVersion | undefined): Promise<Served> {
	const started = (await containerOf(name, "api"))?.State.StartedAt ?? null;
	if (!inStage || !started) return { version: null, since: null };
	if (Date.parse(started) >= inStage.last_updated_timestamp)
		return { version: inStage.version, since: started };
	return {
		version: null,
		since: null,
		said: `Which version is not known: the image reads its model once, it was started at ${started}, and version ${inStage.version} came to the stage later. Deploy it: npx mlgate promote ${inStage.name} ${inStage.version}`,
	};
}

/** A stack whose API has no usable model is to be mended by this very command. */
async function assertUp(identity: Identity): Promise<void> {
	const health = await examine(identity);
	if (health.verdict !== "healthy") throw await notHealthy(identity, health);
}

const incomplete = (): OpsError =>
	new OpsError({
		code: "USAGE",
		kind: "usage",
		what: "Which model, and which version?",
		fix: `npx mlgate promote ${SETTINGS["api.model"].default()} latest`,
	});
