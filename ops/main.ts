/** The commands of `npx mlgate`. A new one is a file in commands/ and a row here. */
import type { Command, CommandGroup } from "./lib/command.ts";
import { run } from "./lib/run.ts";

const COMMANDS: readonly (Command | CommandGroup)[] = [];

process.exit(await run(COMMANDS, process.argv.slice(2)));
