/** The passphrase that seals the stack's secrets: the user's own, or one made on the first run. */
import { randomBytes } from "node:crypto";
import { existsSync, linkSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { OpsError } from "../errors.ts";
import { configPath, isSealed, type StackRef } from "./config-file.ts";
import { hasState, stateFolder } from "./state.ts";

/**
 * The environment that tells Pulumi the passphrase. `PULUMI_CONFIG_PASSPHRASE` or `..._FILE` win if they are set.
 * @throws OpsError PASSPHRASE_MISSING if something is sealed already: a new passphrase would not open it.
 */
export function passphraseEnv(ref: StackRef, env: NodeJS.ProcessEnv = process.env): Record<string, string> {
	if (env.PULUMI_CONFIG_PASSPHRASE !== undefined || env.PULUMI_CONFIG_PASSPHRASE_FILE !== undefined)
		return {};
	const file = join(ref.checkout, ".mlgate", "passphrase");
	if (!existsSync(file)) {
		if (isSealed(ref) || hasState(ref)) throw missing(ref, file);
		mkdirSync(join(ref.checkout, ".mlgate"), { recursive: true, mode: 0o700 });
		makeOnce(file, `${randomBytes(32).toString("base64url")}\n`);
	}
	return { PULUMI_CONFIG_PASSPHRASE_FILE: file };
}

/** Whole or not at all; of two processes that make it at the same time, one does, and both use that. */
function makeOnce(file: string, content: string): void {
	const draft = `${file}.${process.pid}.tmp`;
	writeFileSync(draft, content, { mode: 0o600 });
	try {
		linkSync(draft, file);
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
	} finally {
		rmSync(draft);
	}
}

const missing = (ref: StackRef, file: string): OpsError =>
	new OpsError({
		code: "PASSPHRASE_MISSING",
		kind: "precondition",
		what: `The passphrase of the stack ${ref.stack} is gone.`,
		why: `${file} does not exist, and the stack's secrets are sealed with it.`,
		fix: forgetSecrets(ref, "Put the file back, or set PULUMI_CONFIG_PASSPHRASE."),
	});

/** The way out of a passphrase that is lost for good: nothing sealed by it is needed again, the data least of all. */
export const forgetSecrets = (ref: StackRef, first: string): string =>
	`${first} If it is lost for good: move ${configPath(ref)} and ${stateFolder(ref)} away, set the settings again and run npx mlgate up; it makes new passwords and keeps the data.`;
