import { imageRef } from "../../infra/images.ts";
import { type Ended, run } from "./mlgate.ts";

/**
 * Runs a Python script with the stock MLflow client on the host's network, as a user's notebook would.
 * The client is the one in the stack's own image, untouched. Its environment is given by file descriptor,
 * not by argument.
 * @param network another one of Docker's
 * @param hosts names with their addresses, `name:address`
 */
export function python(
	script: string,
	env: Record<string, string> = {},
	network = "host",
	hosts: readonly string[] = [],
): Promise<Ended> {
	return run("docker", clientArgs(Object.keys(env), network, hosts), { input: script, env });
}

/** What follows `docker`. The script is its input. @param names of variables that the client gets */
export function clientArgs(
	names: readonly string[],
	network = "host",
	hosts: readonly string[] = [],
): string[] {
	return [
		"run",
		"--rm",
		"-i",
		"--network",
		network,
		"--user",
		"10003",
		...names.flatMap((name) => ["--env", name]),
		...hosts.flatMap((host) => ["--add-host", host]),
		"--entrypoint",
		"python",
		imageRef("mlflow"),
		"-",
	];
}
