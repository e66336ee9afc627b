/** Who has a port on the loopback. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { docker } from "./docker.ts";

export const LOOPBACK = "127.0.0.1";

/** Who listens on a port, in words: a container, else a process, else nobody that we can see. */
export async function whoListens(port: number): Promise<string> {
	const publishing = await docker(["ps", "--filter", `publish=${port}`, "--format", "{{.Names}}"]);
	const [container] = publishing.split("\n").filter(Boolean);
	if (container) return `the container ${container}`;
	const pid = listener(port);
	return pid ? `process ${pid} (${commandOf(pid)})` : "a process of another user";
}

/** State 0A is LISTEN; the tenth field is the inode of the socket. */
function listener(port: number): number | undefined {
	const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
	const inodes = new Set(
		["/proc/net/tcp", "/proc/net/tcp6"].flatMap((file) =>
			read(file)
				.split("\n")
				.map((line) => line.trim().split(/\s+/))
				.filter((fields) => fields[1]?.endsWith(suffix) && fields[3] === "0A")
				.map((fields) => `socket:[${fields[9]}]`),
		),
	);
	return readdirSync("/proc")
		.filter((entry) => /^\d+$/.test(entry))
		.map(Number)
		.find((pid) => links(`/proc/${pid}/fd`).some((target) => inodes.has(target)));
}

/** The program's name alone: its arguments may hold secrets. */
const commandOf = (pid: number) => read(`/proc/${pid}/comm`).trim();

function read(path: string): string {
	try {
		return readFileSync(path, "utf8");
	} catch {
		return "";
	}
}

/** Where the links in a folder lead; those that we may not see are left out. */
function links(folder: string): string[] {
	try {
		return readdirSync(folder).map((name) => readlinkSync(`${folder}/${name}`));
	} catch {
		return [];
	}
}
