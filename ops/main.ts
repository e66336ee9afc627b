/** `npx mlgate`: one command, from its words to its exit code. */
import { COMMANDS } from "./commands.ts";
import { run } from "./lib/run.ts";

process.exit(await run(COMMANDS, process.argv.slice(2)));
