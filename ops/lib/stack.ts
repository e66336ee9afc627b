/**
 * A stack as the commands see it: its settings and secrets, what would change, bringing it up, taking it away.
 * The Pulumi program runs inside this process; state and passphrase lie in the checkout's `.mlgate`.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { type EngineEvent, LocalWorkspace, type PulumiFn, Stack } from "@pulumi/pulumi/automation/index.js";
import { PARTS, type Part, PROJECT } from "../../infra/contract.ts";
import program from "../../infra/index.ts";
import { SECRET_KEYS, type SecretKey } from "../../infra/secret-keys.ts";
import type { Settings } from "../../infra/settings.ts";
import { OpsError } from "./errors.ts";
import { ensureTailscaleProvider } from "./pulumi-tools.ts";
import type { Report, Step } from "./report.ts";
import {
	type ConfigEntry,
	presentSecrets,
	readConfig,
	readSettings,
	type StackRef,
	writeSetting,
} from "./stack/config-file.ts";
import { watchForCrashes } from "./stack/crash-watch.ts";
import {
	asItWas,
	type Declared,
	type Inputs,
	type LastGood,
	lastGoodOf,
	recorded,
} from "./stack/declared.ts";
import { EventLog, type Summary } from "./stack/events.ts";
import { asOpsError } from "./stack/failures.ts";
import { isDead, pulumiLocks, removeLock, removeTornNotes } from "./stack/locks.ts";
import { findOrphans, freeNetworks, hasData, removeOrphans } from "./stack/orphans.ts";
import { passphraseEnv } from "./stack/passphrase.ts";
import { type Plan, planOf } from "./stack/plan.ts";
import { assertPortFree } from "./stack/port.ts";
import { Pulumi, PulumiFailure } from "./stack/pulumi.ts";
import {
	type Deployment,
	nameInState,
	pruneHistory,
	removeTraces,
	stateFolder,
	withoutPendingOperations,
	withoutTailnetKey,
} from "./stack/state.ts";

export {
	type ConfigEntry,
	readConfig,
	readSettings,
	type StackRef,
	writeSetting,
} from "./stack/config-file.ts";
export type { Declared, LastGood } from "./stack/declared.ts";
export type { Summary } from "./stack/events.ts";
export { type Action, type Change, IMPACTS, type Impact, type Plan } from "./stack/plan.ts";
export type { Deployment } from "./stack/state.ts";

export interface StackOptions extends StackRef {
	report: Report;
	/** `root` holds `bin/pulumi`, `home` the plugins. */
	tools: { root: string; home: string };
	/** Ends what is running, in order. Without it, SIGINT, SIGTERM and SIGHUP do while something is running. */
	signal?: AbortSignal;
}

export interface UpResult extends Summary {
	/** Whether anything was made, changed or removed. */
	changed: boolean;
	/** Where the door answers. */
	url: string;
}

export interface Preview {
	plan: Plan;
	/** What the program declares: what the plan's changes are made from. */
	declared: Declared;
}

export interface UpWish {
	/** Containers are made as they were then, whatever the settings say by now. */
	asIn?: LastGood;
	/** Called when a part has been made or changed, and is healthy as far as Docker knows. */
	onThere?: (part: Part) => void;
}

export interface StackHandle extends StackRef {
	/** @throws OpsError SETTINGS_INVALID */
	settings(): Settings;
	config(): ConfigEntry[];
	/** Checked together with all others before anything is written; the name is fixed once the stack exists. */
	setConfig(key: string, value: string): Promise<void>;
	/** Keeps a secret of the user's in the encrypted configuration; `value` has been checked. */
	setSecret(key: string, value: string): Promise<void>;
	/** A secret of the user's in clear; empty if there is none. */
	secret(key: "funnel.authKey" | "funnel.credentials"): Promise<string>;
	/**
	 * What the node joins its tailnet with through the API, if the settings want it to join like that. Pulumi's
	 * provider for it is there then.
	 * @throws OpsError PULUMI_UNAVAILABLE
	 */
	tailnetCredentials(): Promise<string | undefined>;
	/** Makes Pulumi forget the key that it made for the node; the next `up` makes another. */
	forgetTailnetKey(): Promise<void>;
	/** Makes the secrets that are missing, as `preview` and `up` do. They stay in Pulumi's encrypted configuration. */
	ensureSecrets(): Promise<{ made: SecretKey[] }>;
	/** What `up` would do, the host having been looked at. */
	preview(): Promise<Preview>;
	/**
	 * Makes the host what the program says, having looked at it first and mended what an earlier run left behind.
	 * That it ends well does not mean that the parts are healthy.
	 */
	up(wish?: UpWish): Promise<UpResult>;
	/** The containers as Pulumi knows them now: a way back for `up`. Has the stack's secrets in clear. */
	lastGood(): Promise<LastGood>;
	/** Removes everything but the data volumes. */
	destroy(options: { excludeProtected: true }): Promise<Summary>;
	/** Makes Pulumi forget the stack, with its settings and secrets. Removes nothing on the host. */
	removeStack(): Promise<void>;
	/** Removes locks of Pulumi runs that are dead. Returns how many. */
	unlock(): number;
	/** Removes containers and networks of this stack that Pulumi does not know; volumes never. */
	adoptOrphans(report: Report): Promise<{ containers: string[]; networks: string[] }>;
	/** What Pulumi knows. Secrets in it are encrypted. */
	exportState(): Promise<Deployment>;
}

