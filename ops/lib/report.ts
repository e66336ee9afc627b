/**
 * How commands tell what they are doing. Progress goes to stderr and into the command's dated log;
 * stdout belongs to the command's answer.
 */

/** One long step: a spinner with elapsed time on a terminal, plain lines elsewhere. */
export interface Step {
	/** What is happening right now inside the step, e.g. the last line of a build. */
	detail(text: string): void;
}

export interface Report {
	/** Runs `work` as a named step; prints its outcome and how long it took. */
	step<T>(title: string, work: (step: Step) => Promise<T>): Promise<T>;
	/** One line for the person. */
	note(text: string): void;
	/** A line for the log alone (full output of builds, for example). */
	log(text: string): void;
}

/** Says nothing. For tests, and for callers that only want the result. */
export const silent: Report = {
	step: (_title, work) => work({ detail() {} }),
	note() {},
	log() {},
};
