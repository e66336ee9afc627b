/**
 * Pulumi's command line and its Docker provider: downloaded from Pulumi where that answers, else built from the Go
 * modules in infra/plugins. Whichever way they came, they lie in the same place of the cache.
 */
import {
	chmodSync,
	copyFileSync,
	existsSync,
	linkSync,
	mkdirSync,
	readFileSync,
	renameSync,
	rmSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import type { GoBinary } from "../../infra/images.ts";
import { ROOT } from "./bootstrap.mjs";
import { cached, cachedEntry } from "./cache.ts";
import { download, probe } from "./download.ts";
import { OpsError } from "./errors.ts";
import { exec, lastLine } from "./exec.ts";
import { buildKey, goBuild } from "./go.ts";
import type { Report, Step } from "./report.ts";
import type { Consent } from "./sudo.ts";

export interface PulumiTools {
	/** Holds `bin/pulumi`. */
	root: string;
	/** PULUMI_HOME: holds the provider under `plugins/`. Pulumi keeps its own logs here as well. */
	home: string;
}

/** Where Pulumi publishes its builds; `MLGATE_PULUMI_DOWNLOADS` names a mirror with the same paths. */
const DOWNLOADS = "https://get.pulumi.com/releases";

/** `download` and `build` allow that way alone (`MLGATE_TOOLS`). */
const WAYS = ["download", "build"] as const;
type Way = (typeof WAYS)[number];
const PARTICIPLE = { download: "downloaded", build: "built" } as const;

/** Node's names for processors, as Go and Pulumi's archives call them. */
const GO_ARCH: Record<string, string> = { x64: "amd64", arm64: "arm64" };

interface Tool {
	/** For the person. */
	title: string;
	/** Of the npm package that talks to it; they belong together. */
	version: string;
	/** Path of the program in its entry of the cache. */
	path: string;
	/** Under the download address. */
	archive: string;
	/** There is no other way than the download where this is missing. */
	build?: GoBinary;
	/** What to do where it cannot be had, if it is not the usual. */
	otherwise?: string;
	/** @throws Error if the program in `entry` does not work. */
	check(program: string, entry: string): Promise<void>;
}

const CLI_VERSION = npmVersion("@pulumi/pulumi");
const DOCKER_VERSION = npmVersion("@pulumi/docker");
const TAILSCALE_VERSION = npmVersion("@pulumi/tailscale");

const CLI: Tool = {
	title: "Pulumi",
	version: CLI_VERSION,
	path: "bin/pulumi",
	archive: `sdk/pulumi-v${CLI_VERSION}-linux-${process.arch}.tar.gz`,
	build: {
		module: "infra/plugins/pulumi",
		package: "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
		tags: "osusergo,grpcnotrace",
		ldflags: `-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v${CLI_VERSION}`,
		output: "pulumi",
	},
	async check(program) {
		const { code, stdout, stderr } = await exec([program, "version"], { env: quiet(), timeoutMs: 60_000 });
		if (code === 0 && stdout.trim() === `v${CLI_VERSION}`) return;
		throw new Error(`pulumi version: ${lastLine(stderr) || lastLine(stdout) || `exit code ${code}`}`);
	},
};

const DOCKER: Tool = {
	title: "Pulumi's Docker provider",
	version: DOCKER_VERSION,
	path: `plugins/resource-docker-v${DOCKER_VERSION}/pulumi-resource-docker`,
	archive: `plugins/pulumi-resource-docker-v${DOCKER_VERSION}-linux-${GO_ARCH[process.arch] ?? process.arch}.tar.gz`,
	build: {
		module: "infra/plugins/docker",
		package: ".",
		tags: "no_compose",
		ldflags: "-s -w",
		output: "pulumi-resource-docker",
	},
	check: (program, entry) => checkProvider(program, entry, "docker", DOCKER_VERSION),
};

/** Its own build needs Go modules of several gigabytes, for one key. */
const TAILSCALE: Tool = {
	title: "Pulumi's Tailscale provider",
	version: TAILSCALE_VERSION,
	path: `plugins/resource-tailscale-v${TAILSCALE_VERSION}/pulumi-resource-tailscale`,
	archive: `plugins/pulumi-resource-tailscale-v${TAILSCALE_VERSION}-linux-${GO_ARCH[process.arch] ?? process.arch}.tar.gz`,
	otherwise:
		"Join the tailnet with an auth key instead, which needs no provider: npx mlgate config set funnel.authKey < <file>. Or let MLGATE_PULUMI_DOWNLOADS name a mirror of Pulumi's downloads.",
	check: (program, entry) => checkProvider(program, entry, "tailscale", TAILSCALE_VERSION),
};

/** Starts it and asks it over its own protocol who it is. */
async function checkProvider(program: string, entry: string, wanted: string, its: string): Promise<void> {
	const root = cachedEntry(...place(CLI));
	if (!root) throw new Error("providers are checked by the command line, which is not there");
	const { code, stdout, stderr } = await exec([join(root, CLI.path), "package", "get-schema", program], {
		env: { ...quiet(), PULUMI_HOME: entry },
		timeoutMs: 60_000,
	});
	const { name, version } = code === 0 ? JSON.parse(stdout) : {};
	if (name === wanted && version === its) return;
	throw new Error(`the provider's schema: ${lastLine(stderr) || `${name} ${version}`}`);
}

/**
 * Makes both available, once for their version and recipe.
 * @throws OpsError PULUMI_UNAVAILABLE, and those of `goBuild`
 */
export async function ensurePulumi(
	report: Report,
	consent: Consent = { yes: false, interactive: false },
): Promise<PulumiTools> {
	const root = await ensureTool(report, CLI, consent);
	const home = await ensureTool(report, DOCKER, consent);
	return { root, home };
}

/**
 * The provider for stacks that join their tailnet by its API; no other needs it.
 * @param home of `PulumiTools`: where it is put.
 * @throws OpsError PULUMI_UNAVAILABLE
 */
export async function ensureTailscaleProvider(report: Report, home: string): Promise<void> {
	const entry = await ensureTool(report, TAILSCALE, { yes: false, interactive: false });
	const program = join(home, TAILSCALE.path);
	if (existsSync(program)) return;
	mkdirSync(dirname(program), { recursive: true });
	// Whole or not at all: others may be looking for it.
	const fresh = `${program}.${process.pid}.tmp`;
	copyFileSync(join(entry, TAILSCALE.path), fresh);
	renameSync(fresh, program);
}

/** @returns [kind, key] in the cache. */
function place({ build, version, path }: Tool): [string, string] {
	const recipe = build ? [buildKey(build)] : [];
	return [basename(path), [version, process.arch, ...recipe].join("-")];
}

async function ensureTool(report: Report, tool: Tool, consent: Consent): Promise<string> {
	const [kind, key] = place(tool);
	return (
		cachedEntry(kind, key) ??
		report.step(`Getting ${tool.title} ${tool.version}`, (step) =>
			cached(report, kind, key, (entry) => make(report, step, tool, entry, consent)),
		)
	);
}

async function make(report: Report, step: Step, tool: Tool, entry: string, consent: Consent): Promise<void> {
	const program = join(entry, tool.path);
	mkdirSync(join(program, ".."), { recursive: true });
	const reasons: string[] = [];
	const ways = allowedWays().filter((way) => way !== "build" || tool.build);
	for (const way of ways) {
		try {
			await GET[way](report, step, tool, program, consent);
			step.detail("trying it out");
			await tool.check(program, entry);
			return;
		} catch (error) {
			if (error instanceof OpsError) throw error;
			const reason = error instanceof Error ? error.message : String(error);
			report.log(`${way}: ${reason}`);
			reasons.push(reason);
			rmSync(program, { force: true });
		}
	}
	throw new OpsError({
		code: "PULUMI_UNAVAILABLE",
		kind: "precondition",
		what: `${tool.title} ${tool.version} could not be ${ways.map((way) => PARTICIPLE[way]).join(" or ") || "had"}.`,
		why: reasons.join("; ") || "MLGATE_TOOLS allows builds alone, and this one can only be downloaded.",
		fix:
			tool.otherwise ??
			"Check the network and run this again; MLGATE_PULUMI_DOWNLOADS may name a mirror of Pulumi's downloads.",
	});
}

/** @throws Error with the reason why this way does not lead there. */
const GET: Record<
	Way,
	(report: Report, step: Step, tool: Tool, program: string, consent: Consent) => Promise<void>
> = {
	async download(report, step, tool, program) {
		const url = `${process.env.MLGATE_PULUMI_DOWNLOADS || DOWNLOADS}/${tool.archive}`;
		step.detail("looking whether it can be downloaded");
		if (!(await probe(report, url))) throw new Error(`${url} does not answer`);
		const folder = `${program}.download`;
		const archive = join(folder, "archive.tar.gz");
		mkdirSync(folder);
		try {
			await download(url, archive, step);
			step.detail("unpacking");
			await unpack(archive, program);
			chmodSync(program, 0o755);
		} finally {
			rmSync(folder, { recursive: true, force: true });
		}
	},
	async build(report, step, { build, title }, program, consent) {
		if (!build) throw new Error(`${title} is not built here`);
		const built = await goBuild(report, step, build, consent);
		try {
			linkSync(built, program);
		} catch {
			copyFileSync(built, program);
		}
	},
};

/** Takes the program out of an archive, wherever it lies in there. */
async function unpack(archive: string, program: string): Promise<void> {
	const list = await exec(["tar", "--list", "--file", archive]);
	const member = list.stdout.split("\n").find((path) => path.split("/").at(-1) === basename(program));
	if (list.code !== 0 || !member)
		throw new Error(`the archive is damaged or has no ${basename(program)} in it`);
	const folder = dirname(archive);
	const { code, stderr } = await exec([
		"tar",
		"--extract",
		"--no-same-owner",
		"--file",
		archive,
		"--directory",
		folder,
		member,
	]);
	if (code !== 0) throw new Error(`the archive cannot be unpacked: ${lastLine(stderr)}`);
	renameSync(join(folder, member), program);
}

function allowedWays(): readonly Way[] {
	const wanted = process.env.MLGATE_TOOLS;
	if (!wanted) return WAYS;
	const way = WAYS.find((name) => name === wanted);
	if (way) return [way];
	throw new OpsError({
		code: "TOOLS_UNKNOWN",
		kind: "usage",
		what: `MLGATE_TOOLS is "${wanted}".`,
		fix: `Set it to ${WAYS.join(" or ")}, or leave it unset.`,
	});
}

/** Nothing about updates, and no part of the person's own Pulumi. */
function quiet(): NodeJS.ProcessEnv {
	return {
		...process.env,
		PULUMI_SKIP_UPDATE_CHECK: "true",
		PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: "true",
	};
}

/** What is installed is what package.json pins. */
function npmVersion(name: string): string {
	const path = join(ROOT, "node_modules", name, "package.json");
	return (JSON.parse(readFileSync(path, "utf8")) as { version: string }).version;
}
