/** The stack on the machine: what it should be, and what it is. */
import { DATA_VOLUMES, hostName, PARTS, PATH } from "../../../infra/contract.ts";
import { imageRef } from "../../../infra/images.ts";
import { MEMORY_SETTING } from "../../../infra/settings.ts";
import { backupFolder, listBackups } from "../backup/folder.ts";
import { imageExists } from "../base-image.ts";
import { type Container, docker, imageNames, partOf, start } from "../docker.ts";
import { examine } from "../health.ts";
import { cutOff, lastStep, readRuns } from "../journal.ts";
import { heldBy, isKeeper } from "../keeper.ts";
import { journalFolder } from "../paths.ts";
import { diskOf } from "../resources.ts";
import { readSettings } from "../stack/config-file.ts";
import { RESOURCE_TYPE, readState, resourcesOf } from "../stack/state.ts";
import { age, list } from "../text.ts";
import { ownImages } from "../workspace.ts";
import { type Diagnosis, type Look, note, type Patient, wrong } from "./check.ts";

const START = "npm start";

const parts = ({ containers }: Patient) =>
	PARTS.flatMap((part) => {
		const container = containers.find((one) => partOf(one) === part);
		return container ? [{ part, container }] : [];
	});

/** `none` if nothing was found. */
const found = (diagnoses: readonly Diagnosis[], well: string): Diagnosis[] | string =>
	diagnoses.length > 0 ? [...diagnoses] : well;

export const STACK_LOOKS: readonly Look[] = [
	{
		name: "images",
		needsEngine: true,
		async look(patient) {
			const wanted = ownImages(patient);
			const there = await Promise.all(wanted.map((image) => imageExists(imageRef(image))));
			const missing = wanted.filter((_, i) => !there[i]);
			if (missing.length === 0) return `${wanted.length} built`;
			return [note(`Images of this checkout are not built: ${list(missing)}.`, `${START} builds them.`)];
		},
	},
	{
		name: "volumes",
		needsEngine: true,
		async look(patient) {
			const { identity, dataVolumes } = patient;
			if (parts(patient).length === 0 && dataVolumes.length === 0) return "none yet";
			const names = dataVolumes.map(({ Name }) => Name);
			const missing = DATA_VOLUMES.map((volume) => hostName.dataVolume(identity.name, volume)).filter(
				(name) => !names.includes(name),
			);
			const diagnoses = missing.map((name) =>
				wrong(
					`The data volume ${name} is gone.`,
					`If it held data, bring the stack up and restore a backup: ${START}, then npx mlgate backups`,
				),
			);
			const elsewhere = parts(patient).flatMap(({ part, container }) => {
				const wanted = DATA_VOLUMES.find((volume) => volume === part);
				if (
					!wanted ||
					container.Mounts.some(({ Name }) => Name === hostName.dataVolume(identity.name, wanted))
				)
					return [];
				return [wrong(`${part} does not have its data volume mounted.`, START)];
			});
			return found([...diagnoses, ...elsewhere], `${names.length}, each with its part`);
		},
	},
	{
		name: "identity of the volumes",
		needsEngine: true,
		async look(patient) {
			const stores = parts(patient).filter(
				({ part, container }) =>
					(part === "postgres" || part === "minio") && container.State.Status === "running",
			);
			const without: Diagnosis[] = [];
			for (const { part, container } of stores) {
				const file = `${PATH.data[part as "postgres" | "minio"]}/identity`;
				const { exitCode } = await start(["exec", container.Id, "test", "-s", file]);
				if (exitCode !== 0)
					without.push(
						wrong(
							`The volume of ${part} has no identity: it is empty, or not ours.`,
							`Look which volume has the data (docker volume ls), then npx mlgate why ${part}`,
						),
					);
			}
			return found(without, stores.length > 0 ? "known" : "not looked at: the stores do not run");
		},
	},
	{
		name: "keeper",
		needsEngine: true,
		async look({ containers, dataVolumes }) {
			if (dataVolumes.length === 0) return "nothing to hold";
			const keeper = containers.find((one) => isKeeper(one) && one.State.Status === "running");
			if (!keeper)
				return [wrong("Nothing holds the data volumes: `docker volume prune` would take them.", START)];
			const missed = dataVolumes.map(({ Name }) => Name).filter((name) => !heldBy(keeper).includes(name));
			return missed.length === 0
				? `holds ${dataVolumes.length} volumes`
				: [wrong(`The keeper does not hold ${list(missed)}.`, START)];
		},
	},
	{
		name: "drift from the program",
		needsEngine: true,
		async look(patient) {
			const settings = readSettings(patient);
			const names = await imageNames();
			const diagnoses = parts(patient).flatMap(({ part, container }) => {
				const differences = [
					...(part === "api" && settings["api.image"] ? [] : imageDrift(part, container, names)),
					...memoryDrift(container, settings[MEMORY_SETTING[part]]),
				];
				return differences.map((text) => note(`${part} ${text}.`, START));
			});
			return found([...diagnoses, ...unknownContainers(patient)], "none");
		},
	},
	{
		name: "unbounded growth",
		needsEngine: true,
		async look(patient) {
			const diagnoses = parts(patient).flatMap(({ part, container }) => [
				...(container.HostConfig.ReadonlyRootfs
					? []
					: [wrong(`${part} may write to its root without a limit.`, START)]),
				...(container.HostConfig.LogConfig?.Config?.["max-size"]
					? []
					: [wrong(`The log of ${part} may grow without end.`, START)]),
			]);
			return found([...diagnoses, ...(await overfullScratch(patient))], "everything has a limit");
		},
	},
	{
		name: "networks",
		needsEngine: true,
		async look({ identity: { name } }) {
			const format = "{{.Name}} {{.Internal}}";
			const listing = await docker(["network", "ls", "--filter", `label=mlgate.stack=${name}`, "-q"]);
			const ids = listing.split("\n").filter(Boolean);
			if (ids.length === 0) return "none yet";
			const seen = (await docker(["network", "inspect", "--format", format, ...ids])).trim().split("\n");
			const open = seen.filter((line) => line === `${hostName.network(name, "data")} false`);
			return found(
				open.map(() => wrong("The stores' network has a way out.", `npx mlgate down, then ${START}`)),
				`${seen.length}, the stores' without a way out`,
			);
		},
	},
	{
		name: "unfinished commands",
		async look({ checkout, stack }) {
			const run = cutOff(readRuns(journalFolder(checkout), stack));
			if (!run) return "none";
			const step = lastStep(run);
			const words = [run.command, run.about].filter(Boolean).join(" ");
			return [
				wrong(
					`\`${words}\` was killed ${age(run.since)} ago${step ? `, in the step "${step}"` : ""}.`,
					`npx mlgate ${run.command === "restore" ? words : run.command === "down" ? "down" : "up"}`,
				),
			];
		},
	},
	{
		name: "backups",
		async look({ checkout, stack, dataVolumes }) {
			const { backups, unusable } = listBackups(backupFolder(checkout, undefined));
			const last = backups.find(({ manifest }) => manifest.stack === stack);
			const diagnoses = unusable.map(({ id, why }) =>
				note(`The backup ${id} cannot be used. ${why}`, "Remove its folder, or copy it anew."),
			);
			if (dataVolumes.length > 0 && (!last || Date.now() - Date.parse(last.manifest.taken) > OLD_MS))
				diagnoses.push(
					note(
						last ? `The last backup is ${age(last.manifest.taken)} old.` : "There is no backup.",
						"npx mlgate backup",
					),
				);
			return found(diagnoses, last ? `the last one ${age(last.manifest.taken)} ago` : "nothing to back up");
		},
	},
	{
		name: "object store",
		look: async () => [
			note(
				"MinIO's makers no longer maintain it (since February 2026). The stack runs its own build of the last release, which nobody but the door and MLflow can reach.",
				"Nothing now; keep this checkout up to date, for fixes come with it.",
			),
		],
	},
	{
		name: "health",
		needsEngine: true,
		async look({ identity, containers }) {
			if (containers.length === 0) return "not up";
			const { verdict, findings } = await examine(identity);
			if (verdict === "stopped") return [wrong(`${identity.name} is stopped; all data is kept.`, START)];
			return found(
				findings.map(({ what, fix }) => wrong(what, fix)),
				verdict,
			);
		},
	},
];

