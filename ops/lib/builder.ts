/** How `docker build` is told to use the engine's own builder: no other one sees the images that the engine has. */
import { exec } from "./exec.ts";

export interface Builder {
	/** Options of `docker build`. */
	args: readonly string[];
	env: Record<string, string>;
}

/** Without the buildx plugin newer docker commands refuse BuildKit; the classic builder is then what they have. */
export async function engineBuilder(): Promise<Builder> {
	if (!(await hasBuildx())) return { args: ["--force-rm"], env: { DOCKER_BUILDKIT: "0" } };
	const { stdout } = await exec(["docker", "context", "inspect", "--format", "{{.Name}}"]);
	// Each context has a builder of its name, which is its engine's own.
	const env = { DOCKER_BUILDKIT: "1", BUILDX_BUILDER: stdout.trim() || "default" };
	return { args: ["--progress=plain"], env };
}

/** Whether `docker build` can use BuildKit. */
export async function hasBuildx(): Promise<boolean> {
	return (await exec(["docker", "buildx", "version"], { timeoutMs: 15_000 })).code === 0;
}
