import type { Network, Volume } from "@pulumi/docker";
import { describe, expect, it } from "vitest";
import { containerArgs } from "../../../../infra/service.ts";
import { createArgs, type DeclaredContainer, specFrom, specOf } from "../../../../ops/lib/candidate/spec.ts";
import type { Container } from "../../../../ops/lib/docker.ts";

/** As the program declares a part; names stand for resources that Pulumi has resolved. */
const declared = containerArgs(
	{
		stackName: "s",
		part: "mlflow",
		memory: 100,
		env: { A: "1" },
		networks: [
			{ network: { name: "s-data" } as unknown as Network, aliases: ["tracking"] },
			{ network: { name: "s-serve" } as unknown as Network, aliases: [] },
		],
		volumes: [{ volume: { name: "s-scratch" } as unknown as Volume, path: "/scratch" }],
		tmpfs: { "/tmp": 8 },
		stop: { grace: 60, signal: "SIGTERM" },
		health: { start: 90, interval: 10, timeout: 10 },
		wait: 300,
		publish: { hostPort: 5000, port: 5000 },
	},
	{ name: "s-mlflow", image: "sha256:old", secrets: "s-mlflow-secrets" },
) as DeclaredContainer;

/** What Docker tells of a container that was made of it. */
const made = {
	Config: {
		Image: "sha256:new",
		Hostname: "mlflow",
		User: "10003:10003",
		Env: ["A=1"],
		StopSignal: "SIGTERM",
		StopTimeout: 60,
		Healthcheck: {
			Test: ["CMD", "/usr/local/bin/health"],
			Interval: 10e9,
			Timeout: 10e9,
			StartPeriod: 90e9,
			Retries: 3,
		},
	},
	HostConfig: {
		ReadonlyRootfs: true,
		CapDrop: ["ALL"],
		SecurityOpt: ["no-new-privileges:true"],
		Tmpfs: { "/tmp": "rw,noexec,nosuid,nodev,size=8m,mode=1777" },
		Ulimits: [{ Name: "core", Soft: 0, Hard: 0 }],
		Init: false,
		Memory: 100 * 1024 * 1024,
		MemorySwap: 100 * 1024 * 1024,
		CpuShares: 0,
		ShmSize: 64 * 1024 * 1024,
		IpcMode: "private",
		LogConfig: { Type: "json-file", Config: { "max-file": "5", "max-size": "10m" } },
		Mounts: [
			{ Type: "volume", Source: "s-scratch", Target: "/scratch" },
			{ Type: "volume", Source: "s-mlflow-secrets", Target: "/run/secrets", ReadOnly: true },
		],
	},
	NetworkSettings: { Networks: { "s-data": {}, "s-serve": {} } },
} as unknown as Container;

describe("the spec of a candidate", () => {
	it("is the same from the program's declaration and from the container that was made of it", () => {
		const { health, ...planned } = specFrom(declared, "sha256:new");
		const { health: found, ...running } = specOf(made);
		expect(planned).toEqual(running);
		expect(health).toEqual({ ...found, interval: "10s", timeout: "10s", startPeriod: "1m30s" });
	});

	it("becomes a container without ports, aliases and restarts, whose environment is in no argument", () => {
		const args = createArgs(specFrom(declared, "sha256:new"));
		for (const flag of ["--publish", "-p", "--network-alias", "--restart", "--env", "-e"])
			expect(args).not.toContain(flag);
		expect(args.join(" ")).not.toContain("A=1");
		expect(args.join(" ")).toContain("--network s-data ");
		expect(args).toContain("type=volume,source=s-mlflow-secrets,target=/run/secrets,readonly");
		expect(args.at(-1)).toBe("sha256:new");
	});
});
