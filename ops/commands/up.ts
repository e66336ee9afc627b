import { type Applied, apply } from "../lib/apply.ts";
import { awaitHealth } from "../lib/await-health.ts";
import { cacheRoot } from "../lib/cache.ts";
import { type Context, defineCommand } from "../lib/command.ts";
import { ensureDataVolumes } from "../lib/data-volumes.ts";
import { ensureDiskSpace } from "../lib/disk.ts";
import { control, type OneTimeLink } from "../lib/door.ts";
import { announce, type PublicUrl } from "../lib/funnel/announce.ts";
import { type Held, Holds } from "../lib/holds.ts";
import { type Identity, identify } from "../lib/identity.ts";
import { ensureKeeper } from "../lib/keeper.ts";
import { adoptLostSettings, originOf } from "../lib/origin.ts";
import { readSettings } from "../lib/stack/config-file.ts";
import { passphraseEnv } from "../lib/stack/passphrase.ts";
import { assertPortFree } from "../lib/stack/port.ts";
import type { StackHandle, UpResult } from "../lib/stack.ts";
import { prepareTailnet } from "../lib/tailnet/join.ts";
import { duration } from "../lib/text.ts";
import { openWorkspace, prepareApiImage, prepareEngine, prepareImages } from "../lib/workspace.ts";

/** State, logs and what the tools unpack; images ask for their own room when they are built. */
const ROOM_MIB = 512;

export const command = defineCommand({
	name: "up",
	summary: "bring the stack up, or back to what the settings say (npm start)",
	locks: true,
	async run(context) {
		const identity = await preflight(context);
		const { report, interrupted } = context;
		await prepareImages(context);
		await prepareApiImage(context);
		const stack = await openWorkspace(context);
		await prepareTailnet(context, stack);
		// Before the volumes: whether there was data tells what new passwords mean.
		await stack.ensureSecrets();
		await ensureDataVolumes(context, identity.name);
		const result = await bringUp(context, stack, identity);
		await new Holds(identity.name, report).releaseForgotten();
		const token = await control(identity.name, "service-token");
		const open = await announce(identity);
		const { parts, checks } = await awaitHealth(identity, { report, interrupted });
		const { created, updated, replaced, deleted, changed } = result;
		const admin = await firstAdmin(identity, context);
		return {
			json: {
				stack: context.stack,
				...identity,
				publicUrl: open.url,
				verdict: "healthy",
				changed,
				changes: { created, updated, replaced, deleted },
				held: result.held,
				parts,
				checks,
				serviceToken: { renewed: token.renewed, expires: token.expires },
				firstAdmin: { needed: admin.needed },
			},
			text: [
				changed
					? `${identity.name} is up: ${changes(result)}.`
					: `Nothing to change: ${identity.name} is up and healthy.`,
				...result.held.map(heldText),
				`URL: ${identity.url}`,
				...publicText(open),
				...(admin.link ? linkText(identity, admin.link) : []),
				`Next: npx mlgate train`,
			].join("\n"),
		};
	},
});

/** What can be known before anything is touched. */
async function preflight(context: Context): Promise<Identity> {
	readSettings(context);
	passphraseEnv(context);
	for (const path of [context.checkout, cacheRoot()]) {
		await ensureDiskSpace(context.report, { path, needMiB: ROOM_MIB, purpose: "mlgate's own files" });
	}
	await prepareEngine(context);
	await adoptLostSettings(context, context.report);
	const { port, name } = readSettings(context);
	await assertPortFree(port, name);
	context.interrupted.throwIfAborted();
	return identify(context);
}

/** Pulumi's part, with the data volumes held before it begins and after it ends, however it ends. */
async function bringUp(context: Context, stack: StackHandle, identity: Identity): Promise<Applied> {
	const { report } = context;
	const keep = () => ensureKeeper(identity.name, originOf(context));
	await keep();
	let result: Applied;
	try {
		result = await apply(context, stack, identity);
	} catch (error) {
		// Why it failed is the news, whatever becomes of the keeper.
		await keep().catch((second: Error) => report.log(`the keeper: ${second.message}`));
		throw error;
	}
	await keep();
	return result;
}

interface FirstAdmin {
	needed: boolean;
	link?: OneTimeLink;
}

/** A link is a secret: it is made only where it is printed, on the terminal. */
async function firstAdmin({ name }: Identity, { json }: Context): Promise<FirstAdmin> {
	if (json) {
		const { users } = await control(name, "users/list");
		return { needed: !users.some(({ role, state }) => role === "admin" && state === "active") };
	}
	const { needed, path, expires } = await control(name, "first-admin");
	return path && expires ? { needed, link: { path, expires } } : { needed };
}

const linkText = ({ url }: Identity, { path, expires }: OneTimeLink) => [
	"There is no admin yet. Whoever opens this link on this machine becomes the first one:",
	`  ${url}${path}`,
	`  It works once, until ${expires}.`,
];

const heldText = ({ part, seconds, requests, longest, refused }: Held) =>
	`Requests waited for ${part} for ${duration(seconds * 1000)}: ${requests}, the longest ${duration(longest * 1000)}${refused > 0 ? `, ${refused} refused` : ""}.`;
/** What the public gets, and what it does not get any more. */
function publicText({ url, before }: PublicUrl): string[] {
	if (url) return [`Public URL: ${url} (from outside: npx mlgate verify funnel)`];
	return before ? [`The funnel is off: ${before} leads nowhere any more.`] : [];
}

function changes({ created, updated, replaced, deleted }: UpResult): string {
	const counts = { made: created, changed: updated, replaced, removed: deleted };
	return Object.entries(counts)
		.filter(([, count]) => count > 0)
		.map(([word, count]) => `${count} ${word}`)
		.join(", ");
}
