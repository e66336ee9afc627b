/**
 * The Debian that every image of ours stands on: the registries' by its digest, or one made by debootstrap where no
 * registry answers. Both get the same local name, so that the recipes need not know.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { BASE } from "../../infra/images.ts";
import { aptInstall, aptUpdate, distribution, isDebianFamily } from "./apt.ts";
import { cacheRoot } from "./cache.ts";
import { OpsError } from "./errors.ts";
import { exec, lastLine } from "./exec.ts";
import { withFileLock } from "./file-lock.mjs";
import { hostCa } from "./host-ca.ts";
import type { Report, Step } from "./report.ts";
import { type AsRoot, becomeRoot, type Consent } from "./sudo.ts";
import { which } from "./which.ts";

/** Where an image came from; one without this label was pulled. */
const ORIGIN_LABEL = "mlgate.base.origin";
const MAKE_ROOTFS = fileURLToPath(new URL("make-rootfs.sh", import.meta.url));
const DEBOOTSTRAP = ["debootstrap", "debian-archive-keyring"];

/** A registry that is there begins to answer at once; a pull that goes on may take as long as the network needs. */
const FIRST_ANSWER_MS = 10_000;
const PULL_MS = 10 * 60_000;

/** `mlgate-base:<12 hex of the digest>` */
export const baseRef = (): string =>
	`mlgate-base:${BASE.pull.slice(BASE.pull.indexOf("@sha256:") + 8).slice(0, 12)}`;

/**
 * Makes sure that the base image is there.
 * @returns its local name
 * @throws OpsError BASE_IMAGE_FAILED, ROOT_NEEDED, APT_FAILED
 */
export async function ensureBaseImage(
	report: Report,
	consent: Consent = { yes: false, interactive: false },
): Promise<string> {
	const ref = baseRef();
	if (await imageExists(ref)) return ref;
	await withFileLock(
		join(cacheRoot(), ".base-image.lock"),
		"making the base image",
		async () => {
			if (await imageExists(ref)) return;
			if (await report.step("Asking a registry for the base image", (step) => pull(report, step, ref)))
				return;
			const asRoot = await rootForDebootstrap(report, consent);
			await report.step("Making the base image from Debian's packages", (step) =>
				bootstrap(report, asRoot, step, ref),
			);
		},
		{
			onWait: ({ pid, since }) =>
				report.note(`Waiting for process ${pid}, which is making the base image since ${since}.`),
		},
	);
	return ref;
}

export async function imageExists(ref: string): Promise<boolean> {
	return (await exec(["docker", "image", "inspect", "--format", "{{.Id}}", ref])).code === 0;
}

/** @returns whether it worked; why not is in the log. */
async function pull(report: Report, step: Step, ref: string): Promise<boolean> {
	const abort = new AbortController();
	const impatience = setTimeout(() => abort.abort(), FIRST_ANSWER_MS);
	const outcome = await exec(["docker", "pull", BASE.pull], {
		signal: abort.signal,
		timeoutMs: PULL_MS,
		onLine(line) {
			report.log(line);
			step.detail(line);
			// The engine says this as soon as the registry has named the layers.
			if (/Pulling from/.test(line)) clearTimeout(impatience);
		},
	});
	clearTimeout(impatience);
	if (outcome.code === 0) return (await exec(["docker", "tag", BASE.pull, ref])).code === 0;
	const why = abort.signal.aborted
		? `no answer within ${FIRST_ANSWER_MS / 1000} s`
		: lastLine(outcome.stderr);
	report.log(`docker pull ${BASE.pull}: ${why}`);
	step.detail(`no registry: ${why}`);
	return false;
}

async function rootForDebootstrap(report: Report, consent: Consent): Promise<AsRoot> {
	const missing = which("debootstrap") === undefined;
	if (missing && !isDebianFamily()) {
		throw failed("No registry answers, and there is no debootstrap to make it with.");
	}
	const purpose = "make the base image with debootstrap, as no registry answers";
	const asRoot = await becomeRoot(report, consent, {
		purpose,
		byHand: `docker pull ${BASE.pull} && docker tag ${BASE.pull} ${baseRef()}`,
	});
	if (missing) {
		await report.step("Installing debootstrap", async (step) => {
			await aptUpdate(report, asRoot, step);
			await aptInstall(report, asRoot, step, DEBOOTSTRAP);
		});
	}
	return asRoot;
}

/** debootstrap as root, its archive into `docker import` as whoever we are. */
async function bootstrap(report: Report, asRoot: AsRoot, step: Step, ref: string): Promise<void> {
	const folder = mkdtempSync(join(tmpdir(), "mlgate-base-"));
	const clean = () => rmSync(folder, { recursive: true, force: true });
	process.once("exit", clean);
	try {
		const ca = join(folder, "ca.pem");
		const archive = join(folder, "rootfs.tar");
		writeFileSync(ca, hostCa());
		// The redirection is ours, so the archive is too: sudo's own output is its messages.
		const { code, stdout, stderr } = await asRoot(
			["sh", "-c", 'exec "$0" "$@" >"$ROOTFS_ARCHIVE"', MAKE_ROOTFS, BASE.suite, ...(await hostMirrors())],
			{
				env: { ROOTFS_CA: ca, ROOTFS_ARCHIVE: archive, ...proxies() },
				onLine(line) {
					report.log(line);
					step.detail(line);
				},
			},
		);
		if (code !== 0) throw failed(reasonIn(`${stdout}\n${stderr}`));
		step.detail("importing");
		const imported = await exec([
			"docker",
			"import",
			"--change",
			'CMD ["bash"]',
			"--change",
			`LABEL ${ORIGIN_LABEL}=debootstrap`,
			archive,
			ref,
		]);
		if (imported.code !== 0) throw failed(lastLine(imported.stderr));
	} finally {
		process.off("exit", clean);
		clean();
	}
}

/** debootstrap and apt say it with `E:`, and go on with less. */
function reasonIn(output: string): string {
	return output.match(/^E: .*$/gm)?.at(-1) ?? lastLine(output);
}

function proxies(): Record<string, string> {
	const found: Record<string, string> = {};
	for (const name of ["http_proxy", "https_proxy", "no_proxy"]) {
		const value = process.env[name] ?? process.env[name.toUpperCase()];
		if (value) found[name] = value;
	}
	return found;
}

/**
 * [mirror, security mirror] of a Debian host, which may be its company's own; on any other host none, and debootstrap
 * takes its default.
 */
async function hostMirrors(): Promise<string[]> {
	if (distribution()[0] !== "debian") return [];
	const format = "$(LABEL)|$(REPO_URI)";
	const { code, stdout } = await exec([
		"apt-get",
		"indextargets",
		"--format",
		format,
		"Created-By: Packages",
	]);
	if (code !== 0) return [];
	return pickMirrors(stdout);
}

/** Reads `<label>|<address>` lines; keeps what can be fetched from inside a fresh system. */
export function pickMirrors(lines: string): string[] {
	const sources = lines.split("\n").map((line) => line.split("|"));
	const address = (label: string) =>
		sources.find(([name, uri = ""]) => name === label && /^https?:/.test(uri))?.[1]?.replace(/\/$/, "");
	const mirror = address("Debian");
	const security = address("Debian-Security");
	return mirror ? [mirror, ...(security ? [security] : [])] : [];
}

function failed(why: string): OpsError {
	return new OpsError({
		code: "BASE_IMAGE_FAILED",
		kind: "precondition",
		what: "The base image could be neither pulled nor made.",
		why,
		fix: "Check the network (a registry mirror of the engine, or Debian's package mirror, is enough) and run this again.",
	});
}
