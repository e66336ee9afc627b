/**
 * From a bare checkout to Node 24 and the installed dependencies. Plain JavaScript for Node 18 and later, nothing but
 * Node's own modules: this is what runs before anything is there.
 */
import { spawn, spawnSync } from "node:child_process";
import {
	copyFileSync,
	createWriteStream,
	existsSync,
	lstatSync,
	mkdirSync,
	mkdtempSync,
	readFileSync,
	renameSync,
	rmSync,
} from "node:fs";
import { constants } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { withFileLock } from "./file-lock.mjs";

/** The checkout. */
export const ROOT = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");

/** @type {NodeJS.Signals[]} */
const ENDING = ["SIGINT", "SIGTERM", "SIGHUP"];

const NODE_MAJOR = 24;
/** The first npm that reads lockfile version 3. */
const NPM_MAJOR = 7;

/** What happened, why, and the one thing to do: the shape of `Problem` in errors.ts, which cannot be loaded yet. */
export class BootstrapError extends Error {
	name = "BootstrapError";

	/** @param {{ code: string, kind: "precondition" | "interrupted", what: string, why?: string, fix: string }} problem */
	constructor(problem) {
		super(problem.what);
		this.problem = problem;
		/** As in design section 5. */
		this.exitCode = problem.kind === "interrupted" ? 130 : 3;
	}
}

/** @returns {never} */
function fail(code, what, why, fix) {
	throw new BootstrapError({ code, kind: "precondition", what, why, fix });
}

/**
 * Makes node_modules what package-lock.json says, if it is not. Safe to call from several processes at once; a failure
 * or an interruption leaves the old node_modules as they were.
 * @param {{ root?: string, out?: NodeJS.WriteStream }} [options] `out` gets the progress.
 * @returns {Promise<boolean>} whether anything was installed.
 * @throws {BootstrapError} with the one thing to do.
 */
export async function ensureDependencies({ root = ROOT, out = process.stderr } = {}) {
	if (isInstalled(root)) return false;
	const npm = spawnSync("npm", ["--version"], { cwd: root, encoding: "utf8" });
	if (npm.error) {
		fail(
			"NPM_MISSING",
			"npm is missing.",
			String(npm.error.message),
			"Install npm (Debian, Ubuntu: apt-get install npm) and run this again.",
		);
	}
	const version = npm.stdout.trim();
	if (Number.parseInt(version, 10) < NPM_MAJOR) {
		fail(
			"NPM_OLD",
			`npm ${version} is too old to install the dependencies.`,
			`package-lock.json needs npm ${NPM_MAJOR} or later.`,
			"Update it (npm install -g npm) and run this again.",
		);
	}
	const abort = new AbortController();
	const interrupt = () => abort.abort();
	for (const signal of ENDING) process.on(signal, interrupt);
	try {
		return await withFileLock(
			join(root, ".mlgate", "locks", "dependencies.lock"),
			"installing the dependencies",
			// Whoever held the lock before may have done the work.
			() => !isInstalled(root) && install(root, out, abort.signal),
			{
				signal: abort.signal,
				onWait: (holder) =>
					out.write(`Waiting for process ${holder.pid}, which is ${holder.what} since ${holder.since}.\n`),
			},
		);
	} catch (error) {
		if (abort.signal.aborted) throw interrupted();
		if (error instanceof BootstrapError) throw error;
		return failInstall(error.code ?? "", error.message, "");
	} finally {
		for (const signal of ENDING) process.off(signal, interrupt);
	}
}

function interrupted() {
	return new BootstrapError({
		code: "INTERRUPTED",
		kind: "interrupted",
		what: "The installation of the dependencies was interrupted.",
		fix: "Run the same command again.",
	});
}

/**
 * The Node that runs the TypeScript: the one from npm, or the running one where npm has none for this platform.
 * @param {string} [root]
 * @returns {string} path of the executable.
 */
