import { rmSync } from "node:fs";
import { PARTS, type Part } from "../../infra/contract.ts";
import { confirmByName } from "../lib/ask.ts";
import { backupFolder, listBackups } from "../lib/backup/folder.ts";
import { type Context, defineCommand } from "../lib/command.ts";
import { containersOf, dataVolumesOf, docker, networksOf, partOf, volumesOf } from "../lib/docker.ts";
import { OpsError } from "../lib/errors.ts";
import { identify } from "../lib/identity.ts";
import { ensureKeeper, isKeeper, removeKeeper } from "../lib/keeper.ts";
import { originOf } from "../lib/origin.ts";
import { configPath } from "../lib/stack/config-file.ts";
import { hasState } from "../lib/stack/state.ts";
import { age, list } from "../lib/text.ts";
import { openWorkspace, prepareEngine, prepareImages } from "../lib/workspace.ts";

export const command = defineCommand({
	name: "destroy",
	summary: "remove the stack; its data stays unless --volumes is given too",
	options: {
		volumes: { summary: "remove the data volumes, the settings and Pulumi's state as well, for good" },
	},
	locks: true,
	async run(context, _args, { volumes: withData = false }) {
		const { name } = identify(context);
		await prepareEngine(context);
		const before = await remains(name);
		const data = before.volumes.filter((volume) => before.data.includes(volume));
		await confirmByName(context, name, loss(context, name, data, withData));

		await removeJobs(context, name);
		if (hasState(context)) await destroyByPulumi(context, withData);
		context.interrupted.throwIfAborted();
		await context.report.step("Removing what Pulumi does not know", () => sweep(name, withData));
		if (withData) rmSync(configPath(context), { force: true });
		else await keepData(context, name);

		const after = await remains(name);
		const left = leftOver(after, withData);
		if (left.length > 0) throw incomplete(left);
		return {
			json: {
				stack: context.stack,
				name,
				removed: withData ? "everything" : "all but the data",
				kept: after.data,
			},
			text: withData
				? `${name} is gone, its data included.`
				: `${name} is gone. ${after.data.length > 0 ? `Kept: ${list(after.data)}. ` : ""}Back again, with its data: npm start`,
		};
	},
});

interface Remains {
	/** Without the keeper. */
	containers: string[];
	keepers: string[];
	networks: string[];
	volumes: string[];
	/** Those of the volumes that hold data. */
	data: string[];
}

/** What the host has of a stack, by label. */
async function remains(name: string): Promise<Remains> {
	const [containers, networks, volumes, data] = await Promise.all([
		containersOf(name),
		networksOf(name),
		volumesOf(name),
		dataVolumesOf(name),
	]);
	const named = (keeper: boolean) =>
		containers.filter((one) => isKeeper(one) === keeper).map((one) => one.Name.slice(1));
	return {
		containers: named(false),
		keepers: named(true),
		networks: networks.map((one) => one.Name),
		volumes: volumes.map((one) => one.Name),
		data: data.map((one) => one.Name).sort(),
	};
}

function loss(context: Context, name: string, data: readonly string[], withData: boolean): string {
	if (!withData) {
		const kept = data.length > 0 ? ` Its data stays, in ${list(data)}.` : "";
		return `This removes the containers, networks and passwords' volumes of ${name}.${kept}`;
	}
	const lost = data.length > 0 ? list(data) : "none";
	return `This removes ${name} for good: every run, artifact, user and token, its settings and its secrets (data volumes: ${lost}). ${wayBack(context)}`;
}

function wayBack({ checkout, stack }: Context): string {
	const { backups } = listBackups(backupFolder(checkout, undefined));
	const last = backups.find(({ manifest }) => manifest.stack === stack);
	if (!last) return "There is no way back: no backup was made (npx mlgate backup makes one).";
	return `The only way back is a backup: ${last.id}, ${age(last.manifest.taken)} old.`;
}

/** Training jobs are of the stack but none of its parts; they would hold its networks. */
async function removeJobs({ report }: Context, name: string): Promise<void> {
	const jobs = (await containersOf(name)).filter((one) => {
		const part = partOf(one);
		return part !== undefined && !isKeeper(one) && !PARTS.some((known) => known === part);
	});
	for (const job of jobs) {
		await report.step(`Ending the job ${job.Name.slice(1)}`, () => docker(["rm", "-f", job.Id]));
	}
}

async function destroyByPulumi(context: Context, forget: boolean): Promise<void> {
	// The program names its images, though nothing is made from them here.
	await prepareImages(context);
	const stack = await openWorkspace(context);
	await stack.destroy({ excludeProtected: true });
	if (forget) await stack.removeStack();
}

/** By label: what a lost state leaves behind, and with `withData` the data volumes and their keeper. */
async function sweep(name: string, withData: boolean): Promise<void> {
	const parts = (await containersOf(name)).filter((one) => !isKeeper(one));
	const rank = (one: (typeof parts)[number]) => PARTS.indexOf(partOf(one) as Part);
	for (const one of parts.toSorted((a, b) => rank(b) - rank(a))) {
		if (one.State.Status === "running") await docker(["stop", one.Id]);
		await docker(["rm", one.Id]);
	}
	for (const network of await networksOf(name)) await docker(["network", "rm", network.Id]);
	if (withData) await removeKeeper(name);
	const data = (await dataVolumesOf(name)).map((one) => one.Name);
	for (const { Name } of await volumesOf(name)) {
		if (withData || !data.includes(Name)) await docker(["volume", "rm", Name]);
	}
}

async function keepData(context: Context, name: string): Promise<void> {
	const { data, keepers } = await remains(name);
	if (data.length === 0 || keepers.length === 1) return;
	await prepareImages(context);
	await ensureKeeper(name, originOf(context));
}

function leftOver(after: Remains, withData: boolean): string[] {
	const { containers, networks, volumes, keepers, data } = after;
	const wrong = [...containers, ...networks, ...volumes.filter((one) => withData || !data.includes(one))];
	return withData ? [...wrong, ...keepers] : wrong;
}

function incomplete(left: readonly string[]): OpsError {
	return new OpsError({
		code: "DESTROY_INCOMPLETE",
		kind: "internal",
		what: `Not everything is gone: ${list(left)}.`,
		why: "Docker said that it removed them, and they are still there.",
		fix: "Run the same command again; if they stay, look at them with `docker inspect`.",
	});
}
