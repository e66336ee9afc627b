/**
 * A start that stops short of becoming the door (`MLGATE_REHEARSE=1`): settings, code, database and keys are
 * tried, nothing is written and nobody is listened to. A second door would take over from the first one, so this is
 * how a new one shows that it can run while the old one serves.
 */
import { access, constants } from "node:fs/promises";
import { Database } from "./accounts/database.ts";
import { openKeyring } from "./accounts/keys.ts";
import type { Log } from "./accounts/log.ts";
import { assertNotNewer } from "./accounts/migrate.ts";
import type { DoorSettings } from "./settings.ts";

/** @throws what a start would fail of */
export async function rehearse(settings: DoorSettings, log: Log): Promise<void> {
	await access(settings.store.secretFile, constants.R_OK);
	const database = new Database(settings.database, log);
	try {
		await assertNotNewer(database);
		// Keys are there, so none is made: the volume may be read-only.
		await openKeyring(database, settings.keyFile, Date.now);
	} finally {
		await database.close();
	}
	log.info({}, "rehearsed: everything that a start needs is there");
}
