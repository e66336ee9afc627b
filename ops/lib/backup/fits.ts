/** Whether a stack can take a backup, before anything is touched. */
import { MLFLOW_VERSION } from "../../../infra/contract.ts";
import { OpsError } from "../errors.ts";
import type { DatabaseVersions } from "./database.ts";
import type { Backup } from "./folder.ts";

interface Rule {
	what: string;
	wants: string;
	has: string;
	fits: boolean;
}

const major = (version: string) => version.split(".")[0] ?? version;

/**
 * @param now of the stack's own databases, which its parts have brought up to date.
 * @throws OpsError BACKUP_OF_OTHER_VERSION
 */
export function assertFits({ id, manifest }: Backup, now: DatabaseVersions): void {
	const then = manifest.versions;
	const rules: Rule[] = [
		{
			what: "Postgres",
			wants: then.postgres,
			has: now.postgres,
			fits: major(then.postgres) === major(now.postgres),
		},
		{
			what: "MLflow's schema",
			wants: `${then.alembic} of MLflow ${then.mlflow}`,
			has: `${now.alembic} of MLflow ${MLFLOW_VERSION}`,
			fits: then.alembic === now.alembic,
		},
		// An older one is brought up to date by the door when it starts.
		{
			what: "the door's schema",
			wants: String(then.door),
			has: String(now.door),
			fits: then.door <= now.door,
		},
	];
	const misfit = rules.find(({ fits }) => !fits);
	if (!misfit) return;
	throw new OpsError({
		code: "BACKUP_OF_OTHER_VERSION",
		kind: "precondition",
		what: `The backup ${id} was made by other versions than this stack runs.`,
		why: `${misfit.what} is ${misfit.wants} in the backup and ${misfit.has} here.`,
		fix: `Check out the mlgate that made it (${then.mlgate}), bring an empty stack up with it, and restore there.`,
	});
}
