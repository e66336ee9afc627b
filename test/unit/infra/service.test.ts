import { describe, expect, it } from "vitest";
import { containerArgs, goDuration, type ServiceSpec } from "../../../infra/service.ts";

describe("durations", () => {
	// The right-hand side is what Go's time.Duration prints, and so what the provider reads back.
	it.each([
		[0, "0s"],
		[5, "5s"],
		[59, "59s"],
		[60, "1m0s"],
		[90, "1m30s"],
		[600, "10m0s"],
		[3600, "1h0m0s"],
		[3661, "1h1m1s"],
		[86_400, "24h0m0s"],
	])("%d seconds are written %s", (seconds, written) => {
		expect(goDuration(seconds)).toBe(written);
	});
});

describe("the arguments of a container", () => {
	const spec: ServiceSpec = {
		stackName: "s",
		part: "minio",
		memory: 512,
		env: { A: "1", B: "x=y" },
		networks: [],
		volumes: [],
		tmpfs: { "/tmp": 64 },
		stop: { grace: 60, signal: "SIGTERM" },
		health: { start: 60, interval: 5, timeout: 10 },
		wait: 180,
	};

	it("are plain data made from the need and the instance, so that another container of the part can be made", () => {
		const one = containerArgs(spec, { name: "s-minio", image: "sha256:1", secrets: "s-minio-secrets" });
		const other = containerArgs(spec, {
			name: "s-minio-candidate",
			image: "sha256:2",
			secrets: "s-minio-secrets",
		});
		expect({ ...other, name: one.name, hostname: one.hostname, image: one.image }).toEqual(one);
		expect(structuredClone(one)).toEqual(one);
		expect(one.envs).toEqual(["A=1", "B=x=y"]);
	});

	it("publish nothing unless a port of the host is named", () => {
		const instance = { name: "s-minio", image: "i", secrets: "v" };
		expect(containerArgs(spec, instance).ports).toEqual([]);
		expect(containerArgs({ ...spec, publish: { hostPort: 8080, port: 5000 } }, instance).ports).toEqual([
			{ ip: "127.0.0.1", external: 8080, internal: 5000 },
		]);
	});
});
