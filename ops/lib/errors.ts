/**
 * The one error type of the command line: what happened, why, and the one thing to do.
 * `ops/lib/run.ts` prints it and ends with the exit code of its kind.
 */

/** Exit codes by kind of ending. */
export const EXIT = {
	ok: 0,
	internal: 1,
	usage: 2,
	precondition: 3,
	locked: 4,
	unhealthy: 5,
	dataRisk: 6,
	interrupted: 130,
} as const;
export type ExitKind = keyof typeof EXIT;

export interface Problem {
	/** Stable name for scripts, e.g. `ENGINE_MISSING`. */
	code: string;
	/** Decides the exit code. */
	kind: Exclude<ExitKind, "ok">;
	/** What happened, one sentence. */
	what: string;
	/** Why, as far as known. */
	why?: string;
	/** The one thing to do. */
	fix: string;
	/** The last lines of the part that it is about: the cause, printed last. */
	said?: { by: string; lines: readonly string[] };
}

export class OpsError extends Error {
	override readonly name = "OpsError";
	readonly problem: Problem;

	constructor(problem: Problem, options?: ErrorOptions) {
		super(problem.what, options);
		this.problem = problem;
	}

	get exitCode(): number {
		return EXIT[this.problem.kind];
	}
}
