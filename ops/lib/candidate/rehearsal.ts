/**
 * Before Pulumi replaces a part, for which it first removes the old one: a candidate of what the program declares shows
 * that the new one can run. It works on the stack's data, so it writes nothing: it migrates nothing, and has the data
 * volumes read-only and everything else of its own.
 */
import { PATH, type Part } from "../../../infra/contract.ts";
import { type Container, docker } from "../docker.ts";
import { OpsError } from "../errors.ts";
import type { Report } from "../report.ts";
import type { Declared } from "../stack/declared.ts";
import { RESOURCE_TYPE, resourceKey } from "../stack/state.ts";
import { list } from "../text.ts";
import { becomesHealthy, endsWell, lastWords, removeCandidate, startCandidate } from "./container.ts";
import { type ContainerSpec, type DeclaredContainer, type Mount, specFrom } from "./spec.ts";

export interface Rehearsing {
	/** The stack's name on the host. */
	name: string;
	declared: Declared;
	report: Report;
	interrupted: AbortSignal;
}

interface Rehearsal {
	/** Tells it that it is one. */
	env: readonly string[];
	proof: (candidate: Container, interrupted: AbortSignal) => Promise<void>;
}

/** The stores are not among them: two of one on the same data would destroy it. */
const REHEARSALS: Partial<Record<Part, Rehearsal>> = {
	mlflow: { env: ["MLGATE_MIGRATE=0"], proof: becomesHealthy },
	// A second door would take over from the first one. It tries everything that a start needs, and ends.
	door: { env: ["MLGATE_REHEARSE=1"], proof: endsWell },
	api: { env: [], proof: becomesHealthy },
};

/** What a candidate cannot be made without. */
const NEEDED = ["envs", "mounts", "networksAdvanced"] as const satisfies readonly (keyof DeclaredContainer)[];

/** @throws OpsError CANDIDATE_FAILED (exit 5) with what it said last; nothing was touched then. */
export async function rehearse(part: Part, job: Rehearsing): Promise<void> {
	const rehearsal = REHEARSALS[part];
	if (!rehearsal) return;
	const { name, declared, report, interrupted } = job;
	const inputs = declared.get(resourceKey(RESOURCE_TYPE.container, part)) as DeclaredContainer | undefined;
	const unknown = NEEDED.filter((key) => inputs?.[key] === undefined);
	if (!inputs || unknown.length > 0) {
		report.note(`${part} is replaced untried: its ${list(unknown)} will be known only then.`);
		return;
	}
	await report.step(`Trying the new ${part} in a candidate`, async ({ detail }) => {
		const spec = specFrom(inputs, await imageOf(part, declared));
		await removeCandidate(name, part);
		const candidate = await startCandidate(name, part, harmless(spec, rehearsal));
		try {
			detail("waiting until it has proved itself");
			await rehearsal.proof(candidate, interrupted);
		} catch (error) {
			throw failed(part, error, await lastWords(candidate));
		} finally {
			await removeCandidate(name, part);
		}
	});
}

/** The image that the program names; its id stands in no preview while it is new. */
async function imageOf(part: Part, declared: Declared): Promise<string> {
	const image = declared.get(resourceKey(RESOURCE_TYPE.image, `${part}-image`))?.name;
	return (await docker(["image", "inspect", "--format", "{{.Id}}", String(image)])).trim();
}

const DATA_PATHS: ReadonlySet<string> = new Set(Object.values(PATH.data));

function harmless(spec: ContainerSpec, { env }: Rehearsal): ContainerSpec {
	const mounts = spec.mounts.map((mount): Mount => {
		if (mount.readOnly) return mount;
		const { target } = mount;
		return DATA_PATHS.has(target) ? { ...mount, readOnly: true } : { target, readOnly: false };
	});
	return { ...spec, env: [...spec.env, ...env], mounts };
}

function failed(part: Part, error: unknown, lines: string[]): unknown {
	if (error instanceof OpsError || (error as Error).name === "AbortError") return error;
	return new OpsError(
		{
			code: "CANDIDATE_FAILED",
			kind: "unhealthy",
			what: `The new ${part} does not run. Nothing was changed: the old one goes on.`,
			why: `A candidate of it was started first, and ${(error as Error).message}.`,
			fix: "Mend what it says, or take the change back; npx mlgate preview shows it.",
			said: { by: `the new ${part}`, lines },
		},
		{ cause: error },
	);
}
