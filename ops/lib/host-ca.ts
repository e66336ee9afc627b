/**
 * Whom this host trusts. Where a company opens TLS, its certificate is among these, and downloads inside image builds
 * need it as much as ours do.
 */
import { readFileSync } from "node:fs";
import { rootCertificates } from "node:tls";

/** What the Debian, Ubuntu, RHEL and SUSE families call their bundle. */
const SYSTEM_BUNDLES = [
	"/etc/ssl/certs/ca-certificates.crt",
	"/etc/pki/tls/certs/ca-bundle.crt",
	"/etc/ssl/ca-bundle.pem",
];

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;

/**
 * All certificates that this host trusts, as PEM: those of `SSL_CERT_FILE` and `NODE_EXTRA_CA_CERTS` (which may name a
 * company's alone) and of the system; Node's own where the system has none. A file that cannot be read counts as empty.
 */
export function hostCa(
	env: NodeJS.ProcessEnv = process.env,
	systemBundles: readonly string[] = SYSTEM_BUNDLES,
): string {
	const named = [env.SSL_CERT_FILE, env.NODE_EXTRA_CA_CERTS].flatMap(certificatesIn);
	const system = systemBundles.flatMap(certificatesIn);
	return `${[...new Set([...named, ...(system.length > 0 ? system : rootCertificates)])].join("\n")}\n`;
}

function certificatesIn(path: string | undefined): string[] {
	if (!path) return [];
	try {
		return readFileSync(path, "latin1").match(CERTIFICATE) ?? [];
	} catch {
		return [];
	}
}