export function node24(root = ROOT) {
	const own = join(root, "node_modules", `node-${process.platform}-${process.arch}`, "bin", "node");
	if (existsSync(own)) return own;
	if (Number.parseInt(process.versions.node, 10) >= NODE_MAJOR) return process.execPath;
	return fail(
		"NODE_OLD",
		`Node ${process.versions.node} is too old, and npm has no Node ${NODE_MAJOR} for ${process.platform} on ${process.arch}.`,
		undefined,
		`Install Node ${NODE_MAJOR} or later and run this again.`,
	);
}

/**
 * Runs a script of the checkout under Node 24 in the foreground: same arguments, terminal and working directory;
 * signals go through to it.
 * @param {string} script
 * @param {readonly string[]} args
 * @returns {Promise<number>} its exit code, 128 + n if signal n ended it.
 */
export function runNode24(script, args, root = ROOT) {
	const child = spawn(node24(root), [script, ...args], { stdio: "inherit" });
	/** @type {[NodeJS.Signals, () => void][]} */
	const handlers = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR2", "SIGCONT"].map((signal) => [
		signal,
		() => {
			// A terminal sends Ctrl-C to the whole foreground group: the child has it already, once is enough.
			if (signal === "SIGINT" && process.stdin.isTTY) return;
			child.kill(signal);
		},
	]);
	for (const [signal, handler] of handlers) process.on(signal, handler);
	return new Promise((resolve, reject) => {
		child.once("error", reject);
		child.once("close", (code, signal) => {
			for (const [name, handler] of handlers) process.off(name, handler);
			resolve(code ?? 128 + (constants.signals[signal] ?? 0));
		});
	});
}

/**
 * Prints a failure the way every command does; with `json` also as the one document on stdout.
 * @param {{ code: string, what: string, why?: string, fix: string }} problem
 */
export function printProblem({ code, what, why, fix }, { json = false } = {}) {
	const lines = [`Error: ${what}`, why && `Why: ${why}`, `Do this: ${fix}`];
	process.stderr.write(`${lines.filter(Boolean).join("\n")}\n`);
	if (json) process.stdout.write(`${JSON.stringify({ error: { code, what, why, fix } }, null, 2)}\n`);
}

/** npm keeps a record of what it installed; it is compared with the lockfile, and the folders must be there. */
export function isInstalled(root = ROOT) {
	try {
		const wanted = platformPackages(readLock(join(root, "package-lock.json")));
		const installed = readLock(join(root, "node_modules", ".package-lock.json"));
		return wanted.every(
			([path, entry]) =>
				installed[path]?.version === entry.version &&
				(!entry.integrity || !installed[path].integrity || installed[path].integrity === entry.integrity) &&
				existsSync(join(root, path, "package.json")),
		);
	} catch (error) {
		if (error.code === "ENOENT" || error instanceof SyntaxError) return false;
		throw error;
	}
}

/** @returns {Record<string, any>} */
function readLock(path) {
	return JSON.parse(readFileSync(path, "utf8")).packages;
}

/** The packages of a lockfile that npm installs here. Optional ones are for some platforms alone. */
function platformPackages(packages) {
	return Object.entries(packages).filter(([path, entry]) => {
		if (path === "") return false;
		if (!entry.optional) return true;
		// What an optional package without a platform of its own hangs on cannot be told from its entry.
		if (!entry.os && !entry.cpu) return false;
		return fits(entry.os, process.platform) && fits(entry.cpu, process.arch) && fits(entry.libc, "glibc");
	});
}

/** npm's lists of platforms: names, or names with a `!` for all but these. */
function fits(names, name) {
	const list = [names ?? []].flat();
	if (list.some((one) => one.startsWith("!"))) return !list.includes(`!${name}`);
	return list.length === 0 || list.includes(name);
}

/**
 * Installs into a folder beside and swaps it in: npm empties node_modules first, and what it leaves behind when it is
 * killed is neither the old nor the new.
 */
