/** The table of what the faults did: `RESULTS.md` beside this file, and the same table in the README. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import type { Load } from "../support/load.ts";
import { DISK_FULL, FAULTS, type Fault } from "./faults.ts";

export interface Row extends Pick<Fault, "what" | "kind"> {
	load: Load;
	/** Seconds; undefined: not told. */
	held: number | undefined;
}

const HEAD = [
	"what happens",
	"times",
	"held (s)",
	"calls",
	"failed",
	"lost",
	"made twice",
	"longest call (s)",
];

const sum = (numbers: readonly number[]) => numbers.reduce((all, one) => all + one, 0);

/** One line for each thing that happened: seconds are those of the worst time. */
function lines(rows: readonly Row[]): Map<string, string> {
	const told = [...Map.groupBy(rows, ({ what }) => what)].map(([what, times]): [string, string] => {
		const loads = times.map(({ load }) => load);
		const held = times.flatMap((row) => row.held ?? []);
		const cells = [
			what,
			times.length,
			held.length === 0 ? "" : Math.max(...held).toFixed(1),
			sum(loads.map(({ calls }) => calls)),
			sum(loads.map(({ failed }) => failed.length)),
			sum(loads.map(({ lost }) => lost.length)),
			sum(loads.map(({ twice }) => twice.length)),
			Math.max(...loads.map(({ longest }) => longest)).toFixed(1),
		];
		return [what, line(cells)];
	});
	return new Map(told);
}

const line = (cells: readonly (string | number)[]) => `| ${cells.join(" | ")} |`;

const table = (told: Iterable<string>) => [line(HEAD), line(HEAD.map(() => "---")), ...told].join("\n");

export const markdown = (rows: readonly Row[]): string => table(lines(rows).values());

/** What is kept of a fault that was not tried this time: its line as it stands. */
function keptLines(text: string): Map<string, string> {
	const found = text.split("\n").filter((one) => one.startsWith("| "));
	return new Map(found.slice(2).map((one) => [one.slice(2, one.indexOf(" | ")), one]));
}

const file = (name: string) => new URL(name, import.meta.url);

/** Writes both places. After a run of some rows (`-t`) the others stay as they were. */
export function keep(rows: readonly Row[], processes: number): void {
	const results = file("RESULTS.md");
	const told = new Map([
		...(existsSync(results) ? keptLines(readFileSync(results, "utf8")) : []),
		...lines(rows),
	]);
	const text = table([...FAULTS, DISK_FULL].flatMap(({ what }) => told.get(what) ?? []));
	const machine = `${cpus().length} cores (${cpus()[0]?.model.trim()}), load average at the end of the last run ${loadavg()[0]?.toFixed(1)}, Node ${process.version}, ${new Date().toISOString().slice(0, 10)}`;
	writeFileSync(
		results,
		`# Faults under load\n\n\`npm run test:faults\`: ${processes} processes with the stock MLflow client work while it happens.\n${machine}.\n\n${text}\n`,
	);
	const readme = file("../../README.md");
	writeFileSync(
		readme,
		readFileSync(readme, "utf8").replace(
			/(<!-- faults -->\n)[\s\S]*?(<!-- \/faults -->)/,
			(_, begin, end) => `${begin}${text}\n${end}`,
		),
	);
}
