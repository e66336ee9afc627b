/** The stack's secrets, and the files that carry them into the parts. Every value here is a secret output. */
import { type Input, interpolate, type Output, secret } from "@pulumi/pulumi";
import { ALIAS, DATABASE, PORT, SECRET_FILE, STORE } from "./contract.ts";

/** File name below `PATH.secrets` -> content. */
export type SecretFiles = Readonly<Record<string, Output<string>>>;

/** What a store is told of its users: one password each. */
export interface StorePasswords {
	mlflow: Output<string>;
	door: Output<string>;
}

/** For a store: the passwords of its users, which it sets at every start. */
export const passwordFiles = (part: "postgres" | "minio", passwords: StorePasswords): SecretFiles => ({
	[SECRET_FILE[part].mlflow]: passwords.mlflow,
	[SECRET_FILE[part].door]: passwords.door,
});

/** For MLflow: what libpq and boto3 read by themselves, so that no password is in its environment or arguments. */
export const trackingFiles = (database: Input<string>, store: Input<string>): SecretFiles => ({
	[SECRET_FILE.mlflow.database]:
		interpolate`${ALIAS.postgres}:${PORT.postgres}:${DATABASE.mlflow}:${DATABASE.mlflow}:${database}\n`,
	[SECRET_FILE.mlflow.store]:
		interpolate`[default]\naws_access_key_id = ${STORE.users.mlflow}\naws_secret_access_key = ${store}\n`,
});

/** For the node of the tailnet: what it joins with, if it has to, and what it serves. */
export const tailscaleFiles = (authKey: Output<string> | undefined, serve: string): SecretFiles => ({
	[SECRET_FILE.tailscale.serve]: secret(serve),
	...(authKey && { [SECRET_FILE.tailscale.authKey]: authKey }),
});

/** For the door. */
export const doorFiles = (database: Output<string>, store: Output<string>): SecretFiles => ({
	[SECRET_FILE.door.database]: database,
	[SECRET_FILE.door.store]: store,
});
