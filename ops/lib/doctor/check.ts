/** What the doctor looks at, one row each. */
import type { Container, Volume } from "../docker.ts";
import type { Identity } from "../identity.ts";
import type { StackRef } from "../stack/config-file.ts";

/** `wrong`: something does not work, or will not at the next step. `note`: good to know. */
export type Level = "wrong" | "note";

export interface Diagnosis {
	level: Level;
	what: string;
	/** The one thing to do. */
	fix: string;
}

export const wrong = (what: string, fix: string): Diagnosis => ({ level: "wrong", what, fix });
export const note = (what: string, fix: string): Diagnosis => ({ level: "note", what, fix });

export interface Patient extends StackRef {
	identity: Identity;
	/** Empty while the engine does not answer. */
	containers: readonly Container[];
	dataVolumes: readonly Volume[];
}

export interface Look {
	name: string;
	/** Only where an engine answers. */
	needsEngine?: boolean;
	/** @returns what is found, or in a word or two how well it is. */
	look(patient: Patient): Promise<Diagnosis[] | string>;
}
