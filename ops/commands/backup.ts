import { backupFolder } from "../lib/backup/folder.ts";
import { makeBackup } from "../lib/backup/make.ts";
import { defineCommand } from "../lib/command.ts";
import { bytesInWords } from "../lib/text.ts";
import { prepareEngine } from "../lib/workspace.ts";

export const command = defineCommand({
	name: "backup",
	summary: "databases, objects, the door's key and the settings as one unit, while the stack works on",
	options: {
		folder: { value: "folder", summary: "where backups are kept (default: .mlgate/backups)" },
	},
	locks: true,
	async run(context, _args, { folder }) {
		await prepareEngine(context);
		const { id, path, manifest } = await makeBackup(context, backupFolder(context.checkout, folder));
		const { objects, databases, taken } = manifest;
		const rows = Object.values(databases.mlflow.tables).reduce((sum, table) => sum + table.rows, 0);
		return {
			json: { path, ...manifest },
			text: [
				`${id} is whole: ${rows} rows of MLflow, ${objects.count} objects (${bytesInWords(objects.totalBytes)}), as of ${taken}.`,
				`It lies in ${path}. Whoever has it can sign in as anybody: keep it like the machine itself, and a copy elsewhere.`,
				`Put it back: npx mlgate restore ${id}`,
			].join("\n"),
		};
	},
});
