/** The commands of `npx mlgate`. A new one is a file in commands/ and a row here. */
import { command as backup } from "./commands/backup.ts";
import { command as backups } from "./commands/backups.ts";
import { command as config } from "./commands/config.ts";
import { command as destroy } from "./commands/destroy.ts";
import { command as doctor } from "./commands/doctor.ts";
import { command as door } from "./commands/door.ts";
import { command as down } from "./commands/down.ts";
import { command as logs } from "./commands/logs.ts";
import { command as preview } from "./commands/preview.ts";
import { command as promote } from "./commands/promote.ts";
import { command as restart } from "./commands/restart.ts";
import { command as restore } from "./commands/restore.ts";
import { command as rotate } from "./commands/rotate.ts";
import { command as status } from "./commands/status.ts";
import { command as tailnet } from "./commands/tailnet.ts";
import { command as tokens } from "./commands/tokens.ts";
import { command as train } from "./commands/train.ts";
import { command as up } from "./commands/up.ts";
import { command as users } from "./commands/users.ts";
import { command as verify } from "./commands/verify.ts";
import { command as why } from "./commands/why.ts";
import type { Command, CommandGroup } from "./lib/command.ts";

/** In the order of the help. */
export const COMMANDS: readonly (Command | CommandGroup)[] = [
	up,
	preview,
	status,
	doctor,
	why,
	logs,
	train,
	promote,
	restart,
	users,
	tokens,
	rotate,
	config,
	verify,
	tailnet,
	backup,
	backups,
	restore,
	down,
	destroy,
	door,
];
