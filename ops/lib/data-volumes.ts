/**
 * Whether the volumes that the stores will start on are those with the data: each volume carries an identity, and the
 * stack's configuration knows which it wants. Looked at before anything is touched; the stores look again themselves.
 */
import { randomUUID } from "node:crypto";
import { hostName, LABEL, PATH } from "../../infra/contract.ts";
import { IDENTITY_FILE, identityEnv, STORES, type Store } from "../../infra/identities.ts";
import { imageRef } from "../../infra/images.ts";
import { type Container, containersOf, docker, partOf } from "./docker.ts";
import { OpsError } from "./errors.ts";
import { readIdentities, type StackRef, writeIdentity } from "./stack/config-file.ts";
import { list } from "./text.ts";

/** The identity of a volume; `fresh`: the one that it will have once there is data. */
interface Marks {
	known?: string;
	fresh?: string;
}

/**
 * Ends with a volume for each store that is known to be the right one. Makes those of a new stack.
 * @param name the stack's name on the host.
 * @throws OpsError DATA_ELSEWHERE or DATA_GONE (exit 6)
 */
export async function ensureDataVolumes(ref: StackRef, name: string): Promise<void> {
	const wanted = readIdentities(ref);
	const containers = await containersOf(name);
	// One that runs has looked itself.
	const stores = STORES.filter((store) => !containers.some((one) => runsOn(one, store, wanted[store])));
	if (stores.length === 0) return;
	const there = await volumeNames();
	const volumes = stores.map((store) => hostName.dataVolume(name, store));
	const marks = await marksOf(volumes.filter((volume) => there.includes(volume)));
	for (const store of stores) {
		const volume = hostName.dataVolume(name, store);
		const { known, fresh } = marks.get(volume) ?? {};
		const expected = wanted[store];
		if (expected === undefined) writeIdentity(ref, store, known ?? fresh ?? (await begin(name, store)));
		else if (known ? known !== expected : fresh !== expected)
			throw await notThere({ name, store, volume, expected, known, exists: there.includes(volume) });
	}
}

const runsOn = (container: Container, store: Store, identity: string | undefined): boolean =>
	partOf(container) === store &&
	container.State.Status === "running" &&
	Object.entries(identityEnv(identity)).some(([key, value]) =>
		container.Config.Env.includes(`${key}=${value}`),
	);

/** A new volume, marked as one. Made by the store's own image: Docker gives it that one's owner. */
async function begin(name: string, store: Store): Promise<string> {
	const identity = randomUUID();
	const volume = hostName.dataVolume(name, store);
	await docker(creation(name, volume));
	await docker([
		...["run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL", "--entrypoint", "/bin/sh"],
		...["--mount", `type=volume,source=${volume},target=${PATH.data[store]}`, imageRef(store)],
		...["-c", `echo ${identity} >${PATH.data[store]}/${IDENTITY_FILE.fresh}`],
	]);
	return identity;
}

/** With the labels by which it is found: none can be added later. */
const creation = (name: string, volume: string): string[] => [
	...["volume", "create", "--label", `${LABEL.stack}=${name}`, "--label", `${LABEL.data}=true`],
	volume,
];

const volumeNames = async (): Promise<string[]> =>
	(await docker(["volume", "ls", "--filter", "driver=local", "--format", "{{.Name}}"]))
		.split("\n")
		.filter(Boolean);

/** Reads what volumes are, and changes nothing on them. */
async function marksOf(volumes: readonly string[]): Promise<Map<string, Marks>> {
	const marks = new Map<string, Marks>();
	if (volumes.length === 0) return marks;
	const files = Object.values(IDENTITY_FILE).join(" ");
	const script = `cd /volumes; for v in *; do for f in ${files}; do [ ! -f "$v/$f" ] || echo "$v $f $(head -c 100 "$v/$f")"; done; done`;
	const said = await docker([
		...["run", "--rm", "--network", "none", "--read-only", "--user", "0"],
		// Their folders are closed to everybody but their owners.
		...["--cap-drop", "ALL", "--cap-add", "DAC_READ_SEARCH", "--entrypoint", "/bin/sh"],
		...volumes.flatMap((volume) => [
			"--mount",
			`type=volume,source=${volume},target=/volumes/${volume},readonly,volume-nocopy`,
		]),
		...[imageRef("keeper"), "-c", script],
	]);
	for (const line of said.split("\n").filter(Boolean)) {
		const [volume = "", file, identity = ""] = line.split(" ");
		const key = file === IDENTITY_FILE.known ? "known" : "fresh";
		marks.set(volume, { ...marks.get(volume), [key]: identity });
	}
	return marks;
}

interface Missing {
	name: string;
	store: Store;
	volume: string;
	expected: string;
	/** The identity that the volume has. */
	known: string | undefined;
	exists: boolean;
}

/** Looks for the data on every volume of the host. */
async function notThere({ name, store, volume, expected, known, exists }: Missing): Promise<OpsError> {
	const marks = await marksOf(await volumeNames());
	const holders = [...marks].filter(([, one]) => one.known === expected).map(([name]) => name);
	const found = known ? `is another one (${known})` : exists ? "is empty" : "does not exist";
	const what = `The volume ${volume}, which should have the data of ${store}, ${found}.`;
	if (holders.length > 0) {
		return new OpsError({
			code: "DATA_ELSEWHERE",
			kind: "dataRisk",
			what,
			why: `The data (volume identity ${expected}) is on ${list(holders)}. Nothing was started, so that nobody works on the wrong one.`,
			fix: known
				? `Find out whose data is on ${volume} and move it to another volume; then copy ${holders[0]} there.`
				: `Copy it back under its name: docker ${creation(name, volume).join(" ")} && docker run --rm --user 0 -v ${holders[0]}:/from:ro -v ${volume}:/to ${imageRef("keeper")} cp -a /from/. /to/`,
		});
	}
	return new OpsError({
		code: "DATA_GONE",
		kind: "dataRisk",
		what,
		why: `No volume on this host has the identity ${expected}. Nothing was started: a new, empty one would look as if all were well.`,
		fix: "Put the volume back. If it is gone for good: npx mlgate destroy --volumes, then npx mlgate up, and restore a backup (npx mlgate backups).",
	});
}
