/**
 * What asks a path inside somebody else's container. Docker runs a check in the container itself, and nobody knows what
 * an image has: the first of these that is there asks. Each exits 0 for an answer of 2xx and not 0 for all else.
 */
const ASKING: readonly { program: string; script: (url: string) => string }[] = [
	{ program: "curl", script: (url) => `exec curl -fsS -m 8 -o /dev/null ${url}` },
	{ program: "wget", script: (url) => `exec wget -q -T 8 -O /dev/null ${url}` },
	...["python3", "python"].map((program) => ({
		program,
		script: (url: string) =>
			`exec ${program} -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=8)' ${url}`,
	})),
	{
		program: "node",
		script: (url) =>
			`exec node -e 'fetch(process.argv[1]).then((a) => process.exit(a.ok ? 0 : 1), () => process.exit(1))' ${url}`,
	},
];

/**
 * Docker's form of a health check.
 * @param check a path that answers 2xx (`/health`), or a shell command that exits 0. The path is safe to be quoted.
 */
export function healthCheck(check: string, port: number): string[] {
	if (!check.startsWith("/")) return ["CMD-SHELL", check];
	const url = `'http://127.0.0.1:${port}${check}'`;
	const branches = ASKING.map(
		({ program, script }, i) => `${i ? "elif" : "if"} command -v ${program} >/dev/null; then ${script(url)};`,
	);
	const nobody =
		"else echo 'no curl, wget, python or node to ask with: set api.health to a command' >&2; exit 1; fi";
	return ["CMD-SHELL", [...branches, nobody].join(" ")];
}
