/** A door on this host, as `npm run door` starts one, with tokens and a user. */
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { DATABASE, STORE } from "../../../infra/contract.ts";
import { ask } from "../../../proxy/control/client.ts";
import { CHECKOUT } from "../../support/mlgate.ts";
import type { Child, Children } from "./children.ts";
import { LINE } from "./ground.ts";
import { AT, answers, origin, until } from "./site.ts";

/** Tokens: more than one, because each may ask only so much. */
const READERS = 48;

export const PERSON = { name: "reader", password: "four grey geese went north" } as const;

export interface DoorOptions {
	children: Children;
	/** Its own. */
	folder: string;
	secretFile: string;
	uiFolder: string;
	/** MLflow's origin. */
	upstream: string;
}

export interface Door extends Child {
	/** Of viewers. */
	readers: readonly string[];
	/** May upload. */
	editor: string;
}

export async function openDoor({
	children,
	folder,
	secretFile,
	uiFolder,
	upstream,
}: DoorOptions): Promise<Door> {
	const socket = join(folder, "control.sock");
	await rm(socket, { force: true });
	const listener = (name: string, bind: string, ...ports: number[]) => ({
		name,
		bind,
		port: AT.door,
		hosts: [AT.door, ...ports].map((port) => `${bind}:${port}`),
	});
	const scratch = join(folder, "tmp");
	const profile = process.env.BENCH_PROFILE;
	const child = children.start(
		"the door",
		[
			process.execPath,
			...(profile === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profile}`]),
			join(CHECKOUT, "proxy", "main.ts"),
		],
		{
			scratch,
			stdio: ["ignore", "ignore", "inherit"],
			env: {
				PATH: process.env.PATH,
				NODE_ENV: "production",
				TMPDIR: scratch,
				DOOR_NAME: "bench",
				DOOR_LISTENERS: JSON.stringify([
					listener("edge", "127.0.0.1", AT.slowDoor),
					listener("clients", LINE.near),
				]),
				DOOR_MLFLOW_URL: upstream,
				DOOR_DATABASE_URL: `postgres://${DATABASE.door}@127.0.0.1:${AT.postgres}/${DATABASE.door}`,
				DOOR_DATABASE_PASSWORD_FILE: secretFile,
				DOOR_STORE_URL: origin(AT.minio),
				DOOR_STORE_BUCKET: STORE.bucket,
				DOOR_STORE_USER: STORE.users.door,
				DOOR_STORE_SECRET_FILE: secretFile,
				DOOR_KEY_FILE: join(folder, "wrapping-key"),
				DOOR_CONTROL_SOCKET: socket,
				DOOR_UI_FOLDER: uiFolder,
				DOOR_DRAIN_SECONDS: "0",
			},
		},
	);
	await until(
		"the door",
		async () => existsSync(socket) && (await answers(`${origin(AT.door)}/door/health`)),
		30_000,
	);
	const control = async (command: string, body: object) => {
		const { ok, body: answer } = await ask(socket, command, JSON.stringify(body));
		if (!ok) throw new Error(`${command}: ${answer}`);
		return JSON.parse(answer);
	};
	const token = async (role: string): Promise<string> =>
		(await control("tokens/create", { name: `bench ${role}`, role })).token;
	const { users } = (await control("users/list", {})) as { users: { name: string }[] };
	if (!users.some(({ name }) => name === PERSON.name))
		await control("users/add", { ...PERSON, role: "viewer" });
	const readers: string[] = [];
	while (readers.length < READERS) readers.push(await token("viewer"));
	return { ...child, readers, editor: await token("editor") };
}
