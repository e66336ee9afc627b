/** A training container of another compose stack: it joins the network for clients, logs, and reaches nothing else. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { imageRef } from "../../infra/images.ts";
import { docker, mustAnswer, NAME, run, stackPort, token } from "../support/mlgate.ts";

const PROJECT = `${NAME}-other-stack`;
const TRAINER = `${PROJECT}-trainer-1`;

let editor: string;

beforeAll(async () => {
	editor = await token("editor", "trainer");
	const labels = ["--label", `com.docker.compose.project=${PROJECT}`];
	await docker("network", "create", ...labels, `${PROJECT}_default`);
	// The image is one with Python and the stock client.
	await docker(
		...["run", "--detach", "--name", TRAINER, "--network", `${PROJECT}_default`, ...labels],
		...["--user", "10003", "--entrypoint", "sleep", imageRef("mlflow"), "infinity"],
	);
	await docker("network", "connect", `${NAME}-clients`, TRAINER);
});

afterAll(async () => {
	await docker("rm", "--force", TRAINER);
	await docker("network", "rm", `${PROJECT}_default`);
});

/** Runs Python in the trainer, as its own process would. */
const python = (script: string) =>
	run(
		"docker",
		["exec", "-i", "--env", "MLFLOW_TRACKING_URI", "--env", "MLFLOW_TRACKING_TOKEN", TRAINER, "python", "-"],
		{
			input: script,
			env: { MLFLOW_TRACKING_URI: "http://mlflow:5000", MLFLOW_TRACKING_TOKEN: editor },
		},
	);

test("it logs a run with metrics and an artifact through http://mlflow:5000", async () => {
	const ended = await python(`
import mlflow
mlflow.set_experiment("other-stack")
with mlflow.start_run() as run:
    mlflow.log_metric("loss", 0.5)
    mlflow.log_text("from next door", "note.txt")
print(run.info.run_id)
`);
	const runId = ended.stdout.trim().split("\n").at(-1) ?? "";
	expect(runId, ended.stderr).toMatch(/^[0-9a-f]{32}$/);
	const headers = { authorization: `Bearer ${editor}` };
	const note = await fetch(
		`http://localhost:${await stackPort()}/get-artifact?path=note.txt&run_uuid=${runId}`,
		{
			headers,
		},
	);
	expect(await note.text()).toBe("from next door");
});

test("without a token it gets nothing", async () => {
	const ended = await python(`
import urllib.request, urllib.error
try:
    print(urllib.request.urlopen("http://mlflow:5000/api/2.0/mlflow/experiments/search?max_results=1").status)
except urllib.error.HTTPError as error:
    print(error.code)
`);
	expect(ended.stdout.trim()).toBe("401");
});

test("no other part is reachable from there, by name or by address", async () => {
	const addresses: string[] = [];
	for (const part of ["postgres", "minio", "mlflow", "api", "door"]) {
		const format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
		addresses.push(...(await docker("inspect", `${NAME}-${part}`, "--format", format)).trim().split(" "));
	}
	const door = await docker(
		"inspect",
		`${NAME}-door`,
		"--format",
		`{{(index .NetworkSettings.Networks "${NAME}-clients").IPAddress}}`,
	);
	const hosts = ["tracking", "postgres", "minio", "api", ...addresses.filter((address) => address !== door)];
	expect(hosts.length).toBeGreaterThan(10);
	// On the way out of a machine there may be somebody who answers for every address: what counts is another answer than
	// that of an address which nobody has (RFC 5737).
	const ended = await python(`
import re, socket
POSTGRES = bytes([0, 0, 0, 8, 4, 210, 22, 47])
HTTP = b"GET / HTTP/1.1\\r\\nHost: mlflow:5000\\r\\nConnection: close\\r\\n\\r\\n"
def ask(host, port):
    try:
        with socket.create_connection((host, port), 1) as peer:
            peer.settimeout(1)
            peer.sendall(POSTGRES if port == 5432 else HTTP)
            return re.sub(rb"(?i)date: [^\\r]*", b"", peer.recv(4096)) or None
    except OSError:
        return None
for port in (5000, 5432, 9000, 8000, 9464):
    nobody = ask("203.0.113.9", port)
    for host in ${JSON.stringify([...hosts, "mlflow"])}:
        if ask(host, port) not in (None, nobody):
            print(host, port)
`);
	expect(ended.stdout.trim()).toBe("mlflow 5000");
});

test("up leaves it where it is, and changes nothing for it", async () => {
	expect(await mustAnswer(["up", "--yes"])).toMatchObject({ changed: false });
	const state = await docker(
		"inspect",
		TRAINER,
		"--format",
		`{{.State.Running}} {{.RestartCount}} {{(index .NetworkSettings.Networks "${NAME}-clients").IPAddress}}`,
	);
	expect(state).toMatch(/^true 0 \d+\.\d+\.\d+\.\d+$/);
});
