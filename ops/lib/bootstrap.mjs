/**
 * From a bare checkout to Node 24 and the installed dependencies. Plain JavaScript for Node 18 and later, nothing but
 * Node's own modules: this is what runs before anything is there.
 */
import { spawn, spawnSync } from "node:child_process";
import {
	copyFileSync,
	createWriteStream,
	existsSync,
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

const NODE_MAJOR = 24;
/** The first npm that reads lockfile version 3. */
const NPM_MAJOR = 7;

/** What happened, why, and the one thing to do: the shape of `Problem` in errors.ts, which cannot be loaded yet. */
export class BootstrapError extends Error {
	name = "BootstrapError";
	exitCode = 3;

	/** @param {{ code: string, kind: "precondition", what: string, why?: string, fix: string }} problem */
	constructor(problem) {
		super(problem.what);
		this.problem = problem;
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
	try {
		return await withFileLock(
			join(root, ".mlgate", "locks", "dependencies.lock"),
			"installing the dependencies",
			// Whoever held the lock before may have done the work.
			() => !isInstalled(root) && install(root, out),
			{
				onWait: (holder) =>
					out.write(`Waiting for process ${holder.pid}, which is ${holder.what} since ${holder.since}.\n`),
			},
		);
	} catch (error) {
		if (error instanceof BootstrapError) throw error;
		return failInstall(error.code ?? "", error.message, "");
	}
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

/** Prints a failure the way every command does. */
export function printProblem(problem, out = process.stderr) {
	out.write(
		`${[`Error: ${problem.what}`, problem.why && `  Why: ${problem.why}`, `  Do this: ${problem.fix}`].filter(Boolean).join("\n")}\n`,
	);
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
	const fits = (list, value) =>
		!list ||
		list.includes(value) ||
		(list.some((name) => name.startsWith("!")) && !list.includes(`!${value}`));
	return Object.entries(packages).filter(
		([path, entry]) =>
			path !== "" &&
			// What an optional package without a platform of its own hangs on cannot be told from its entry.
			(!entry.optional ||
				((entry.os || entry.cpu) &&
					fits(entry.os, process.platform) &&
					fits(entry.cpu, process.arch) &&
					fits(entry.libc, "glibc"))),
	);
}

/**
 * Installs into a folder beside and swaps it in: npm empties node_modules first, and what it leaves behind when it is
 * killed is neither the old nor the new.
 */
async function install(root, out) {
	const work = join(root, ".mlgate", "install");
	// The lock is ours: whatever lies there was left by a process that died.
	rmSync(work, { recursive: true, force: true });
	mkdirSync(work, { recursive: true });
	const stage = mkdtempSync(join(work, "npm-"));
	const clean = () => rmSync(work, { recursive: true, force: true });
	process.once("exit", clean);
	try {
		for (const name of ["package.json", "package-lock.json", ".npmrc"]) {
			if (existsSync(join(root, name))) copyFileSync(join(root, name), join(stage, name));
		}
		const total = platformPackages(readLock(join(root, "package-lock.json"))).length;
		const log = openLog(root);
		const progress = startProgress(out, "Installing the dependencies");
		const { code, tail } = await npmCi(stage, log, total, progress);
		progress.end(code === 0);
		if (code !== 0)
			failInstall(
				errorCode(tail),
				errorText(tail),
				`; the whole output is in ${relative(process.cwd(), log) || log}`,
			);
		const target = join(root, "node_modules");
		const old = join(work, "old");
		if (existsSync(target)) renameSync(target, old);
		renameSync(join(stage, "node_modules"), target);
		return true;
	} finally {
		process.off("exit", clean);
		clean();
	}
}

/** npm's own retries wait up to a minute each, for each of hundreds of packages. */
const NPM_CI = [
	"ci",
	"--install-strategy=hoisted",
	"--loglevel=http",
	"--fetch-retries=2",
	"--fetch-retry-mintimeout=500",
	"--fetch-retry-maxtimeout=3000",
];

/** @returns {Promise<{ code: number, tail: string[] }>} `tail`: npm's own error lines. */
function npmCi(cwd, logFile, total, progress) {
	const log = createWriteStream(logFile);
	const tail = [];
	let done = 0;
	const child = spawn("npm", NPM_CI, { cwd, stdio: ["ignore", "pipe", "pipe"] });
	const stop = () => child.kill("SIGTERM");
	process.once("exit", stop);
	eachLine(child.stdout, (line) => log.write(`${line}\n`));
	eachLine(child.stderr, (line) => {
		log.write(`${line}\n`);
		if (/^npm (error|ERR!)/.test(line)) tail.push(line.replace(/^npm (error|ERR!) ?/, ""));
		if (/^npm http .*\.tgz\b/.test(line)) done += 1;
		progress.detail(done === 0 ? "asking the package registry" : `${done} of ${total} packages`);
	});
	return new Promise((resolve, reject) => {
		child.once("error", reject);
		child.once("close", (code) => {
			process.off("exit", stop);
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

/** A spinner with the elapsed time on a terminal, two plain lines elsewhere. */
function startProgress(out, title) {
	const started = Date.now();
	const seconds = () => `${Math.round((Date.now() - started) / 1000)} s`;
	let detail = "";
	if (!out.isTTY || process.env.TERM === "dumb") {
		out.write(`${title} ...\n`);
		return {
			detail() {},
			end: (ok) => out.write(`${title}: ${ok ? "done" : "failed"} after ${seconds()}\n`),
		};
	}
	const frames = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
	let frame = 0;
	const draw = () => {
		const line = `${frames[frame++ % frames.length]} ${title} ${seconds()}${detail && `  ${detail}`}`;
		out.write(`\r\u001b[2K${line.slice(0, (out.columns || 80) - 1)}`);
	};
	draw();
	const timer = setInterval(draw, 100);
	return {
		detail(text) {
			detail = text;
		},
		end(ok) {
			clearInterval(timer);
			out.write(`\r\u001b[2K${ok ? "✔" : "✖"} ${title} ${seconds()}\n`);
		},
	};
}
