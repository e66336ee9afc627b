import { defineCommand } from "../lib/command.ts";
import { containersOf, dataVolumesOf } from "../lib/docker.ts";
import type { Diagnosis, Look, Patient } from "../lib/doctor/check.ts";
import { HOST_LOOKS } from "../lib/doctor/host.ts";
import { STACK_LOOKS } from "../lib/doctor/stack.ts";
import { OpsError } from "../lib/errors.ts";
import { identify } from "../lib/identity.ts";
import { type Paint, painter } from "../lib/paint.ts";
import { table } from "../lib/text.ts";

export const command = defineCommand({
	name: "doctor",
	summary: "what is wrong, from the machine up, each with the one thing to do; exit 5 if something is",
	locks: false,
	async run({ checkout, stack, report }) {
		const ref = { checkout, stack };
		const patient: Patient = { ...ref, identity: identify(ref), containers: [], dataVolumes: [] };
		const seen: Seen[] = [];
		await report.step("Looking at everything", async ({ detail }) => {
			for (const look of HOST_LOOKS) seen.push(await make(look, patient, detail, hasEngine(seen)));
			const engine = hasEngine(seen);
			if (engine) {
				const { name } = patient.identity;
				[patient.containers, patient.dataVolumes] = await Promise.all([
					containersOf(name),
					dataVolumesOf(name),
				]);
			}
			for (const look of STACK_LOOKS) seen.push(await make(look, patient, detail, engine));
		});
		const bad = seen.some(({ diagnoses }) => diagnoses.some(({ level }) => level === "wrong"));
		return {
			json: { stack, name: patient.identity.name, ok: !bad, checks: seen },
			text: page(seen, bad, painter()),
			exit: bad ? "unhealthy" : "ok",
		};
	},
});

interface Seen {
	name: string;
	/** How it is, if nothing was found. */
	well?: string;
	diagnoses: Diagnosis[];
}

/** The first look of all is the one at the engine. */
const hasEngine = ([first]: readonly Seen[]): boolean => first?.well !== undefined;

async function make(
	{ name, needsEngine, look }: Look,
	patient: Patient,
	detail: (text: string) => void,
	engine: boolean,
): Promise<Seen> {
	if (needsEngine && !engine) return { name, well: "not looked at: no engine", diagnoses: [] };
	detail(name);
	try {
		const result = await look(patient);
		return typeof result === "string" ? { name, well: result, diagnoses: [] } : { name, diagnoses: result };
	} catch (error) {
		if (!(error instanceof OpsError)) throw error;
		// Settings that are wrong, an engine that goes away while we look: findings like any other.
		const { what, why, fix } = error.problem;
		return { name, diagnoses: [{ level: "wrong", what: [what, why].filter(Boolean).join(" "), fix }] };
	}
}

const MARKS = { wrong: ["bad", "wrong"], note: ["warn", "note"] } as const;

function page(seen: readonly Seen[], bad: boolean, paint: Paint): string {
	const rows = seen.map(({ name, well, diagnoses }) => {
		if (well !== undefined) return [paint("good", "ok"), name, well];
		const [style, word] = MARKS[diagnoses.some(({ level }) => level === "wrong") ? "wrong" : "note"];
		return [
			paint(style, word),
			name,
			diagnoses.length > 1 ? `${diagnoses.length} findings, see below` : "see below",
		];
	});
	const findings = seen.flatMap(({ diagnoses }) => diagnoses);
	const ordered = [
		...findings.filter(({ level }) => level === "wrong"),
		...findings.filter(({ level }) => level === "note"),
	];
	const told = ordered.flatMap(({ level, what, fix }) => {
		const [style, word] = MARKS[level];
		return ["", `${paint(style, word === "wrong" ? "Wrong:" : "Note:")} ${what}`, `  Do this: ${fix}`];
	});
	return [table(rows), ...told, "", bad ? "Mend the first one first." : "Nothing is wrong."].join("\n");
}
