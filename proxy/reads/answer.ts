/** Whole answers, kept in memory until everybody has them. */
import { type Coding, compress } from "../encoding.ts";

/** An answer that can be given to any number of readers. */
export interface Answer {
	status: number;
	/** Without length and coding. */
	headers: readonly string[];
	body: Buffer;
	/** Made once for all who take it. */
	in(coding: Coding): Promise<Buffer>;
}

export function answerOf(status: number, headers: readonly string[], body: Buffer): Answer {
	const made: { [coding in Coding]?: Promise<Buffer> } = {};
	return {
		status,
		headers,
		body,
		in(coding) {
			made[coding] ??= compress(coding, body);
			return made[coding];
		},
	};
}
