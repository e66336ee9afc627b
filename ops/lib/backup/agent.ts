/** Starts the backup's helper (`proxy/backup/agent.ts`): a container of its own from the door's image, gone with its job. */
import { ALIAS, hostName, LABEL, PATH, PORT, SECRET_FILE, STORE, UID } from "../../../infra/contract.ts";
import { imageRef } from "../../../infra/images.ts";
import {
	type DockerStream,
	type MarkedStream,
	newMark,
	openDockerStream,
	openMarkedStream,
} from "../docker-stream.ts";

const PROGRAM = "/app/proxy/backup/agent.ts";
const KEY_FILE = `${PATH.data.door}/wrapping-key`;

/** Jobs that tell much and are told nothing, and those that are told what to do. */
type Telling = "list" | "export" | "check" | "read-key";
type Told = "import" | "keep" | "write-key";

const ENV: Readonly<Record<string, string>> = {
	DOOR_STORE_URL: `http://${ALIAS.minio}:${PORT.minio}`,
	DOOR_STORE_BUCKET: STORE.bucket,
	DOOR_STORE_USER: STORE.users.door,
	DOOR_STORE_SECRET_FILE: `${PATH.secrets}/${SECRET_FILE.door.store}`,
	DOOR_KEY_FILE: KEY_FILE,
};

/** What a job may reach, and nothing else: the store by the door's own user, or the door's volume. */
const reach = (name: string, job: Telling | Told): string[] =>
	job === "read-key" || job === "write-key"
		? [
				...["--network", "none"],
				...mount(hostName.dataVolume(name, "door"), PATH.data.door, job === "read-key"),
			]
		: [
				...["--network", hostName.network(name, "data")],
				...mount(hostName.secretsVolume(name, "door"), PATH.secrets, true),
			];

const mount = (source: string, target: string, readOnly: boolean): string[] => [
	"--mount",
	`type=volume,source=${source},target=${target}${readOnly ? ",readonly" : ""}`,
];

/** @param name the stack's name on the host. */
export const startAgent = (name: string, job: Told, signal?: AbortSignal): DockerStream =>
	openDockerStream(agentArgs(name, job), signal);

/** What it says is whole, or reading it fails. */
export function askAgent(name: string, job: Telling, signal?: AbortSignal): MarkedStream {
	const mark = newMark();
	return openMarkedStream([...agentArgs(name, job), mark], mark, signal);
}

const agentArgs = (name: string, job: Telling | Told): string[] => [
	...["run", "--rm", "--interactive", "--init"],
	...["--label", `${LABEL.stack}=${name}`, "--label", `${LABEL.part}=backup`],
	...["--user", `${UID.door}:${UID.door}`, "--read-only", "--cap-drop", "ALL"],
	...["--security-opt", "no-new-privileges", "--memory", "512m", "--memory-swap", "512m"],
	...["--pids-limit", "64", "--log-driver", "none"],
	...Object.entries(ENV).flatMap(([key, value]) => ["--env", `${key}=${value}`]),
	...reach(name, job),
	...["--entrypoint", "node", imageRef("door"), PROGRAM, job],
];
