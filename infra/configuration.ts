/** What Pulumi was configured with, checked as a whole before any resource is declared. */
import { Config, getStack, type Output, runtime } from "@pulumi/pulumi";
import { PROJECT } from "./contract.ts";
import { IDENTITY_KEY, type Store } from "./identities.ts";
import type { StorePasswords } from "./secrets.ts";
import { isSecretSetting, parseSettings, SETTINGS, type SettingKey, type Settings } from "./settings.ts";
import { isOauthSecret } from "./tailnet-credentials.ts";
import type { Joining } from "./tailnet-key.ts";

export interface Configuration {
	settings: Settings;
	/** Setting `name`: what everything is called on the host. */
	stackName: string;
	/** By store. */
	passwords: { postgres: StorePasswords; minio: StorePasswords };
	/** Of the data volumes, where it is known. */
	identities: Readonly<Record<Store, string | undefined>>;
	/** The user's secrets for the inference API's environment, if there are any. */
	secretEnv: Output<Readonly<Record<string, string>>> | undefined;
	/** What the node joins its tailnet with, if it was given. */
	joining: Joining;
}

/**
 * @throws SettingsError with everything that is wrong, and Pulumi's own error for a missing secret: `npx mlgate up`
 * makes the secrets.
 */
export function configuration(): Configuration {
	const prefix = `${PROJECT}:`;
	const ours = Object.entries(runtime.allConfig()).filter(([key]) => key.startsWith(prefix));
	const settings = parseSettings(
		Object.fromEntries(
			ours
				.map(([key, value]) => [key.slice(prefix.length), value] as const)
				// Decrypted here already; whether they lie in clear is looked at where the file is read.
				.filter(([key]) => !isSecretSetting(key)),
		),
		getStack(),
	);
	const config = new Config(PROJECT);
	return {
		settings,
		stackName: settings.name,
		passwords: {
			postgres: {
				mlflow: config.requireSecret("secret.postgres-mlflow"),
				door: config.requireSecret("secret.postgres-door"),
			},
			minio: {
				mlflow: config.requireSecret("secret.minio-mlflow"),
				door: config.requireSecret("secret.minio-door"),
			},
		},
		identities: {
			postgres: config.get(IDENTITY_KEY.postgres),
			minio: config.get(IDENTITY_KEY.minio),
		},
		secretEnv: config
			.getSecret("api.secretEnv")
			?.apply((text) => SETTINGS["api.secretEnv"].schema.parse(text)),
		joining: joining(config),
	};
}

/** What was taken back is kept as an empty text. */
function joining(config: Config): Joining {
	const given = (key: SettingKey) => runtime.allConfig()[`${PROJECT}:${key}`] ?? "";
	const credentials = given("funnel.credentials");
	return {
		authKey: given("funnel.authKey") ? config.getSecret("funnel.authKey") : undefined,
		...(credentials && {
			credentials: {
				oauth: isOauthSecret(credentials),
				text: config.requireSecret("funnel.credentials"),
			},
		}),
	};
}
