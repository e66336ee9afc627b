/** The machine and what it was doing: what the absolute figures depend on. */
import { readFileSync } from "node:fs";
import { cpus, loadavg, release, totalmem } from "node:os";
import { MLFLOW_VERSION } from "../../../infra/contract.ts";
import { docker } from "../../support/mlgate.ts";

export interface Machine {
	cores: number;
	model: string;
	memory: string;
	kernel: string;
	system: string;
	node: string;
	mlflow: string;
	/** Of the last minute. */
	load: number;
	/** ISO time. */
	at: string;
}

export function machine(): Machine {
	const system = /^PRETTY_NAME="(.*)"$/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1] ?? "";
	const [first] = cpus();
	return {
		cores: cpus().length,
		model: first?.model ?? "",
		memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
		kernel: release(),
		system,
		node: process.version,
		mlflow: MLFLOW_VERSION,
		load: loadavg()[0] ?? 0,
		at: new Date().toISOString(),
	};
}

export const engine = (): Promise<string> => docker("version", "--format", "{{.Server.Version}}");