async function install(root, out, signal) {
	const work = join(root, ".mlgate", "install");
	// The lock is ours: whatever lies there was left by a process that died.
	const clean = () => rmSync(work, REMOVE);
	clean();
	mkdirSync(work, { recursive: true });
	const stage = mkdtempSync(join(work, "npm-"));
	try {
		for (const name of ["package.json", "package-lock.json", ".npmrc"]) {
			if (existsSync(join(root, name))) copyFileSync(join(root, name), join(stage, name));
		}
		const total = platformPackages(readLock(join(root, "package-lock.json"))).length;
		const log = openLog(root);
		const progress = startProgress(out, "Installing the dependencies");
		const { code, tail } = await npmCi(stage, log, { total, progress, signal });
		progress.end(code === 0);
		signal.throwIfAborted();
		if (code !== 0)
			failInstall(
				errorCode(tail),
				errorText(tail),
				`; the whole output is in ${relative(process.cwd(), log) || log}`,
			);
		swap(join(stage, "node_modules"), join(root, "node_modules"), join(work, "old"));
		return true;
	} finally {
		clean();
	}
}

/** An npm whose parent was killed goes on writing for a moment: then the folder is not empty at the first try. */
const REMOVE = { recursive: true, force: true, maxRetries: 10, retryDelay: 200 };

function swap(made, target, old) {
	if (lstatSync(target, { throwIfNoEntry: false })) renameSync(target, old);
	try {
		renameSync(made, target);
	} catch (error) {
		if (existsSync(old)) renameSync(old, target);
		throw error;
	}
}

/**
 * The lockfile pins versions and content: what npm's cache knows about them needs no asking again, and is enough
 * without a network. npm's own retries wait up to a minute each, for each of hundreds of packages.
 */
const NPM_CI = [
	"ci",
	"--install-strategy=hoisted",
	"--prefer-offline",
	"--loglevel=http",
	"--fetch-retries=2",
	"--fetch-retry-mintimeout=500",
	"--fetch-retry-maxtimeout=3000",
];

/** npm tries each of hundreds of packages to the end, although the first few say it all. */
const FAILED_ATTEMPT = /^npm http fetch GET (\S+) attempt \d+ failed with (\S+)/;
const GIVE_UP_MS = 10_000;

/** @returns {Promise<{ code: number, tail: string[] }>} `tail`: npm's own error lines. */
function npmCi(cwd, logFile, { total, progress, signal }) {
	const log = createWriteStream(logFile);
	const tail = [];
	let answers = 0;
	let done = 0;
	const started = Date.now();
	progress.detail("asking the package registry");
	const child = spawn("npm", NPM_CI, { cwd, stdio: ["ignore", "pipe", "pipe"] });
	// At SIGTERM it would first wait for every download that it has begun.
	const stop = () => child.kill("SIGKILL");
	signal.addEventListener("abort", stop);
	eachLine(child.stdout, (line) => log.write(`${line}\n`));
	eachLine(child.stderr, (line) => {
		log.write(`${line}\n`);
		if (/^npm (error|ERR!)/.test(line)) tail.push(line.replace(/^npm (error|ERR!) ?/, ""));
		const [, address] = /^npm http (?:fetch GET [23]\d\d|cache) (\S+)/.exec(line) ?? [];
		if (address) answers += 1;
		if (address?.includes(".tgz")) done += 1;
		if (done > 0) progress.detail(done < total ? `${done} of ${total} packages` : "unpacking");
		const [, silent, code] = FAILED_ATTEMPT.exec(line) ?? [];
		if (!silent || answers > 0 || child.killed || Date.now() - started < GIVE_UP_MS) return;
		tail.push(`code ${code}`, `${silent} does not answer (${code})`);
		stop();
	});
	return new Promise((resolve, reject) => {
		child.once("error", reject);
		child.once("close", (code) => {
			log.end(() => resolve({ code: code ?? 1, tail }));
		});
	});
}

function eachLine(stream, handle) {
	let rest = "";
	stream.setEncoding("utf8");
	stream.on("data", (chunk) => {
		const lines = (rest + chunk).split("\n");
		rest = lines.pop() ?? "";
		for (const line of lines) handle(line);
	});
	stream.on("end", () => rest && handle(rest));
}

const errorCode = (tail) => tail.map((line) => /^code (\S+)/.exec(line)?.[1]).find(Boolean) ?? "";

