import { PARTS } from "../../infra/contract.ts";
import { defineCommand } from "../lib/command.ts";
import { containersOf, partOf, stop } from "../lib/docker.ts";
import { identify } from "../lib/identity.ts";
import { list } from "../lib/text.ts";

export const command = defineCommand({
	name: "down",
	summary: "stop every part, keeping everything; `npm start` goes on",
	locks: true,
	async run({ checkout, stack, report, interrupted }) {
		const { name } = identify({ checkout, stack });
		const containers = await containersOf(name);
		const stopped: string[] = [];
		// Who needs others stops first. The keeper stays: it holds the data volumes.
		for (const part of PARTS.toReversed()) {
			for (const container of containers.filter((one) => partOf(one) === part)) {
				if (!["running", "restarting", "paused"].includes(container.State.Status)) continue;
				interrupted.throwIfAborted();
				await report.step(`Stopping ${part}`, () => stop(container));
				stopped.push(part);
			}
		}
		const text =
			stopped.length > 0
				? `Stopped ${list(stopped)}. All data is kept. Back again: npm start`
				: `Nothing of ${name} was running.`;
		return { json: { stack, name, stopped }, text };
	},
});
