/** Runs groups in the bench's own network. Started by main.ts. */
import { machine } from "./frame/machine.ts";
import { QUICK } from "./frame/measure.ts";
import { type Measured, print, write } from "./frame/results.ts";
import { openSite } from "./frame/site.ts";
import { GROUPS, type Group, type GroupName } from "./groups.ts";

const asked = process.argv.slice(2) as GroupName[];
const names = asked.length > 0 ? asked : (Object.keys(GROUPS) as GroupName[]);
const began = performance.now();
const before = machine();

const site = await openSite();
process.on("SIGTERM", () => void site.close().finally(() => process.exit(130)));
const measured: Measured[] = [];
try {
	for (const name of names) {
		const { title, note, load }: Group = GROUPS[name];
		process.stderr.write(`${title}\n`);
		const one: Measured = { title, note, rows: [] };
		measured.push(one);
		try {
			const { measure } = await load();
			one.rows = await measure(site);
			print(one);
		} catch (error) {
			// The others can still be measured.
			one.failure = error instanceof Error ? error.message : String(error);
			process.stderr.write(`not measured: ${error instanceof Error ? error.stack : error}\n`);
			await site.children.end();
		}
	}
} finally {
	await site.close();
}
const minutes = (performance.now() - began) / 60_000;
process.stderr.write(`${minutes.toFixed(1)} min\n`);
if (asked.length === 0 && !QUICK) write(measured, { before, after: machine(), minutes });
const failed = measured.some(({ failure }) => failure !== undefined);
const missed = measured.some(({ rows }) => rows.some(({ met }) => met === false));
process.exitCode = failed ? 1 : missed ? 5 : 0;
