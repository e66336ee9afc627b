/** The machine under the stack. */
import { accessSync, constants, existsSync, statSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { freemem, totalmem } from "node:os";
import { join } from "node:path";
import { OPTIONAL_PARTS, PARTS } from "../../../infra/contract.ts";
import { MEMORY_SETTING } from "../../../infra/settings.ts";
import { docker } from "../docker.ts";
import { classify, currentEndpoint } from "../engine.ts";
import { OpsError } from "../errors.ts";
import { exec } from "../exec.ts";
import { readSettings } from "../stack/config-file.ts";
import { assertPortFree } from "../stack/port.ts";
import { bytesInWords } from "../text.ts";
import { type Look, note, wrong } from "./check.ts";

const ANSWER_MS = 15_000;
/** Less is not enough for a backup, an image and a day of logs. Bytes. */
const ROOM = 2 * 2 ** 30;
/** A clock that is off by more makes tokens begin late or end early. Milliseconds. */
const CLOCK_MS = 5_000;

export const HOST_LOOKS: readonly Look[] = [
	{
		name: "engine",
		async look() {
			const endpoint = await currentEndpoint();
			const outcome = await exec(["docker", "version", "--format", "{{json .}}"], { timeoutMs: ANSWER_MS });
			const answer = classify(outcome, endpoint);
			if (answer.state === "answers") return `Docker ${answer.info.version}, API ${answer.info.apiVersion}`;
			const said = "message" in answer ? answer.message : "There is no docker command.";
			const fixes = {
				"no-client": "npm start installs it.",
				silent: "npm start starts it.",
				denied: "Add this user to the group docker (sudo usermod -aG docker $USER) and sign in anew.",
				unfit: "Install Docker Engine 20.10 or later with its own command line.",
			};
			return [wrong(`The Docker engine at ${endpoint} cannot be used: ${said}`, fixes[answer.state])];
		},
	},
	{
		name: "disk",
		async look({ checkout }) {
			const { stdout } = await exec(["docker", "info", "--format", "{{.DockerRootDir}}"], {
				timeoutMs: ANSWER_MS,
			});
			const places = [...new Set([checkout, stdout.trim()])].filter(
				(path) => path !== "" && existsSync(path),
			);
			const free = await Promise.all(
				places.map(async (path) => {
					const { bavail, bsize } = await statfs(path);
					return { path, bytes: bavail * bsize };
				}),
			);
			const tight = free.filter(({ bytes }) => bytes < ROOM);
			if (tight.length === 0) return `${bytesInWords(Math.min(...free.map(({ bytes }) => bytes)))} free`;
			return tight.map(({ path, bytes }) =>
				wrong(
					`The disk of ${path} has ${bytesInWords(bytes)} left; runs and artifacts need room.`,
					`Free ${bytesInWords(ROOM - bytes)} or more there (\`docker image prune\` removes images that nobody uses).`,
				),
			);
		},
	},
	{
		name: "memory",
		async look(patient) {
			const settings = readSettings(patient);
			const limits =
				PARTS.filter((part) => settings.funnel === "on" || !OPTIONAL_PARTS.has(part))
					.map((part) => settings[MEMORY_SETTING[part]])
					.reduce((sum, mib) => sum + mib, 0) *
				2 ** 20;
			if (limits <= totalmem()) return `${bytesInWords(freemem())} free of ${bytesInWords(totalmem())}`;
			return [
				note(
					`The parts may take ${bytesInWords(limits)} together, and the machine has ${bytesInWords(totalmem())}.`,
					"npx mlgate config set mlflow.memory <MiB>: the largest of them",
				),
			];
		},
	},
	{
		name: "port",
		needsEngine: true,
		async look({ identity }) {
			try {
				await assertPortFree(identity.port, identity.name);
				return `${identity.port}, on the loopback alone`;
			} catch (error) {
				if (!(error instanceof OpsError)) throw error;
				const { what, why, fix } = error.problem;
				return [wrong([what, why].filter(Boolean).join(" "), fix)];
			}
		},
	},
	{
		name: "clock",
		needsEngine: true,
		async look() {
			const before = Date.now();
			const engine = Date.parse((await docker(["info", "--format", "{{.SystemTime}}"])).trim());
			const off = Math.abs(engine - (before + Date.now()) / 2);
			if (off < CLOCK_MS) return "as the engine's";
			return [
				wrong(
					`This machine's clock and the engine's differ by ${Math.round(off / 1000)} s: tokens would end early or late.`,
					"Set the clocks by a time server (chrony, systemd-timesyncd) on both.",
				),
			];
		},
	},
	{
		name: "certificates",
		async look() {
			const named = ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"].flatMap((name) => {
				const path = process.env[name];
				return path && !readable(path) ? [{ name, path }] : [];
			});
			if (named.length === 0) return "readable";
			return named.map(({ name, path }) =>
				wrong(
					`${name} names ${path}, which cannot be read: downloads of image builds would not trust this network.`,
					`Correct ${name}, or unset it.`,
				),
			);
		},
	},
	{
		name: "passphrase",
		async look({ checkout }) {
			if (process.env.PULUMI_CONFIG_PASSPHRASE !== undefined) return "from the environment";
			const file = process.env.PULUMI_CONFIG_PASSPHRASE_FILE ?? join(checkout, ".mlgate", "passphrase");
			if (!existsSync(file)) return "none yet";
			const open = (statSync(file).mode & 0o077) !== 0;
			if (!open) return "its owner's alone";
			return [wrong(`${file} can be read by others than its owner.`, `chmod 600 ${file}`)];
		},
	},
];

function readable(path: string): boolean {
	try {
		accessSync(path, constants.R_OK);
		return true;
	} catch {
		return false;
	}
}
