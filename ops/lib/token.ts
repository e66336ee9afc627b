/** A token for one job of one command: it exists in this process, and ends with the job. */
import { control } from "./door.ts";
import type { Identity } from "./identity.ts";
import type { Report } from "./report.ts";

export interface Job {
	/** The token's name. */
	job: string;
	/** When it ends if nobody ends it: `2h`, `10m`. */
	life: string;
}

/** `train-20261124-030913`: what a job, its token and its container are called. */
export const nameOfJob = (what: string): string =>
	`${what}-${new Date()
		.toISOString()
		.replace(/[-:]|\.\d+Z$/g, "")
		.replace("T", "-")}`;

/** Does the work with an editor's token, and revokes it however the work ends. */
export async function withToken<T>(
	{ name }: Identity,
	report: Report,
	{ job, life }: Job,
	work: (token: string) => Promise<T>,
): Promise<T> {
	const { token, id } = await control(name, "tokens/create", { name: job, role: "editor", expires: life });
	try {
		return await work(token);
	} finally {
		await control(name, "tokens/revoke", { id }).catch((error: Error) =>
			report.note(`The token ${job} could not be revoked (${error.message}); it ends by itself in ${life}.`),
		);
	}
}
