/** Debian's and Ubuntu's own packages. */
import { readFileSync } from "node:fs";
import { OpsError } from "./errors.ts";
import { exec, lastLine } from "./exec.ts";
import type { Report, Step } from "./report.ts";
import type { AsRoot } from "./sudo.ts";
import { which } from "./which.ts";

/** `ID` and `ID_LIKE` of /etc/os-release, e.g. `["ubuntu", "debian"]`. */
export function distribution(osRelease: string = "/etc/os-release"): string[] {
	let text: string;
	try {
		text = readFileSync(osRelease, "utf8");
	} catch {
		return [];
	}
	const value = (key: string) => new RegExp(`^${key}="?([^"\n]*)"?$`, "m").exec(text)?.[1] ?? "";
	return `${value("ID")} ${value("ID_LIKE")}`.split(/\s+/).filter(Boolean);
}

/** Whether the host's packages are Debian's or those of a distribution made from it. */
export function isDebianFamily(osRelease?: string): boolean {
	return (
		distribution(osRelease).some((id) => id === "debian" || id === "ubuntu") && which("apt-get") !== undefined
	);
}

/** The command a person would type. */
export const installByHand = (packages: readonly string[]) =>
	`sudo apt-get update && sudo apt-get install -y --no-install-recommends ${packages.join(" ")}`;

/** Whether the package lists know a package. */
export async function isAvailable(name: string): Promise<boolean> {
	const { code, stdout } = await exec(["apt-cache", "policy", name], {
		env: { ...process.env, LC_ALL: "C" },
	});
	return code === 0 && /^ {2}Candidate: (?!\(none\))/m.test(stdout);
}

/** Refreshes the package lists. That some source fails need not matter: the installation will tell. */
export async function aptUpdate(report: Report, asRoot: AsRoot, step: Step): Promise<void> {
	step.detail("apt-get update");
	const { code, stderr } = await aptGet(report, asRoot, step, ["update"]);
	if (code !== 0) report.log(`apt-get update failed: ${lastLine(stderr)}`);
}

/**
 * Installs packages without their recommendations and without ever removing another one.
 * @throws OpsError APT_FAILED
 */
export async function aptInstall(
	report: Report,
	asRoot: AsRoot,
	step: Step,
	packages: readonly string[],
): Promise<void> {
	const { code, stderr } = await aptGet(report, asRoot, step, [
		"install",
		"--yes",
		"--no-install-recommends",
		"--no-remove",
		...packages,
	]);
	if (code === 0) return;
	throw new OpsError({
		code: "APT_FAILED",
		kind: "precondition",
		what: `The packages ${packages.join(", ")} could not be installed.`,
		why: stderr.match(/^E: .*$/gm)?.at(0) ?? lastLine(stderr),
		fix: `Check the network and the package sources, see that this goes through, then try again: ${installByHand(packages)}`,
	});
}

function aptGet(report: Report, asRoot: AsRoot, step: Step, args: readonly string[]) {
	return asRoot(["apt-get", "--quiet", "-o", "DPkg::Lock::Timeout=120", ...args], {
		env: { DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C" },
		onLine: (line) => {
			report.log(line);
			step.detail(line);
		},
	});
}