/** The line that says it: npm puts code, syscall and errno before it and a hint at its log after. */
const errorText = (tail) =>
	tail.find((line) => line && !/^(code|syscall|errno|path|dest) /.test(line)) ??
	"npm ended without saying why";

/** What npm's (and the file system's) error codes mean for the person. */
const CAUSES = [
	{
		codes:
			/^(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ERR_SOCKET_TIMEOUT|ENETUNREACH|EHOSTUNREACH|FETCH_ERROR)$/,
		what: "The dependencies could not be downloaded: the package registry does not answer.",
		fix: "Check the network (or npm's proxy and registry settings: npm config list) and run this again.",
	},
	{
		codes: /^(SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_\w+|DEPTH_ZERO_SELF_SIGNED_CERT|CERT_\w+|ERR_TLS_\w+)$/,
		what: "The dependencies could not be downloaded: the package registry's certificate is not trusted.",
		fix: "Set NODE_EXTRA_CA_CERTS to the file of your company's CA and run this again.",
	},
	{
		codes: /^E(401|403|404|AUTHIP|OTP|NEEDAUTH)$/,
		what: "The dependencies could not be downloaded: the package registry refuses one of them.",
		fix: "Check npm's registry and sign-in (npm config list, npm login) and run this again.",
	},
	{
		codes: /^(ENOSPC|EDQUOT)$/,
		what: "The dependencies could not be installed: the disk is full.",
		fix: "Free 1 GB on the disk of this folder and of npm's cache (npm config get cache) and run this again.",
	},
	{
		codes: /^(EACCES|EPERM|EROFS)$/,
		what: "The dependencies could not be installed: a folder cannot be written.",
		fix: "Make this folder and npm's cache (npm config get cache) yours to write and run this again.",
	},
	{
		codes: /^EINTEGRITY$/,
		what: "The dependencies could not be installed: a download is not what package-lock.json says.",
		fix: "Run `npm cache clean --force` and this again; if it stays, the registry serves something else.",
	},
];
const OTHER_CAUSE = {
	what: "The dependencies could not be installed.",
	fix: "Run `npm ci` in this folder to see all of it, mend what it names and run this again.",
};

/** @returns {never} */
function failInstall(code, why, more) {
	const { what, fix } = CAUSES.find(({ codes }) => codes.test(code)) ?? OTHER_CAUSE;
	return fail("DEPENDENCIES_FAILED", what, `${why}${more}`, fix);
}

function openLog(root) {
	const folder = join(root, ".mlgate", "logs");
	mkdirSync(folder, { recursive: true });
	const time = new Date()
		.toISOString()
		.replace(/\.\d+Z$/, "Z")
		.replaceAll(":", "-");
	return join(folder, `${time}-dependencies.log`);
}

/** Without a terminal a long step says this often that it is still at work. */
const HEARTBEAT_MS = 15_000;

/** A spinner with the elapsed time on a terminal, plain lines elsewhere: as the commands show their own steps. */
function startProgress(out, title) {
	const started = Date.now();
	const seconds = () => `${Math.round((Date.now() - started) / 1000)} s`;
	const terminal = out.isTTY && process.env.TERM !== "dumb";
	const frames = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
	let frame = 0;
	let detail = "";
	const draw = () => {
		const line = `${frames[frame++ % frames.length]} ${title} (${seconds()})  ${detail}`;
		out.write(`\r\u001b[2K${line.slice(0, (out.columns || 80) - 1)}`);
	};
	const tell = () => out.write(`${title} ... ${seconds()}, now: ${detail}\n`);
	if (!terminal) out.write(`${title} ...\n`);
	const timer = terminal ? setInterval(draw, 100) : setInterval(tell, HEARTBEAT_MS);
	return {
		detail(text) {
			detail = text;
		},
		end(ok) {
			clearInterval(timer);
			if (terminal) out.write(`\r\u001b[2K${ok ? "✔" : "✖"} ${title} (${seconds()})\n`);
			else out.write(`${title}: ${ok ? "done" : "failed"} (${seconds()})\n`);
		},
	};
}
