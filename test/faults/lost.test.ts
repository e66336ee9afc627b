/** What is lost on the host or in the checkout, and must not look as if the runs were lost with it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { hostName, LABEL } from "../../infra/contract.ts";
import { imageRef } from "../../infra/images.ts";
import { Checkout, forgetStack } from "../support/checkout.ts";
import { logKeptRun } from "../support/kept-run.ts";
import {
	CHECKOUT,
	docker,
	type Ended,
	mlgate,
	mustAnswer,
	mustRun,
	NAME,
	run,
	STACK,
	stackPort,
	token,
} from "../support/mlgate.ts";

let uri: string;
let port: number;
let expectRunKept: () => Promise<void>;

beforeAll(async () => {
	port = await stackPort();
	uri = `http://localhost:${port}`;
	const editor = await token("editor", "lost");
	await mustRun(["users", "add", "keepsake", "--role", "viewer", "--password-stdin"], {
		input: "correct horse battery staple\n",
	});
	expectRunKept = await logKeptRun(uri, editor, "lost");
});

/** Run and artifact by the token that was made before; the user still is one. */
async function expectEverythingKept(): Promise<void> {
	await expectRunKept();
	const basic = Buffer.from("keepsake:correct horse battery staple").toString("base64");
	const who = await fetch(`${uri}/door/whoami`, { headers: { authorization: `Basic ${basic}` } });
	expect(await who.text()).toContain("keepsake");
}

const password = () => docker("exec", `${NAME}-postgres`, "cat", "/run/secrets/mlflow-password");

/** What up tells of a stack that it found again. */
function expectTold({ code, stderr }: Ended): void {
	expect(code, stderr).toBe(0);
	expect(stderr).toContain("they were lost");
	expect(stderr).toContain(`port ${port}`);
	expect(stderr).toContain("session.idleHours 11");
	expect(stderr).toContain("New passwords were made");
	expect(stderr).toContain(`Removing ${NAME}-postgres, which an earlier run left behind`);
}

describe("lost state: .mlgate and the file with the settings are gone", () => {
	test("of a stack that runs, and again of one that is stopped and whose checkout is gone: every run, user and token is kept", async () => {
		await mustRun(["config", "set", "session.idleHours", "11"]);
		const checkout = await Checkout.copy();
		try {
			const first = await checkout.mlgate("up", "--yes");
			expect(first.code, first.stderr).toBe(0);
			const before = await password();
			await checkout.forget();
			expectTold(await checkout.mlgate("up", "--yes"));
			expect(await password()).not.toBe(before);
			await expectEverythingKept();
			// Whoever has another checkout of it is told so, and nothing is taken over.
			await forgetStack();
			const elsewhere = await mlgate(["up", "--yes", "--json"]);
			expect(elsewhere.code).toBe(3);
			expect(JSON.parse(elsewhere.stdout).error.what).toContain(checkout.folder);
			await checkout.mlgate("down");
		} finally {
			await checkout.remove();
		}
		expectTold(await mlgate(["up", "--yes"]));
		await expectEverythingKept();
		expect((await mustAnswer(["status"])).verdict).toBe("healthy");
	});
});

describe("a data volume that is not where it should be", () => {
	test("up starts nothing, names the volume that has the data, and its advice brings it back", async () => {
		const volume = hostName.dataVolume(NAME, "minio");
		const elsewhere = `${NAME}-moved`;
		await mustRun(["down"]);
		await docker("rm", "-f", `${NAME}-minio`, `${NAME}-keeper`);
		const copy = [
			...["run", "--rm", "--user", "0", "-v", `${volume}:/from:ro`, "-v", `${elsewhere}:/to`],
			...[imageRef("keeper"), "cp", "-a", "/from/.", "/to/"],
		];
		await docker(...copy);
		await docker("volume", "rm", volume);

		const refused = await mlgate(["up", "--yes", "--json"]);
		expect(refused.code).toBe(6);
		const { error } = JSON.parse(refused.stdout);
		expect(error.what).toContain(`${volume}, which should have the data of minio, does not exist`);
		expect(error.why).toContain(elsewhere);
		expect(
			await docker(
				"ps",
				"-q",
				"--filter",
				`label=${LABEL.stack}=${NAME}`,
				"--filter",
				"label=mlgate.part=postgres",
			),
		).toBe("");

		// An empty one in its place is no better.
		await docker(
			"volume",
			"create",
			"--label",
			`${LABEL.stack}=${NAME}`,
			"--label",
			`${LABEL.data}=true`,
			volume,
		);
		const again = await mlgate(["up", "--yes", "--json"]);
		expect(again.code).toBe(6);
		expect(JSON.parse(again.stdout).error.what).toContain("is empty");

		const advice = String(error.fix).replace(/^[^:]*: /, "");
		const followed = await run("sh", ["-c", advice]);
		expect(followed.code, followed.stderr).toBe(0);
		await mustRun(["up", "--yes"]);
		await docker("volume", "rm", elsewhere);
		await expectEverythingKept();
	});

	test("the identities are in the settings' file, and the stores know them", async () => {
		for (const store of ["postgres", "minio"]) {
			const [, identity = "none"] =
				new RegExp(`mlgate:volume.${store}: (\\S+)`).exec(
					readFileSync(join(CHECKOUT, `Pulumi.${STACK}.yaml`), "utf8"),
				) ?? [];
			const env = await docker("inspect", "--format", "{{json .Config.Env}}", `${NAME}-${store}`);
			expect(env).toContain(`MLGATE_VOLUME=${identity}`);
		}
	});
});
