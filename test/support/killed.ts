import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { CHECKOUT, type Ended, mlgate } from "./mlgate.ts";
import { descendants } from "./processes.ts";

const LOGS = join(CHECKOUT, ".mlgate", "logs");

/**
 * Types `mlgate <args>` and kills it with all its children as soon as its log has these texts, one after the other: what
 * a lost machine or the kernel's memory killer does.
 * @throws Error if it ended before.
 */
export async function killedAt(args: readonly string[], ...texts: readonly string[]): Promise<Ended> {
	const before = new Set(logs());
	let pid = 0;
	let over = false;
	const running = mlgate(args, {
		onStart: (started) => {
			pid = started;
		},
	});
	running.finally(() => {
		over = true;
	});
	for (;;) {
		const fresh = logs().filter((name) => !before.has(name) && name.includes(`-${args[0]}`));
		if (fresh.some((name) => hasInTurn(readFileSync(join(LOGS, name), "utf8"), texts))) break;
		if (over) {
			const { code, stdout, stderr } = await running;
			throw new Error(
				`mlgate ${args.join(" ")} ended with ${code} without "${texts.join('", then "')}"\n${stdout}\n${stderr}`,
			);
		}
		await sleep(20);
	}
	for (const child of [...descendants(pid), pid]) {
		try {
			process.kill(child, "SIGKILL");
		} catch {
			// It was quicker.
		}
	}
	return await running;
}

function hasInTurn(log: string, texts: readonly string[]): boolean {
	let from = 0;
	return texts.every((text) => {
		const at = log.indexOf(text, from);
		from = at + text.length;
		return at >= 0;
	});
}

function logs(): string[] {
	try {
		return readdirSync(LOGS);
	} catch {
		return [];
	}
}
