import { type CommandGroup, defineCommand } from "../lib/command.ts";
import { containerOf } from "../lib/docker.ts";
import { OpsError } from "../lib/errors.ts";
import { identify } from "../lib/identity.ts";
import { TailnetApi } from "../lib/tailnet/api.ts";
import { consentOf } from "../lib/tailnet/consent.ts";
import { snippet } from "../lib/tailnet/policy.ts";
import { readRecord } from "../lib/tailnet/record.ts";
import { kept, withdraw } from "../lib/tailnet/withdraw.ts";
import { openWorkspace, prepareEngine } from "../lib/workspace.ts";

const clean = defineCommand({
	name: "clean",
	summary: "take out of the tailnet's policy what `up` has put in",
	locks: true,
	async run(context) {
		const { name, funnel } = identify(context);
		if (funnel) throw stillOn();
		const ours = readRecord(context);
		if (ours.length === 0) {
			return {
				json: { removed: [], left: [] },
				text: "There is nothing of this stack in the tailnet's policy.",
			};
		}
		await prepareEngine(context);
		if (await containerOf(name, "tailscale")) throw stillOn();
		const stack = await openWorkspace(context);
		const credentials = await stack.secret("funnel.credentials");
		if (!credentials) throw kept(ours, "There are no credentials to change it with (funnel.credentials).");
		const api = await TailnetApi.open(credentials);
		const { removed, left } = await withdraw(api, context, context.report, consentOf(context));
		return {
			json: { removed, left },
			text: [
				removed.length > 0
					? "The tailnet's policy is without what mlgate had put in."
					: "Nothing was left to take out.",
				...(left.length > 0
					? [
							`Somebody has changed or removed this since, so the policy stays as it is there:\n${snippet(left)}`,
						]
					: []),
			].join("\n"),
		};
	},
});

const stillOn = (): OpsError =>
	new OpsError({
		code: "FUNNEL_ON",
		kind: "precondition",
		what: "The funnel is on, and it needs what is in the tailnet's policy.",
		fix: "Switch it off first: npx mlgate config set funnel off, then npm start",
	});

export const command: CommandGroup = {
	name: "tailnet",
	summary: "what the stack has in the tailnet",
	commands: [clean],
};
