/** What is measured: one file each, and the table of them. */
import type { Row } from "./frame/rows.ts";
import type { Site } from "./frame/site.ts";

export interface Group {
	title: string;
	/** Loads it only when it runs. */
	load(): Promise<{ measure: (site: Site) => Promise<Row[]> }>;
}

export const GROUPS = {
	requests: {
		title: "Small requests, beside nginx and http-proxy that check a token with jose",
		load: () => import("./requests.ts"),
	},
	downloads: {
		title: "Artifacts down, beside stock MLflow and MinIO itself",
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
