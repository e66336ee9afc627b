/** A second checkout beside the one under test: the same files, and the same stack as long as its links are there. */
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CHECKOUT, type Ended, run, STACK } from "./mlgate.ts";

const FILES = ["infra", "ops", "proxy", "package.json", "package-lock.json", ".npmrc", "Pulumi.yaml"];
/** What a checkout knows of the stack. */
const MEMORY = [".mlgate", `Pulumi.${STACK}.yaml`];

export class Checkout {
	readonly folder: string;

	private constructor(folder: string) {
		this.folder = folder;
	}

	/** @param memory none: it knows of no stack. */
	static async copy(memory: readonly string[] = MEMORY): Promise<Checkout> {
		const folder = await mkdtemp(join(tmpdir(), "mlgate-checkout-"));
		for (const name of FILES) await cp(join(CHECKOUT, name), join(folder, name), { recursive: true });
		for (const name of ["node_modules", ...memory]) await symlink(join(CHECKOUT, name), join(folder, name));
		return new Checkout(folder);
	}

	/** Changes one place in one file. */
	async change(file: string, from: string, to: string): Promise<void> {
		const path = join(this.folder, file);
		const text = await readFile(path, "utf8");
		if (!text.includes(from)) throw new Error(`${file} does not say ${from}`);
		await writeFile(path, text.replace(from, to));
	}

	/** Types `mlgate <args>` here, for the test's stack. */
	mlgate(...args: string[]): Promise<Ended> {
		return run("node", [join(this.folder, "ops/mlgate.mjs"), ...args, "--stack", STACK]);
	}

	/** Everything that it knows of the stack. The checkout under test keeps what it knows. */
	async forget(): Promise<void> {
		for (const name of MEMORY) await rm(join(this.folder, name));
	}

	async remove(): Promise<void> {
		await rm(this.folder, { recursive: true });
	}
}

/** What the checkout under test itself knows of this one stack; other stacks of it are left alone. */
export async function forgetStack(): Promise<void> {
	const state = join(CHECKOUT, ".mlgate/state/.pulumi/stacks/mlgate", `${STACK}.json`);
	for (const file of [state, `${state}.bak`, `${state}.attrs`, join(CHECKOUT, `Pulumi.${STACK}.yaml`)])
		await rm(file, { force: true });
}
