/** What was measured, as a table for people. The README's table is made of the rows of which something is wanted. */
import { readFileSync, writeFileSync } from "node:fs";
import { table } from "../../../ops/lib/text.ts";
import type { Machine } from "./machine.ts";
import type { Row } from "./rows.ts";

export interface Measured {
	title: string;
	note?: string | undefined;
	rows: readonly Row[];
	/** Why there are no rows. */
	failure?: string;
}

export interface Run {
	before: Machine;
	after: Machine;
	minutes: number;
}

const RESULTS = new URL("../RESULTS.md", import.meta.url);
const README = new URL("../../../README.md", import.meta.url);

const cells = ({ what, door, against, result, wanted, met }: Row): string[] => [
	what,
	door,
	against,
	result,
	wanted,
	met === undefined ? "" : met ? "met" : "**missed**",
];
const HEAD = ["", "the door", "against", "makes", "wanted", ""] as const;

export function print({ rows }: Measured): void {
	process.stdout.write(`\n${table([[...HEAD], ...rows.map(cells)])}\n\n`);
}

const line = (columns: readonly string[]): string => `| ${columns.join(" | ")} |`;
const markdown = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
	[line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");

/** The whole of RESULTS.md. */
export function results(measured: readonly Measured[], { before, after, minutes }: Run): string {
	const { cores, model, memory, system, kernel, node, mlflow } = before;
	const tables = measured.map(({ title, note, rows, failure }) =>
		[
			`## ${title}\n`,
			...(note === undefined ? [] : [`${note}\n`]),
			failure === undefined ? `${markdown(HEAD, rows.map(cells))}\n` : `**Not measured**: ${failure}\n`,
		].join("\n"),
	);
	return `# What \`npm run bench\` measured

Each row is one comparison: medians of sides that were measured in turn, in one run, after their answers had been found
equal. The figures themselves belong to this machine in these minutes; what they make together is the point.

* ${before.at.slice(0, 16).replace("T", " ")} UTC, ${Math.round(minutes)} minutes
* ${cores} cores (${model}), ${memory}, ${system}, Linux ${kernel}, Node ${node}, MLflow ${mlflow}
* load average ${before.load.toFixed(1)} before and ${after.load.toFixed(1)} after

${tables.join("\n")}`;
}

const BLOCK = /(<!-- performance -->\n)[\s\S]*?(\n<!-- \/performance -->)/;

/** The README's table: of RESULTS.md, the rows of which something is wanted. */
export function readmeTable(resultsText: string): string {
	const rows = resultsText
		.split("\n")
		.filter((text) => text.startsWith("| ") && !text.startsWith("| --- "))
		.map((text) => text.slice(2, -2).split(" | "))
		.filter(([what, , , , wanted]) => what !== "" && wanted !== undefined && wanted.trim() !== "")
		.map(([what = "", door = "", against = "", result = "", wanted = "", verdict = ""]) => [
			what,
			door,
			against,
			result,
			verdict === "met" ? wanted : `${wanted}: ${verdict}`,
		]);
	return markdown(["", "mlgate", "against", "makes", "wanted"], rows);
}

export function write(measured: readonly Measured[], run: Run): void {
	const text = results(measured, run);
	writeFileSync(RESULTS, text);
	const readme = readFileSync(README, "utf8");
	if (!BLOCK.test(readme)) throw new Error("README.md has no block performance");
	writeFileSync(
		README,
		readme.replace(BLOCK, (_, begin: string, end: string) => begin + readmeTable(text) + end),
	);
	process.stderr.write("test/bench/RESULTS.md and README.md tell it\n");
}
