/** Runs groups in the bench's own network. Started by main.ts. */
import { machine } from "./frame/machine.ts";
import { QUICK } from "./frame/measure.ts";
import { type Measured, print, write } from "./frame/results.ts";
import { openSite } from "./frame/site.ts";
import { GROUPS, type GroupName } from "./groups.ts";

const asked = process.argv.slice(2) as GroupName[];
const names = asked.length > 0 ? asked : (Object.keys(GROUPS) as GroupName[]);
const began = performance.now();
const before = machine();

const site = await openSite();
process.on("SIGTERM", () => void site.close().finally(() => process.exit(130)));
const measured: Measured[] = [];
try {
	for (const name of names) {
		const { title, load } = GROUPS[name];
		process.stderr.write(`${title}\n`);
		const { measure } = await load();
		const one = { title, rows: await measure(site) };
		measured.push(one);
		print(one);
	}
} finally {
	await site.close();
}
const minutes = (performance.now() - began) / 60_000;
process.stderr.write(`${minutes.toFixed(1)} min\n`);
if (asked.length === 0 && !QUICK) write(measured, { before, after: machine(), minutes });
process.exitCode = measured.some(({ rows }) => rows.some(({ met }) => met === false)) ? 5 : 0;
