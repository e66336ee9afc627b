/**
 * The secrets of a stack: Pulumi configuration `mlgate:<key>`, encrypted, made once by mlgate itself.
 * Each is the password of one least-privileged user of one store.
 */
export const SECRET_KEYS = [
	"secret.postgres-mlflow",
	"secret.postgres-door",
	"secret.minio-mlflow",
	"secret.minio-door",
] as const;
export type SecretKey = (typeof SECRET_KEYS)[number];
