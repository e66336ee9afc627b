import { accessSync, constants, statSync } from "node:fs";
import { delimiter, isAbsolute, join } from "node:path";

/** Where administration programs lie; the PATH of an ordinary user often leaves them out. */
const SYSTEM_FOLDERS = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/** The full path of a program, or undefined if there is none. */
export function which(program: string): string | undefined {
	return [...(process.env.PATH ?? "").split(delimiter), ...SYSTEM_FOLDERS]
		.filter(isAbsolute)
		.map((folder) => join(folder, program))
		.find(isExecutable);
}

function isExecutable(path: string): boolean {
	try {
		accessSync(path, constants.X_OK);
		return statSync(path).isFile();
	} catch {
		return false;
	}
}
