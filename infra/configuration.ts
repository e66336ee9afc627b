/** What Pulumi was configured with, checked as a whole before any resource is declared. */
import { Config, getStack, runtime } from "@pulumi/pulumi";
import { PROJECT } from "./contract.ts";
import type { StorePasswords } from "./secrets.ts";
import { parseSettings, type Settings } from "./settings.ts";

export interface Configuration {
	settings: Settings;
	/** By store. */
	passwords: { postgres: StorePasswords; minio: StorePasswords };
}

/**
 * @throws SettingsError with everything that is wrong, and Pulumi's own error for a missing secret: `npx mlgate up`
 * makes the secrets.
 */
export function configuration(): Configuration {
	const prefix = `${PROJECT}:`;
	const ours = Object.entries(runtime.allConfig()).filter(([key]) => key.startsWith(prefix));
	const settings = parseSettings(
		Object.fromEntries(ours.map(([key, value]) => [key.slice(prefix.length), value])),
		getStack(),
	);
	const config = new Config(PROJECT);
	return {
		settings,
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
	};
}
