import { type Backup, backupFolder, findBackup, listBackups, type Unusable } from "../lib/backup/folder.ts";
import { verify } from "../lib/backup/verify.ts";
import { type Answer, type Context, defineCommand } from "../lib/command.ts";
import { age, bytesInWords, table } from "../lib/text.ts";

export const command = defineCommand({
	name: "backups",
	summary: "which backups there are, how old and how large; `--verify` reads every byte again",
	arguments: { id: { summary: "one of them; all if left out", optional: true } },
	options: {
		folder: { value: "folder", summary: "where backups are kept (default: .mlgate/backups)" },
		verify: { summary: "read every byte again and compare it with what was written" },
	},
	locks: false,
	async run(context, { id }, { folder: given, verify: again = false }): Promise<Answer> {
		const folder = backupFolder(context.checkout, given);
		const found = id ? { backups: [findBackup(folder, id)], unusable: [] } : listBackups(folder);
		const wrong = new Map<string, string[]>();
		if (again) {
			for (const backup of found.backups) wrong.set(backup.id, await look(context, backup));
		}
		const damaged =
			again && (found.unusable.length > 0 || [...wrong.values()].some((problems) => problems.length > 0));
		// What was just looked at has a new time.
		const backups = again ? found.backups.map(({ id }) => findBackup(folder, id)) : found.backups;
		return {
			json: {
				folder,
				backups: backups.map((backup) => summary(backup, wrong.get(backup.id))),
				unusable: found.unusable,
			},
			text: page(folder, backups, found.unusable, wrong),
			exit: damaged ? "unhealthy" : "ok",
		};
	},
});

const look = ({ report, interrupted }: Context, backup: Backup): Promise<string[]> =>
	report.step(`Reading ${backup.id}`, () => verify(backup, interrupted));

function bytesOf({ manifest: { databases, objects } }: Backup): number {
	return databases.mlflow.bytes + databases.door.bytes + objects.bytes + objects.totalBytes;
}

function summary(backup: Backup, wrong: readonly string[] | undefined) {
	const { id, path, manifest, verified } = backup;
	const { stack, name, taken, objects, versions } = manifest;
	return {
		...{ id, path, stack, name, taken, versions, bytes: bytesOf(backup), objects: objects.count },
		verified: wrong && wrong.length > 0 ? null : (verified?.at ?? null),
		...(wrong && wrong.length > 0 && { wrong }),
	};
}

function page(
	folder: string,
	backups: readonly Backup[],
	unusable: readonly Unusable[],
	wrong: ReadonlyMap<string, string[]>,
): string {
	if (backups.length + unusable.length === 0) return `No backups in ${folder}. Make one: npx mlgate backup`;
	const rows = backups.map((backup) => [
		backup.id,
		`${age(backup.manifest.taken)} ago`,
		bytesInWords(bytesOf(backup)),
		String(backup.manifest.objects.count),
		(wrong.get(backup.id) ?? []).length > 0 ? "DAMAGED" : verifiedInWords(backup),
	]);
	const lines =
		backups.length > 0 ? [table([["BACKUP", "TAKEN", "SIZE", "OBJECTS", "VERIFIED"], ...rows])] : [];
	for (const { id, why } of unusable) lines.push(`Cannot be used: ${id}. ${why}`);
	for (const [id, problems] of wrong)
		if (problems.length > 0) lines.push(`Damaged: ${id}: ${problems.slice(0, 5).join("; ")}`);
	return [...lines, `In ${folder}`].join("\n");
}

const verifiedInWords = ({ verified }: Backup) => (verified ? `${age(verified.at)} ago` : "no");
