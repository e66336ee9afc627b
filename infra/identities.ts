/**
 * The identity of each store's data volume: Pulumi configuration `mlgate:volume.<store>`, a UUID and no secret. `up`
 * writes it when it makes the volume, or meets one that has data. The store refuses to start on any other volume.
 */
export const IDENTITY_KEY = { postgres: "volume.postgres", minio: "volume.minio" } as const;
export type Store = keyof typeof IDENTITY_KEY;
export const STORES = Object.keys(IDENTITY_KEY) as Store[];

export const isIdentityKey = (key: string): boolean => STORES.some((store) => IDENTITY_KEY[store] === key);

/** What a store is told of it. None: nobody knows it yet. */
export const identityEnv = (identity: string | undefined): Readonly<Record<string, string>> =>
	identity ? { MLGATE_VOLUME: identity } : {};

/** Files on a data volume. `fresh`: made with the volume, gone when it has its first data. */
export const IDENTITY_FILE = { known: "identity", fresh: "fresh" } as const;