/** A backup that is older protects little. */
const OLD_MS = 7 * 86_400_000;

function imageDrift(
	part: Parameters<typeof imageRef>[0],
	container: Container,
	names: ReadonlyMap<string, string>,
): string[] {
	const name = names.get(container.Config.Image) ?? container.Config.Image;
	return name === imageRef(part) ? [] : [`runs ${name}, and this checkout makes ${imageRef(part)}`];
}

const memoryDrift = ({ HostConfig }: Container, mib: number): string[] =>
	HostConfig.Memory === undefined || HostConfig.Memory === mib * 2 ** 20
		? []
		: [`may use ${Math.round(HostConfig.Memory / 2 ** 20)} MiB, and the settings say ${mib} MiB`];

/** Made or removed behind Pulumi's back. */
function unknownContainers(patient: Patient): Diagnosis[] {
	const state = readState(patient);
	if (!state) return [];
	const known = new Set(
		resourcesOf(state).flatMap(({ type, id }) => (type === RESOURCE_TYPE.container && id ? [id] : [])),
	);
	return parts(patient).flatMap(({ part, container }) =>
		known.has(container.Id) ? [] : [note(`The container of ${part} is not the one that Pulumi made.`, START)],
	);
}

async function overfullScratch(patient: Patient): Promise<Diagnosis[]> {
	const mlflow = parts(patient).find(({ part }) => part === "mlflow")?.container;
	const disk = mlflow && (await diskOf("mlflow", mlflow));
	const limit = readSettings(patient)["mlflow.scratch"] * 2 ** 30;
	if (!disk?.used || disk.used <= limit) return [];
	return [
		wrong(
			`MLflow's scratch folder holds more than its ${limit / 2 ** 30} GiB: artifacts that are on their way right now.`,
			"npx mlgate config set mlflow.scratch <GiB>, then npm start",
		),
	];
}
