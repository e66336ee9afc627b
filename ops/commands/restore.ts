import { createInterface } from "node:readline/promises";
import { awaitHealth } from "../lib/await-health.ts";
import { type Contents, contentsInWords, contentsOf, isEmpty } from "../lib/backup/contents.ts";
import { versionsOf } from "../lib/backup/database.ts";
import { assertFits } from "../lib/backup/fits.ts";
import { type Backup, backupFolder, findBackup } from "../lib/backup/folder.ts";
import { makeBackup } from "../lib/backup/make.ts";
import { stores } from "../lib/backup/parts.ts";
import { putBack } from "../lib/backup/restore.ts";
import { damaged, objectsIn, verify } from "../lib/backup/verify.ts";
import { ensureImages } from "../lib/build-images.ts";
import { type Context, defineCommand } from "../lib/command.ts";
import { control } from "../lib/door.ts";
import { OpsError } from "../lib/errors.ts";
import { identify } from "../lib/identity.ts";
import { sleep } from "../lib/sleep.ts";
import { prepareEngine } from "../lib/workspace.ts";

export const command = defineCommand({
	name: "restore",
	summary: "put a backup into an empty stack, compared with its manifest to the last row and object",
	arguments: { id: { summary: "as `backups` shows it" } },
	options: {
		folder: { value: "folder", summary: "where backups are kept (default: .mlgate/backups)" },
		replace: {
			value: "name",
			summary: "the stack's name: replace what the stack holds, after a backup of that",
		},
	},
	locks: true,
	async run(context, { id }, { folder: given, replace }) {
		const { report, interrupted } = context;
		const folder = backupFolder(context.checkout, given);
		const backup = findBackup(folder, id);
		context.about(id);
		const identity = identify(context);
		const { name } = identity;
		await prepareEngine(context);
		const { postgres } = await stores(name);
		assertFits(backup, await versionsOf(postgres));
		await report.step(`Reading ${id} to its last byte`, async () => {
			const wrong = await verify(backup, interrupted);
			if (wrong.length > 0) throw damaged(id, wrong);
		});
		await ensureImages(report, ["door"], context);
		const contents = await contentsOf(name, postgres, await keysOf(backup));
		const before = isEmpty(contents)
			? undefined
			: await giveUp(context, name, contents, { id, folder, replace });
		interrupted.throwIfAborted();

		const { objects, removed } = await putBack(context, { name, backup, postgres });
		await report.step("Waiting for the door", () => doorAnswers(name, interrupted));
		await control(name, "service-token");
		await awaitHealth(identity, { report, interrupted });
		const { databases, taken, name: nameThen } = backup.manifest;
		const tables = Object.keys(databases.mlflow.tables).length + Object.keys(databases.door.tables).length;
		return {
			json: { stack: context.stack, name, id, taken, tables, objects, removed, before: before?.id },
			text: [
				`${name} holds what ${id} holds: ${tables} tables and ${objects} objects, every one compared, as of ${taken}.`,
				...(nameThen === name
					? []
					: [`Tokens and sessions of ${nameThen} are not valid here: they carry its name.`]),
				...(before ? [`What was there before is in ${before.id}.`] : []),
				`URL: ${identity.url}`,
			].join("\n"),
		};
	},
});

async function keysOf(backup: Backup): Promise<ReadonlySet<string>> {
	const keys = new Set<string>();
	for await (const { key } of objectsIn(backup)) keys.add(key);
	return keys;
}

interface Wish {
	id: string;
	folder: string;
	/** The name that a script gave. */
	replace: string | undefined;
}

/**
 * Whoever restores over something says the stack's name, and keeps what was there: a backup of it is made first.
 * Going on with a restore that was killed needs neither; that was done when it was begun.
 */
async function giveUp(
	context: Context,
	name: string,
	contents: Contents,
	wish: Wish,
): Promise<Backup | undefined> {
	const { cutOff } = context;
	if (cutOff?.command === "restore" && cutOff.about === wish.id && begun(cutOff.steps)) return undefined;
	const holds = `${name} holds ${contentsInWords(contents)}, which are not in the backup as they are here.`;
	const typed = wish.replace ?? (await asked(context, name, holds));
	if (typed !== name) throw notEmpty(name, holds, wish, typed);
	return makeBackup(context, wish.folder);
}

/** The restore had stopped the parts: it was past all questions. */
const begun = (steps: readonly { title: string }[]): boolean =>
	steps.some(({ title }) => title.startsWith("Putting the objects back"));

async function asked(context: Context, name: string, holds: string): Promise<string | undefined> {
	if (!context.interactive) return undefined;
	const lines = createInterface({ input: process.stdin, output: process.stderr });
	try {
		context.report.note(`${holds} A backup of it is made first.`);
		const question = `Type the name ${name} to replace it: `;
		return (await lines.question(question, { signal: context.interrupted })).trim();
	} finally {
		lines.close();
	}
}

const notEmpty = (name: string, holds: string, { id }: Wish, typed: string | undefined): OpsError =>
	new OpsError({
		code: "STACK_NOT_EMPTY",
		kind: "dataRisk",
		what:
			typed === undefined
				? "Nothing was restored: the stack is not empty."
				: `Nothing was restored: "${typed}" is not "${name}".`,
		why: holds,
		fix: `npx mlgate restore ${id} --replace ${name} makes a backup of that and replaces it; or restore into an empty stack: npx mlgate up --stack <other>`,
	});

const DOOR_MS = 120_000;

/** Its control socket answers when the accounts are open. */
async function doorAnswers(name: string, interrupted: AbortSignal): Promise<void> {
	for (const begun = Date.now(); ; ) {
		try {
			await control(name, "users/list");
			return;
		} catch (error) {
			if (Date.now() - begun > DOOR_MS) throw error;
			await sleep(500, interrupted);
		}
	}
}
