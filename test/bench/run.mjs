// `npm run bench [group ...]`: installs what is missing, then measures (main.ts).
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { ensureDependencies, node24 } from "../../ops/lib/bootstrap.mjs";

const here = dirname(fileURLToPath(import.meta.url));

await ensureDependencies();
const node = node24();
// An interrupt goes to both: the other one takes its things away before it ends.
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => {});
const { status } = spawnSync(node, [join(here, "main.ts"), ...process.argv.slice(2)], { stdio: "inherit" });
process.exit(status ?? 1);
