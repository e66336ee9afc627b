/** Starts the door from its environment and stops it with grace. `node proxy/main.ts` */
import { dirname, join } from "node:path";
import { AccountsError } from "./accounts/errors.ts";
import { openAccounts } from "./accounts/index.ts";
import { openCreates } from "./creates/index.ts";
import { type Door, openDoor } from "./door.ts";
import { holdCommands } from "./hold/commands.ts";
import { openLog } from "./log.ts";
import { rehearse } from "./rehearse.ts";
import { type DoorSettings, readSettings, SettingsError } from "./settings.ts";
import { PublicName } from "./tailnet/public-name.ts";

/** More unexpected errors than this within a minute, and the process starts afresh. */
const SURPRISES = 20;

function settingsOrExit(): DoorSettings {
	try {
		return readSettings(process.env);
	} catch (error) {
		if (!(error instanceof SettingsError)) throw error;
		process.stderr.write(`${error.message}\n`);
		process.exit(3);
	}
}

const settings = settingsOrExit();
const log = openLog(settings);
let door: Door | undefined;

// Requests have their own guard. What still gets here was thrown from an event of a socket or a stream: one
// client's doing must not end everybody's requests. A process that does nothing else any more is replaced.
const surprises: number[] = [];
const surprised = (error: unknown): void => {
	log.fatal({ err: error }, "unexpected");
	door?.metrics.surprise();
	const now = Date.now();
	surprises.push(now);
	while ((surprises[0] ?? now) < now - 60_000) surprises.shift();
	if (door === undefined || surprises.length > SURPRISES) process.exit(1);
};
process.on("uncaughtException", surprised);
process.on("unhandledRejection", surprised);

let stop = (_signal: string): void => process.exit(0);
// Before anything else: as the first process of a container nothing but a handler makes these signals work.
for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => stop(signal));

/** Closed, and with the one thing to do: a door that made new keys or a new database would let nobody in. */
function refuse(error: unknown): never {
	if (!(error instanceof AccountsError)) throw error;
	log.fatal({ code: error.code, fix: error.fix, err: error.cause }, error.message);
	process.exit(3);
}

if (process.env.MLGATE_REHEARSE === "1") {
	await rehearse(settings, log).catch(refuse);
	process.exit(0);
}

const accounts = await openAccounts(settings, log).catch(refuse);
const { authority, pages, audit } = accounts;
const creates =
	settings.mlflow.database === undefined
		? undefined
		: await openCreates(settings.database, settings.mlflow.database, log);
// Beside the key, on the volume that outlives the door.
const publicName = new PublicName(join(dirname(settings.keyFile), "public-name"));
const open = await openDoor({
	settings,
	publicName,
	authority,
	pages,
	audit,
	log,
	...(creates && { creates }),
	artifacts: { store: settings.store, journal: join(dirname(settings.keyFile), "uploads") },
});
await accounts.control.listen({
	checks: open.checks,
	writes: open.writes,
	commands: { ...holdCommands(open.holds), ...publicName.commands() },
});
// From here on it is worth keeping: what goes wrong before ends the process.
door = open;

async function drain(signal: string): Promise<void> {
	// Whoever asks twice means now.
	stop = () => process.exit(1);
	log.info({ signal, seconds: settings.drainSeconds }, "stopping");
	const whole = await open.stop();
	await creates?.close();
	await accounts.close();
	log.info({ whole }, "stopped");
	process.exit(0);
}
stop = (signal) => void drain(signal);
