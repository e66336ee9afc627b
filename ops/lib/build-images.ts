/** Our own images, each built when the name that stands for its content does not exist yet. */
import {
	chmodSync,
	copyFileSync,
	cpSync,
	existsSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import type { Image } from "../../infra/contract.ts";
import { imageInputs, imageRef, RECIPES } from "../../infra/images.ts";
import { ensureBaseImage, imageExists } from "./base-image.ts";
import { node24, ROOT } from "./bootstrap.mjs";
import { type Builder, engineBuilder } from "./builder.ts";
import { cached, cacheRoot, keyOf } from "./cache.ts";
import { ensureDiskSpace } from "./disk.ts";
import { OpsError } from "./errors.ts";
import { exec, lastLine } from "./exec.ts";
import { goBuild } from "./go.ts";
import { hostCa } from "./host-ca.ts";
import type { Report, Step } from "./report.ts";
import type { Consent } from "./sudo.ts";

/** More at once is slower on small hosts, and the packages come from the same few servers. */
const AT_ONCE = 2;
/** Layers, downloads and what is thrown away on the way. */
const ROOM_MIB = { once: 1024, each: 1536 } as const;

/** What a host needs for downloads, and a build on it too. Docker knows the proxy variables by itself, not the others. */
export const PASSED_ON = [
	"http_proxy",
	"https_proxy",
	"no_proxy",
	"HTTP_PROXY",
	"HTTPS_PROXY",
	"NO_PROXY",
	"PIP_INDEX_URL",
	"PIP_EXTRA_INDEX_URL",
];

/**
 * Builds those of `images` that do not exist.
 * @throws OpsError IMAGE_BUILD_FAILED, and those of `goBuild` and `ensureBaseImage`
 */
export async function ensureImages(
	report: Report,
	images: readonly Image[],
	consent: Consent = { yes: false, interactive: false },
): Promise<void> {
	const missing = await missingOf(images);
	if (missing.length === 0) return;
	await ensureRoom(report, missing.length);
	const base = await ensureBaseImage(report, consent);
	const builder = await engineBuilder();
	const title = `Building ${missing.length === 1 ? "the image" : "the images"} ${missing.join(", ")}`;
	await report.step(title, async (step) => {
		const build: Build = { report, step, base, builder, consent, abort: new AbortController() };
		const queue = [...missing];
		const built = new Map(missing.map((image) => [image, Promise.withResolvers<void>()]));
		const worker = async () => {
			for (let image = queue.shift(); image && !build.abort.signal.aborted; image = queue.shift()) {
				// What an image takes files from stands before it in the queue, so somebody is at it.
				await Promise.race([Promise.all(sourcesOf(image).map((one) => built.get(one)?.promise)), aborted]);
				if (build.abort.signal.aborted) return;
				await buildImage(build, image);
				built.get(image)?.resolve();
			}
		};
		const aborted = new Promise<void>((resolve) => {
			build.abort.signal.addEventListener("abort", () => resolve(), { once: true });
		});
		const workers = Array.from({ length: AT_ONCE }, () =>
			worker().catch((error: unknown) => {
				// The first failure ends the others; what they say then is no news.
				if (!build.abort.signal.aborted) build.abort.abort(error);
			}),
		);
		await Promise.all(workers);
		build.abort.signal.throwIfAborted();
	});
}

const sourcesOf = (image: Image): readonly Image[] => RECIPES[image].takesFrom ?? [];

/** Those of `images` that do not exist, and before each what it takes files from. */
async function missingOf(images: readonly Image[]): Promise<Image[]> {
	const missing: Image[] = [];
	for (const image of images) {
		if (missing.includes(image) || (await imageExists(imageRef(image)))) continue;
		for (const source of await missingOf(sourcesOf(image))) {
			if (!missing.includes(source)) missing.push(source);
		}
		missing.push(image);
	}
	return missing;
}

interface Build {
	report: Report;
	step: Step;
	base: string;
	builder: Builder;
	consent: Consent;
	abort: AbortController;
}

async function ensureRoom(report: Report, count: number): Promise<void> {
	const { code, stdout } = await exec(["docker", "info", "--format", "{{.DockerRootDir}}"]);
	const path = stdout.trim();
	// An engine on another machine keeps its images there.
	if (code !== 0 || !existsSync(path)) return;
	const needMiB = ROOM_MIB.once + count * ROOM_MIB.each;
	await ensureDiskSpace(report, { path, needMiB, purpose: "the container images" });
}

async function buildImage(
	{ report, step, base, builder, consent, abort }: Build,
	image: Image,
): Promise<void> {
	const ref = imageRef(image);
	const tell = (line: string) => {
		report.log(`${image}: ${line}`);
		step.detail(`${image}: ${line}`);
	};
	const part: Step = { detail: tell };
	await withStaging(async (context) => {
		await stage(report, part, image, context, consent);
		if (abort.signal.aborted) return;
		const args = ["--tag", ref, "--build-arg", `BASE=${base}`];
		for (const source of sourcesOf(image)) {
			args.push("--build-arg", `${source.toUpperCase()}_IMAGE=${imageRef(source)}`);
		}
		for (const name of PASSED_ON) if (process.env[name]) args.push("--build-arg", name);
		const { code, stdout, stderr } = await exec(["docker", "build", ...builder.args, ...args, context], {
			env: { ...process.env, ...builder.env },
			signal: abort.signal,
			onLine: tell,
		});
		if (code !== 0 && !abort.signal.aborted) throw buildFailed(image, `${stdout}\n${stderr}`);
	});
}

/** Puts the build context together: everything the recipe names, and the certificates that downloads need. */
async function stage(
	report: Report,
	step: Step,
	image: Image,
	context: string,
	consent: Consent,
): Promise<void> {
	const recipe = RECIPES[image];
	for (const { from, to, mode } of imageInputs(image)) {
		const target = join(context, to);
		mkdirSync(dirname(target), { recursive: true });
		copyFileSync(from, target);
		chmodSync(target, mode);
	}
	writeFileSync(join(context, "build-ca.crt"), hostCa());
	for (const binary of recipe.go ?? []) {
		put(await goBuild(report, step, binary, consent), join(context, "bin", binary.output));
	}
	if (recipe.node) {
		put(node24(), join(context, "bin", "node"));
		cpSync(await productionModules(report, step), join(context, "node_modules"), {
			recursive: true,
			verbatimSymlinks: true,
		});
	}
}

function put(from: string, to: string): void {
	mkdirSync(dirname(to), { recursive: true });
	copyFileSync(from, to);
	chmodSync(to, 0o755);
}

/** What the door needs at run time: `dependencies` of package.json, as locked. */
async function productionModules(report: Report, step: Step): Promise<string> {
	const files = ["package.json", "package-lock.json", ".npmrc"].filter((name) =>
		existsSync(join(ROOT, name)),
	);
	const key = keyOf(process.arch, ...files.map((name) => readFileSync(join(ROOT, name), "utf8")));
	const entry = await cached(report, "node-modules", key, async (folder) => {
		for (const name of files) copyFileSync(join(ROOT, name), join(folder, name));
		step.detail("installing the dependencies of the door");
		const { code, stderr } = await exec(
			[
				"npm",
				"ci",
				"--omit=dev",
				"--omit=optional",
				"--ignore-scripts",
				"--fetch-retry-mintimeout=500",
				"--fetch-retry-maxtimeout=3000",
			],
			{ cwd: folder, onLine: report.log },
		);
		if (code !== 0) throw buildFailed("door", stderr.replace(/^npm error A complete log.*$/gm, ""));
	});
	return join(entry, "node_modules");
}

/** A folder for a build context. It goes when the build ends, and with the next build if this one was killed. */
export async function withStaging(work: (folder: string) => Promise<void>): Promise<void> {
	const parent = join(cacheRoot(), "staging");
	mkdirSync(parent, { recursive: true });
	for (const name of readdirSync(parent)) {
		const pid = name.split("-")[0];
		if (!existsSync(`/proc/${pid}`)) rmSync(join(parent, name), { recursive: true, force: true });
	}
	const folder = mkdtempSync(join(parent, `${process.pid}-`));
	// The context keeps its modes whatever the umask made of this.
	chmodSync(folder, 0o755);
	const clean = () => rmSync(folder, { recursive: true, force: true });
	process.once("exit", clean);
	try {
		await work(folder);
	} finally {
		process.off("exit", clean);
		clean();
	}
}

/** What may be behind a failed build, by its last words. */
const CAUSES: readonly [RegExp, string][] = [
	[
		/no space left on device/i,
		"Free some GB on the engine's disk (docker system df shows what takes it) and run this again.",
	],
	[
		/temporary failure|could not resolve|connection (timed out|refused)|network is unreachable|failed to fetch|ENOTFOUND|EAI_AGAIN/i,
		"Check the network that containers have (DNS, proxy) and run this again.",
	],
	[/certificate|SSL/i, "Let SSL_CERT_FILE name a bundle with your company's CA and run this again."],
];

/** How the programs inside a build say what is wrong. */
const CAUSE = /^(E: |ERROR\b|npm error |fatal\b)|\berror\b|\bnot found\b/i;
/** What the builders make of it: that a command failed, and which. */
const VERDICT =
	/returned a non-zero code|did not complete successfully|executor failed running|failed to solve|^npm error (A complete log|code|errno)/;

export function buildFailed(image: string, output: string): OpsError {
	// BuildKit numbers the steps and times the lines.
	const lines = output.split("\n").map((line) => line.replace(/^#\d+ ([\d.]+ )?/, "").trim());
	const why = lines.findLast((line) => CAUSE.test(line) && !VERDICT.test(line)) ?? lastLine(output);
	const [, fix] = CAUSES.find(([pattern]) => pattern.test(why)) ?? [];
	return new OpsError({
		code: "IMAGE_BUILD_FAILED",
		kind: "precondition",
		what: `The image of ${image} could not be built.`,
		why,
		fix: fix ?? "The log has the whole output of the build; mend what it names and run this again.",
	});
}
