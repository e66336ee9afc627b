/** Docker's own command line, as far as this folder needs it. */
import { $ } from "zx";

/** Rejects with zx's ProcessOutput. */
export const docker = $({ quiet: true });

/** Lines of tab-separated columns, as `--format` makes them. */
export const table = async (output: Promise<{ stdout: string }>): Promise<string[][]> =>
	(await output).stdout
		.split("\n")
		.filter((line) => line !== "")
		.map((line) => line.split("\t"));
