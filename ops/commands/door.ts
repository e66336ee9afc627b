import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { defineCommand } from "../lib/command.ts";
import { OpsError } from "../lib/errors.ts";

export const command = defineCommand({
	name: "door",
	summary: "start a door on this host, configured by DOOR_* in the environment (development)",
	locks: false,
	async run({ checkout }) {
		const door = spawn(process.execPath, [join(checkout, "proxy", "main.ts")], { stdio: "inherit" });
		const [code, signal] = (await once(door, "exit")) as [number | null, NodeJS.Signals | null];
		if (code === 0) return undefined;
		throw new OpsError({
			code: "DOOR_ENDED",
			kind: "internal",
			what: "The door has ended.",
			why: signal ? `It got ${signal}.` : `Exit code ${code}.`,
			fix: "Mend what its own last lines name.",
		});
	},
});
