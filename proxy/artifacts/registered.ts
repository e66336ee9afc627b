/** What MLflow's model registry holds: the folders of all versions, and the runs that they came from. */
import { setTimeout as sleep } from "node:timers/promises";
import { joinPath } from "./names.ts";
import { type AskMlflow, OF_RUN, Roots, rootOf } from "./roots.ts";

/** Milliseconds. */
const AGE = {
	/** What was registered is taken for registered so long. */
	most: 60_000,
	/** What is not known is looked up, but not more often than this. */
	least: 1_000,
} as const;

/** Of one answer of MLflow. */
const ROWS = 1_000;

interface Version {
	source?: string;
	run_id?: string;
}

interface Index {
	/** Key prefixes in our store. */
	roots: ReadonlySet<string>;
	runs: ReadonlySet<string>;
}

export class Registered {
	readonly #ask: AskMlflow;
	readonly #bucket: string;
	readonly #roots: Roots;
	#index: Index | undefined;
	#begun = Number.NEGATIVE_INFINITY;
	#running: Promise<unknown> = Promise.resolve();
	/** The next reading, as long as it has not begun: whoever asks now may wait for it. */
	#next: Promise<Index> | undefined;

	constructor(ask: AskMlflow, bucket: string) {
		this.#ask = ask;
		this.#bucket = bucket;
		this.#roots = new Roots(ask, bucket);
	}

	/** Whether a version came from that run. Rejects if MLflow does not answer, as all of these. */
	async hasRun(id: string): Promise<boolean> {
		return await this.#has(({ runs }) => runs.has(id));
	}

	/** Whether a key of our store is a version's folder or lies in one. */
	async hasPath(path: string): Promise<boolean> {
		const names = path.replace(/\/$/, "").split("/");
		if (names.some((name) => /^\.{0,2}$/.test(name))) return false;
		return await this.#has(({ roots }) => names.some((_, i) => roots.has(names.slice(0, i + 1).join("/"))));
	}

	/** The same of a path below a run's own folder. */
	async hasInRun(id: string, path: string): Promise<boolean> {
		if (!(await this.hasRun(id))) return false;
		const root = (await this.#roots.run(id))?.root;
		return root !== undefined && (await this.hasPath(path === "" ? root : `${root}/${path}`));
	}

	async #has(test: (index: Index) => boolean): Promise<boolean> {
		const isOld = performance.now() - this.#begun > AGE.most;
		if (this.#index !== undefined && !isOld && test(this.#index)) return true;
		return test(await this.#reload());
	}

	/** A reading that begins after this was called. */
	async #reload(): Promise<Index> {
		this.#next ??= this.#afterOthers();
		return await this.#next;
	}

	async #afterOthers(): Promise<Index> {
		await this.#running.catch(() => {});
		await sleep(Math.max(0, this.#begun + AGE.least - performance.now()), undefined, { ref: false });
		this.#next = undefined;
		this.#begun = performance.now();
		const reading = this.#read();
		this.#running = reading;
		this.#index = await reading;
		return this.#index;
	}

	async #read(): Promise<Index> {
		const roots = new Set<string>();
		const runs = new Set<string>();
		let page = "";
		do {
			const query = new URLSearchParams({ max_results: String(ROWS), ...(page && { page_token: page }) });
			const { status, body } = await this.#ask(`/api/2.0/mlflow/model-versions/search?${query}`);
			if (status !== 200) throw new Error(`MLflow answered ${status} when asked for its model versions`);
			const answer = body as { model_versions?: Version[]; next_page_token?: string };
			for (const { source = "", run_id: run } of answer.model_versions ?? []) {
				const [, id = run, path] = OF_RUN.exec(source) ?? [];
				if (id) runs.add(id);
				const root = path === undefined ? rootOf(source, this.#bucket) : await this.#below(id ?? "", path);
				// The whole store is no model, whoever registered it as one.
				if (root) roots.add(root);
			}
			page = answer.next_page_token ?? "";
		} while (page !== "");
		return { roots, runs };
	}

	async #below(run: string, path: string): Promise<string | undefined> {
		const root = (await this.#roots.run(run))?.root;
		return root === undefined ? undefined : joinPath(root, path);
	}
}
