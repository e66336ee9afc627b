/** The table of what the faults did: `RESULTS.md` beside this file, and the same table in the README. */
import { readFileSync, writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import type { Load } from "../support/load.ts";
import type { Fault } from "./faults.ts";

export interface Row extends Pick<Fault, "what" | "kind"> {
	load: Load;
	/** Seconds; undefined: not told. */
	held: number | undefined;
}

const HEAD = ["what happens", "held (s)", "calls", "failed", "lost", "made twice", "longest call (s)"];

export function markdown(rows: readonly Row[]): string {
	const cells = rows.map(({ what, held, load }) => [
		what,
		held === undefined ? "" : held.toFixed(1),
		String(load.calls),
		String(load.failed.length),
		String(load.lost.length),
		String(load.twice.length),
		load.longest.toFixed(1),
	]);
	return [HEAD, HEAD.map(() => "---"), ...cells].map((row) => `| ${row.join(" | ")} |`).join("\n");
}

const file = (name: string) => new URL(name, import.meta.url);

/** Writes both places. */
export function keep(rows: readonly Row[], processes: number): void {
	const table = markdown(rows);
	const machine = `${cpus().length} cores (${cpus()[0]?.model.trim()}), load average at the end ${loadavg()[0]?.toFixed(1)}, Node ${process.version}, ${new Date().toISOString().slice(0, 10)}`;
	writeFileSync(
		file("RESULTS.md"),
		`# Faults under load\n\n\`npm run test:faults\`: ${processes} processes with the stock MLflow client work while it happens.\n${machine}.\n\n${table}\n`,
	);
	const readme = file("../../README.md");
	const text = readFileSync(readme, "utf8");
	writeFileSync(
		readme,
		text.replace(
			/(<!-- faults -->\n)[\s\S]*?(<!-- \/faults -->)/,
			(_, begin, end) => `${begin}${table}\n${end}`,
		),
	);
}