/**
 * Opens a stack and makes it if Pulumi does not know it. Nothing on the host is touched.
 * @throws OpsError PULUMI_MISSING, PASSPHRASE_MISSING, PASSPHRASE_WRONG, ...
 */
export async function openStack(options: StackOptions): Promise<StackHandle> {
	const { stack, checkout, tools } = options;
	const ref: StackRef = { stack, checkout };
	const interrupt = interruption(options.signal);
	mkdirSync(stateFolder(ref), { recursive: true, mode: 0o700 });
	removeTornNotes(ref);
	const env = {
		PULUMI_HOME: tools.home,
		// As in Pulumi.yaml, said again because the environment would win over that file.
		PULUMI_BACKEND_URL: "file://./.mlgate/state",
		PULUMI_SKIP_UPDATE_CHECK: "true",
		// A missing plugin is an error at once instead of a long search on the network.
		PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: "true",
		// A copy of the state before every run, kept for good: it lies in the history already.
		PULUMI_DIY_BACKEND_DISABLE_CHECKPOINT_BACKUPS: "true",
		NO_COLOR: "1",
		...passphraseEnv(ref),
	};
	const pulumi = await Pulumi.find(tools.root, { cwd: checkout, env, interrupt: interrupt.signal });
	const handle = new Handle(ref, options.report, pulumi, interrupt, tools.home);
	await handle.open(env);
	return handle;
}

class Handle implements StackHandle {
	readonly stack: string;
	readonly checkout: string;
	readonly #report: Report;
	readonly #pulumi: Pulumi;
	readonly #interrupt: Interruption;
	readonly #pulumiHome: string;
	#automation: Stack | undefined;

	constructor(ref: StackRef, report: Report, pulumi: Pulumi, interrupt: Interruption, pulumiHome: string) {
		this.#pulumiHome = pulumiHome;
		this.stack = ref.stack;
		this.checkout = ref.checkout;
		this.#report = report;
		this.#pulumi = pulumi;
		this.#interrupt = interrupt;
	}

