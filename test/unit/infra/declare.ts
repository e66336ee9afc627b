/** Runs the program under Pulumi's mocks and keeps what it declared: inputs as sent, options as given. */
import { randomBytes } from "node:crypto";
import * as pulumi from "@pulumi/pulumi";
import { type Part, PROJECT } from "../../../infra/contract.ts";
import program from "../../../infra/index.ts";
import { SECRET_KEYS, type SecretKey } from "../../../infra/secret-keys.ts";

export interface Declared {
	type: string;
	name: string;
	inputs: Record<string, unknown>;
	/** Those that Pulumi itself never sends to a provider. */
	options: pulumi.CustomResourceOptions;
}

export interface Declaration {
	resources: Declared[];
	outputs: Record<string, unknown>;
	secrets: Record<SecretKey, string>;
	/** What the user keeps as `api.secretEnv`: one variable, `MODEL_KEY`. */
	modelKey: string;
	/** What the user keeps as `funnel.authKey`. */
	authKey: string;
}

/** Type tokens of the providers. */
export const TYPE = {
	container: "docker:index/container:Container",
	network: "docker:index/network:Network",
	volume: "docker:index/volume:Volume",
	image: "docker:index/remoteImage:RemoteImage",
	tailnetKey: "tailscale:index/tailnetKey:TailnetKey",
	tailnetProvider: "pulumi:providers:tailscale",
} as const;

/** What only the provider knows once it has made something. */
const MADE: Readonly<Record<string, (name: string) => Record<string, string>>> = {
	[TYPE.image]: (name) => ({ imageId: `sha256:${name}` }),
	[TYPE.tailnetKey]: () => ({ key: "tskey-auth-made" }),
};

export async function declare(
	raw: Readonly<Record<string, string>> = {},
	stack = "unit",
	/** More secrets of the user's, or others in place of the usual ones. */
	given: Readonly<Record<string, string>> = {},
	optional?: ReadonlySet<Part>,
): Promise<Declaration> {
	const secrets = Object.fromEntries(
		SECRET_KEYS.map((key) => [key, randomBytes(30).toString("base64url")]),
	) as Record<SecretKey, string>;
	const modelKey = randomBytes(30).toString("base64url");
	const authKey = `tskey-auth-${randomBytes(12).toString("hex")}`;
	const kept = {
		...secrets,
		"api.secretEnv": JSON.stringify({ MODEL_KEY: modelKey }),
		"funnel.authKey": authKey,
		...given,
	};
	pulumi.runtime.setAllConfig(
		Object.fromEntries(
			Object.entries({ ...raw, ...kept }).map(([key, value]) => [`${PROJECT}:${key}`, value]),
		),
		Object.keys(kept).map((key) => `${PROJECT}:${key}`),
	);
	const sent = new Map<string, Record<string, unknown>>();
	const options = new Map<string, pulumi.CustomResourceOptions>();
	await pulumi.runtime.setMocks(
		{
			newResource({ type, name, inputs }) {
				sent.set(`${type} ${name}`, inputs);
				return {
					id: `id-of-${name}`,
					state: { ...inputs, ...MADE[type]?.(name) },
				};
			},
			call: ({ inputs }) => inputs,
		},
		PROJECT,
		stack,
	);
	const outputs = await pulumi.runtime.runInPulumiStack(async () => {
		pulumi.runtime.registerStackTransformation(({ type, name, opts }) => {
			options.set(`${type} ${name}`, opts);
			return undefined;
		});
		return program(optional);
	});
	// Outputs of components are still on their way.
	await pulumi.runtime.disconnect();
	const resources = [...options].map(([key, given]) => {
		const [type = "", name = ""] = key.split(" ");
		return { type, name, inputs: sent.get(key) ?? {}, options: given };
	});
	return { resources, outputs: outputs as Record<string, unknown>, secrets, modelKey, authKey };
}

const SIGNATURE = "4dabf18193072939515e22adb298388d";
const SECRET = "1b47061264138c4ac30d75fd1eb44270";

/** Every text in a value, each with its path and whether Pulumi treats it as a secret. */
export function texts(
	value: unknown,
	path = "",
	secret = false,
): { path: string; text: string; secret: boolean }[] {
	if (typeof value === "string") return [{ path, text: value, secret }];
	if (typeof value !== "object" || value === null) return [];
	const wrapped = value as Record<string, unknown>;
	if (wrapped[SIGNATURE] === SECRET) return texts(wrapped.value, path, true);
	return Object.entries(value).flatMap(([key, inner]) => texts(inner, `${path}.${key}`, secret));
}

/** The value without the wrapping that marks secrets. */
export function reveal<T>(value: T): T {
	if (typeof value !== "object" || value === null) return value;
	const wrapped = value as Record<string, unknown>;
	if (wrapped[SIGNATURE] === SECRET) return reveal(wrapped.value as T);
	if (Array.isArray(value)) return value.map(reveal) as T;
	return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, reveal(inner)])) as T;
}
