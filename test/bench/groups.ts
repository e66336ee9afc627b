/** What is measured: one file each, and the table of them. */
import type { Row } from "./frame/rows.ts";
import type { Site } from "./frame/site.ts";

export interface Group {
	title: string;
	/** What a reader of the results has to know. */
	note?: string;
	/** Loads it only when it runs. */
	load(): Promise<{ measure: (site: Site) => Promise<Row[]> }>;
}

export const GROUPS = {
	requests: {
		title: "Small requests, beside nginx and http-proxy that check a token with jose",
		note: `All questions are different: equal ones the door would ask once. What is compared runs on one core, its clients and
the stub on another, MLflow where it is put. Each side has served a hundred thousand requests before the stub, and twenty
thousand before MLflow, when its CPU is counted: V8 makes its best code for what has run often. With sixteen clients more of a
request's CPU than with sixty-four is the system's own, which wakes whoever waits at the other end, and all pay that alike.
Before MLflow a request costs any proxy several times as much CPU as before the stub. More than half of that is not MLflow's
doing: a stub that only waits as long costs three times as much as one that answers at once (doors that have served five
thousand requests). The likely reason is the rate: at some
hundred requests a second each finds the process asleep and its code and data gone from the processor's caches; at ten
thousand one round of the event loop, just done before, serves many.`,
		load: () => import("./requests.ts"),
	},
	downloads: {
		title: "Artifacts down, beside stock MLflow and MinIO itself",
		note: `Stock is \`mlflow server\` of the same image on the same stores, as it comes, but for gunicorn's time and line limits: with
the default ones a download of 2 GB is cut in the middle.`,
		load: () => import("./downloads.ts"),
	},
	uploads: {
		title: "Artifacts up, beside stock MLflow and MinIO itself",
		load: () => import("./uploads.ts"),
	},
	neighbours: {
		title: "Small requests while four people download",
		load: () => import("./neighbours.ts"),
	},
	pages: {
		title: "Pages in Chromium over a line of 20 Mbit/s and 60 ms",
		load: () => import("./pages.ts"),
	},
	sharing: {
		title: "Ten people who open one page",
		load: () => import("./sharing.ts"),
	},
} satisfies Record<string, Group>;
export type GroupName = keyof typeof GROUPS;

export const isGroup = (name: string): name is GroupName => Object.hasOwn(GROUPS, name);