	async open(env: Record<string, string>): Promise<void> {
		await this.#guard("open the stack", async () => {
			// No project settings: with them it would rewrite Pulumi.yaml.
			const workspace = await LocalWorkspace.create({
				workDir: this.checkout,
				pulumiHome: this.#pulumiHome,
				pulumiCommand: this.#pulumi.forAutomation,
				envVars: env,
				program: program as PulumiFn,
			});
			try {
				this.#automation = await Stack.select(this.stack, workspace);
			} catch (error) {
				if (!(error instanceof PulumiFailure && /no stack named/.test(error.stderr))) throw error;
				this.#automation = await Stack.create(this.stack, workspace);
			}
		});
	}

	settings(): Settings {
		return readSettings(this);
	}

	config(): ConfigEntry[] {
		return readConfig(this);
	}

	async setConfig(key: string, value: string): Promise<void> {
		if (key === "name") {
			const name = nameInState(await this.exportState());
			if (name !== undefined && name !== value) throw nameIsFixed(name);
		}
		writeSetting(this, key, value);
	}

	async setSecret(key: string, value: string): Promise<void> {
		await this.#guard("keep the secret", () => this.#writeSecret(key, value));
	}

	async secret(key: "funnel.authKey" | "funnel.credentials"): Promise<string> {
		if (this.config().some((entry) => entry.key === key && entry.isDefault)) return "";
		return this.#guard("read a secret", async () => {
			const args = ["config", "get", `${PROJECT}:${key}`, "--stack", this.stack];
			return (await this.#pulumi.exec(args)).stdout.trim();
		});
	}

	async tailnetCredentials(): Promise<string | undefined> {
		if (this.settings().funnel === "off" || (await this.secret("funnel.authKey"))) return undefined;
		const credentials = await this.secret("funnel.credentials");
		if (!credentials) return undefined;
		await ensureTailscaleProvider(this.#report, this.#pulumiHome);
		return credentials;
	}

	async forgetTailnetKey(): Promise<void> {
		await this.#forgetTailnetKeyIn(await this.exportState());
	}

	async #forgetTailnetKeyIn(before: Deployment): Promise<void> {
		const { state, dropped } = withoutTailnetKey(before);
		if (dropped > 0) await this.#import(state);
	}

	/** On standard input: arguments can be read by everybody on the host. */
	async #writeSecret(key: string, value: string): Promise<void> {
		const args = ["config", "set", "--secret", `${PROJECT}:${key}`, "--stack", this.stack];
		await this.#pulumi.exec(args, value);
	}

	async ensureSecrets(): Promise<{ made: SecretKey[] }> {
		const present = presentSecrets(this);
		const made = SECRET_KEYS.filter((key) => !present.includes(key));
		await this.#guard("make the secrets", async () => {
			// 40 characters: the longest that MinIO takes for a secret key.
			for (const key of made) await this.#writeSecret(key, randomBytes(30).toString("base64url"));
		});
		const { name } = this.settings();
		if (made.length > 0 && (await this.#guard("look for data", () => hasData(name))))
			this.#report.note(
				"New passwords were made. The data that is there stays as it is; the parts take the passwords when they start.",
			);
		return { made };
	}

	async preview(): Promise<Preview> {
		await this.#prepare();
		const events: EngineEvent[] = [];
		const declared = new Map<string, Inputs>();
		return this.#run("preview the changes", "Comparing the stack with the host", async (automation, log) => {
			await automation.preview({
				program: recorded(program as PulumiFn, declared),
				refresh: true,
				onEvent: (event) => {
					events.push(event);
					log.takePlanned(event);
				},
			});
			return { plan: planOf(events), declared };
		});
	}

	async up({ asIn, onThere = () => {} }: UpWish = {}): Promise<UpResult> {
		const settings = await this.#prepare();
		await this.#guard("look at the port", () => assertPortFree(settings.port, settings.name));
		await this.#replaceOrphans(settings.name);
		return this.#run("bring the stack up", "Bringing the stack up", async (automation, log) => {
			const watch = watchForCrashes(settings.name, () => log.awaited);
			log.onThere = (resource) => {
				const part = PARTS.find((name) => name === resource);
				if (part) onThere(part);
			};
			try {
				await automation.up({
					...(asIn && { program: asItWas(program, asIn) }),
					refresh: true,
					showSecrets: false,
					onEvent: log.take,
					signal: watch.signal,
				});
			} catch (error) {
				throw crashing(watch.crashing()) ?? error;
			} finally {
				watch.stop();
				pruneHistory(this);
			}
			const { created, updated, replaced, deleted } = log.summary;
			return {
				...log.summary,
				changed: created + updated + replaced + deleted > 0,
				url: `http://localhost:${settings.port}`,
			};
		});
	}

	async destroy(_: { excludeProtected: true }): Promise<Summary> {
		this.unlock();
		await this.#forgetTailnetKeyIn(await this.#repairState());
		// They would hold the networks and volumes.
		await this.adoptOrphans(this.#report);
		const { name } = this.settings();
		await this.#guard("free the networks", () => freeNetworks(name, this.#report));
		return this.#run("remove the stack", "Removing the stack", async (automation, log) => {
			await automation.destroy({ excludeProtected: true, showSecrets: false, onEvent: log.take });
			return log.summary;
		});
	}

	async removeStack(): Promise<void> {
		this.unlock();
		await this.#guard("forget the stack", async () => {
			await this.#pulumi.exec(["stack", "rm", "--yes", "--force", this.stack]);
			removeTraces(this);
		});
	}

	unlock(): number {
		const dead = pulumiLocks(this).filter(isDead);
		for (const lock of dead) {
			this.#report.log(
				`Removing the lock of a Pulumi run that is dead (pid ${lock.pid}, since ${lock.since}).`,
			);
			removeLock(lock);
		}
		return dead.length;
	}

	async adoptOrphans(report: Report): Promise<{ containers: string[]; networks: string[] }> {
		return this.#guard("remove what an earlier run left behind", async () => {
			const orphans = await findOrphans(this.settings().name, await this.exportState());
			await removeOrphans(orphans, report);
			const names = (found: readonly { name: string }[]) => found.map(({ name }) => name);
			return { containers: names(orphans.containers), networks: names(orphans.networks) };
		});
	}

	exportState(): Promise<Deployment> {
		return this.#guard("read the state", () => this.#export());
	}

	lastGood(): Promise<LastGood> {
		return this.#guard("read the state", async () => {
			try {
				return lastGoodOf(await this.#export("--show-secrets"));
			} catch (error) {
				// What it printed may hold secrets, and what failed is logged.
				throw error instanceof PulumiFailure ? new PulumiFailure("stack export", "", error.stderr) : error;
			}
		});
	}

	async #export(...options: string[]): Promise<Deployment> {
		const { stdout } = await this.#pulumi.exec(["stack", "export", "--stack", this.stack, ...options]);
		return JSON.parse(stdout);
	}

	/** Parts that run are taken down only when it is sure that nothing stands in the way of their successors. */
	async #replaceOrphans(stackName: string): Promise<void> {
		const { containers } = await this.#guard("look for what an earlier run left behind", async () =>
			findOrphans(stackName, await this.exportState()),
		);
		if (containers.some(({ state }) => state === "running"))
			await this.#run(
				"check the program",
				"Checking before anything is taken down",
				async (automation, log) => {
					await automation.preview({ onEvent: log.takePlanned });
				},
			);
		await this.adoptOrphans(this.#report);
	}

	/** Everything that can be known to be wrong before anything is touched. */
	async #prepare(): Promise<Settings> {
		const settings = this.settings();
		this.unlock();
		const state = await this.#repairState();
		const name = nameInState(state);
		if (name !== undefined && name !== settings.name) throw nameIsFixed(name);
		await this.ensureSecrets();
		// Its provider is not asked for where it is not needed, not even to look.
		if ((await this.tailnetCredentials()) === undefined) await this.#forgetTailnetKeyIn(state);
		return settings;
	}

	async #repairState(): Promise<Deployment> {
		const { state, dropped } = withoutPendingOperations(await this.exportState());
		if (dropped === 0) return state;
		this.#report.note(
			`An earlier run was killed in the middle of ${dropped} steps; going on from what is there.`,
		);
		await this.#import(state);
		return state;
	}

	async #import(state: Deployment): Promise<void> {
		await this.#guard("mend the state", async () => {
			await this.#pulumi.exec(["stack", "import", "--stack", this.stack], JSON.stringify(state));
		});
	}

	#run<T>(doing: string, title: string, work: (automation: Stack, log: EventLog) => Promise<T>): Promise<T> {
		return this.#report.step(title, async (step: Step) => {
			const log = new EventLog((text) => {
				step.detail(text);
				this.#report.log(text);
			});
			return this.#guard(
				doing,
				async () => {
					const automation = this.#automation;
					if (!automation) throw new Error("the stack is not open");
					return await work(automation, log);
				},
				log,
			);
		});
	}

	#stackName(): { stackName?: string } {
		try {
			return { stackName: this.settings().name };
		} catch {
			// Settings that are wrong are said elsewhere.
			return {};
		}
	}

	/** Runs with the interruption armed, and turns failures into what, why and fix. */
	async #guard<T>(doing: string, work: () => Promise<T>, log?: EventLog): Promise<T> {
		const disarm = this.#interrupt.arm();
		try {
			return await work();
		} catch (error) {
			if (error instanceof PulumiFailure) this.#report.log(`${error.message}\n${error.stdout}`);
			throw asOpsError(error, {
				stack: this.stack,
				checkout: this.checkout,
				doing,
				errors: log?.errors ?? [],
				interrupted: this.#interrupt.signal.aborted,
				...this.#stackName(),
			});
		} finally {
			disarm();
		}
	}
}

const crashing = (part: Part | undefined): OpsError | undefined =>
	part &&
	new OpsError({
		code: "PART_UNHEALTHY",
		kind: "unhealthy",
		what: `${part} ends right after it is started, again and again.`,
		fix: `npx mlgate logs ${part}`,
	});

const nameIsFixed = (name: string): OpsError =>
	new OpsError({
		code: "NAME_FIXED",
		kind: "dataRisk",
		what: `The stack is called ${name} on the host, and that cannot change.`,
		why: "Its data volumes carry the name; under another one it would begin empty.",
		fix: `npx mlgate config set name ${name}, or use another stack: --stack <stack>`,
	});

interface Interruption {
	signal: AbortSignal;
	/** Listens to the process's signals until the returned function is called. */
	arm(): () => void;
}

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

function interruption(given: AbortSignal | undefined): Interruption {
	if (given) return { signal: given, arm: () => () => {} };
	const controller = new AbortController();
	const abort = () => controller.abort();
	return {
		signal: controller.signal,
		arm() {
			for (const signal of SIGNALS) process.on(signal, abort);
			return () => {
				for (const signal of SIGNALS) process.removeListener(signal, abort);
			};
		},
	};
}
