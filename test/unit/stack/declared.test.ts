import * as pulumi from "@pulumi/pulumi";
import { beforeAll, describe, expect, it } from "vitest";
import { asItWas, type Inputs, lastGoodOf, recorded } from "../../../ops/lib/stack/declared.ts";
import { RESOURCE_TYPE, resourceKey } from "../../../ops/lib/stack/state.ts";

const { container } = RESOURCE_TYPE;

class Declared extends pulumi.CustomResource {}

/** What reached the provider, by name. */
let sent: Record<string, unknown>;
beforeAll(async () => {
	await pulumi.runtime.setMocks(
		{
			newResource({ name, inputs }) {
				sent[name] = inputs;
				return { id: `id-of-${name}`, state: inputs };
			},
			call: ({ inputs }) => inputs,
		},
		"mlgate",
		"unit",
	);
});

/** Runs a program that declares one container, under a wrapping, the way the Automation API does. */
async function run(
	props: pulumi.Inputs,
	wrap: (program: () => Promise<Record<string, unknown>>) => () => Promise<unknown>,
): Promise<void> {
	sent = {};
	const program = async () => {
		new Declared(container, "mlflow", props);
		return {};
	};
	await pulumi.runtime.runInPulumiStack(async () => (await wrap(program)()) as Record<string, unknown>);
	await pulumi.runtime.disconnect();
}

describe("what the program declares", () => {
	it("is known with its outputs and secrets resolved, and goes to the provider unchanged", async () => {
		const declared = new Map<string, Inputs>();
		const props = { name: pulumi.output("s-mlflow"), envs: pulumi.secret(["A=1"]), memory: 64 };
		await run(props, (program) => recorded(program, declared) as never);
		const seen = { name: "s-mlflow", envs: ["A=1"], memory: 64 };
		expect(declared.get(resourceKey(container, "mlflow"))).toEqual(seen);
		expect(sent.mlflow).toMatchObject({ name: "s-mlflow", memory: 64 });
	});

	it("has the optional parts that there were, and no others", async () => {
		const asked: unknown[] = [];
		for (const names of [["door"], ["door", "tailscale"]]) {
			const program = async (optional?: ReadonlySet<string>) => {
				asked.push([...(optional ?? ["not said"])]);
				return {};
			};
			await asItWas(program, new Map(names.map((name) => [name, {}])))();
		}
		expect(asked).toEqual([[], ["tailscale"]]);
	});

	it("can be made as it was when all was well", async () => {
		const last = new Map([["mlflow", { name: "s-mlflow", envs: ["A=old"] }]]);
		const props = { name: "s-mlflow", envs: ["A=new"], extra: true };
		await run(props, (program) => asItWas(program, last) as never);
		expect(sent.mlflow).toEqual({ name: "s-mlflow", envs: ["A=old"] });
	});
});

const SECRET = { "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270" };

describe("the last good containers", () => {
	it("are what the program had declared: without the bridge's own fields, with secrets that stay secret", async () => {
		const last = lastGoodOf({
			version: 3,
			deployment: {
				resources: [
					{
						urn: `urn:pulumi:s::mlgate::${container}::api`,
						type: container,
						inputs: {
							__defaults: ["attach"],
							attach: false,
							name: "s-api",
							healthcheck: { __defaults: [], tests: ["CMD", "x"] },
							envs: { ...SECRET, plaintext: JSON.stringify(["KEY=hidden"]) },
						},
					},
					{ urn: "urn:pulumi:s::mlgate::docker:index/network:Network::data", type: RESOURCE_TYPE.network },
				],
			},
		});
		expect([...last.keys()]).toEqual(["api"]);
		const { envs, ...others } = last.get("api") ?? {};
		expect(others).toEqual({ name: "s-api", healthcheck: { tests: ["CMD", "x"] } });
		const secret = envs as pulumi.Output<string[]>;
		expect(await pulumi.isSecret(secret)).toBe(true);
	});
});
