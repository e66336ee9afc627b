/** What mlgate itself has put into the tailnet's policy for a stack: nothing else is ever taken out. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { tailnetRecord } from "../paths.ts";
import type { StackRef } from "../stack/config-file.ts";
import type { Entry } from "./policy.ts";

export function readRecord({ checkout, stack }: StackRef): Entry[] {
	const file = tailnetRecord(checkout, stack);
	return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as { added: Entry[] }).added : [];
}

/** @param added everything; without any there is no record any more. */
export function writeRecord({ checkout, stack }: StackRef, added: readonly Entry[]): void {
	const file = tailnetRecord(checkout, stack);
	if (added.length === 0) return rmSync(file, { force: true });
	mkdirSync(dirname(file), { recursive: true });
	writeFileSync(file, `${JSON.stringify({ added }, null, "\t")}\n`);
}
