/** A service that somebody else wrote takes the reference API's place: the plain kind, and the hostile kind. */
import type { Browser, BrowserContext } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildImage, REFERENCE, removeImage, upWith } from "../support/api-image.ts";
import { launch } from "../support/chromium.ts";
import { docker, mlgate, mustAnswer, mustRun, NAME, stackPort, token } from "../support/mlgate.ts";
import { type Asking, clearStages, keepAsking, MODEL, register, stages } from "../support/models.ts";

const PASSWORD = "correct horse battery staple";
const ROOT = "images-admin";

let uri: string;
let port: number;
let editor: string;
let viewer: string;
let first: string;
let second: string;
let damaged: string;

beforeAll(async () => {
	port = await stackPort();
	uri = `http://localhost:${port}`;
	editor = await token("editor", "own-image");
	viewer = await token("viewer", "own-image-asks");
	[first = "", second = "", damaged = ""] = await register(uri, editor, ["whole", "whole", "damaged"]);
	await mlgate(["users", "add", ROOT, "--role", "admin", "--password-stdin"], { input: PASSWORD });
});

afterAll(async () => {
	await clearStages(uri, editor);
	await upWith(REFERENCE);
	await mlgate(["users", "disable", ROOT]);
});

const containers = async () =>
	(await docker("ps", "-a", "--filter", `label=mlgate.stack=${NAME}`, "--format", "{{.Names}}"))
		.split("\n")
		.sort();

describe("an image that reads its model once, at its first request", () => {
	let image: string;

	beforeAll(async () => {
		await mustRun(["promote", MODEL, first]);
		image = await buildImage("own");
		await upWith({ "api.image": image, "api.ready": "/similar?ingredient=salt" });
	});
	afterAll(() => removeImage(image));

	/** Asks all the while that `work` takes, and fails if one request did. */
	async function whileAsked(work: (asking: Asking) => Promise<void>): Promise<void> {
		const asking = keepAsking(uri, viewer);
		try {
			await work(asking);
		} finally {
			await asking.stop();
		}
		expect(asking.failures).toEqual([]);
	}

	test("serves what is in the stage, with the stock client and the token that it finds by itself", async () => {
		await whileAsked((asking) => asking.until(first));
	});

	test("is promoted by replacement: a candidate first, and no request fails", async () => {
		const before = await containers();
		await whileAsked(async (asking) => {
			const said = await mustAnswer(["promote", MODEL, second]);
			expect(said).toMatchObject({ version: second, serves: true });
			await asking.until(second);
		});
		expect(await containers()).toEqual(before);
		expect(await mustAnswer(["promote", "--status"])).toMatchObject({ served: { version: second } });
		expect((await mustRun(["status"])).code).toBe(0);
	});

	test("keeps its version when the new one is damaged: exit 5, the stage is back, no request fails", async () => {
		const before = [await containers(), await stages(uri, editor)];
		await whileAsked(async (asking) => {
			const ended = await mlgate(["promote", MODEL, damaged]);
			expect(ended.code).toBe(5);
			expect(ended.stderr).toContain("too short");
			expect(asking.versions).toEqual([second]);
		});
		expect([await containers(), await stages(uri, editor)]).toEqual(before);
	});

	test("a second up changes nothing after a promotion by replacement", async () => {
		expect(await mustAnswer(["up", "--yes"])).toMatchObject({ changed: false });
	});
});

describe("an image that has turned hostile", () => {
	let image: string;
	let browser: Browser;
	let context: BrowserContext;

	/** Reads of models, which are its own; everything else is beyond it. */
	const MAY = ["GET /api/2.0/mlflow/registered-models/search", "GET /api/2.0/mlflow/model-versions/search"];
	const MAY_NOT = [
		"POST /api/2.0/mlflow/experiments/create",
		"POST /api/2.0/mlflow/experiments/search",
		"POST /api/2.0/mlflow/runs/search",
		"POST /api/2.0/mlflow/runs/delete",
		"POST /api/2.0/mlflow/model-versions/transition-stage",
		"DELETE /api/2.0/mlflow/registered-models/delete",
		"PUT /api/2.0/mlflow-artifacts/artifacts/1/x",
		"GET /api/2.0/mlflow-artifacts/artifacts",
		"GET /api/2.0/mlflow-artifacts/artifacts?path=1",
		"GET /door/whoami",
		"GET /inference/",
		"GET /",
	];

	beforeAll(async () => {
		image = await buildImage("hostile");
		const env = { ASKED: [...MAY, ...MAY_NOT].join(";"), DOOR_PORT: String(port) };
		await upWith({ "api.image": image, "api.ready": "", "api.env": JSON.stringify(env) });
		browser = await launch();
		context = await browser.newContext();
	});
	afterAll(async () => {
		await browser?.close();
		await removeImage(image);
	});

	// biome-ignore lint/suspicious/noExplicitAny: each test names the fields it looks at
	async function said(path: string, headers: Record<string, string> = {}): Promise<any> {
		const answer = await fetch(`${uri}/inference${path}`, {
			headers: { authorization: `Bearer ${viewer}`, ...headers },
		});
		expect(answer.status).toBe(200);
		return answer.json();
	}

	test("reaches the door and nothing else: no store, no tracking server, no host, no internet", async () => {
		const reached = (await said("/reach")) as Record<string, string>;
		expect(Object.keys(reached).length).toBeGreaterThan(9);
		const open = Object.entries(reached).filter(([, state]) => state === "open");
		expect(open).toEqual([["mlflow:5000", "open"]]);
	});

	test("reads models with its token, and may do nothing else with it", async () => {
		const answers = (await said("/token")) as Record<string, number>;
		expect(answers).toEqual(
			Object.fromEntries([...MAY.map((asked) => [asked, 200]), ...MAY_NOT.map((asked) => [asked, 403])]),
		);
	});

	test("sees neither credentials nor cookies of who asks, and no secret in its environment", async () => {
		const { headers, environment } = await said("/seen", {
			cookie: "session=stolen",
			"x-forwarded-user": "somebody",
			"tailscale-user-login": "somebody",
		});
		const text = JSON.stringify(headers);
		for (const secret of [viewer, "stolen", "somebody"]) expect(text).not.toContain(secret);
		expect(Object.keys(headers).map((name) => name.toLowerCase())).not.toContain("authorization");
		expect(Object.keys(environment).filter((name) => /PASSWORD|SECRET|KEY/i.test(name))).toEqual([]);
		expect(environment).not.toHaveProperty("MLFLOW_TRACKING_TOKEN");
	});

	test("gains nothing from an admin who visits it", async () => {
		const page = await context.newPage();
		await page.goto(`${uri}/login`);
		await page.getByLabel(/name/i).first().fill(ROOT);
		await page.locator("input[type=password]").first().fill(PASSWORD);
		await page.getByRole("button").first().click();
		await page.getByText("Experiments").first().waitFor();
		const cookies = async () => (await context.cookies()).map(({ name, value }) => `${name}=${value}`).sort();
		const accounts = async () => [
			(await mustAnswer(["users", "list"])).users.map(({ name, role }: { name: string; role: string }) => [
				name,
				role,
			]),
			(await mustAnswer(["tokens", "list"])).tokens.map(({ id }: { id: string }) => id),
		];
		const [cookiesBefore, accountsBefore] = [await cookies(), await accounts()];

		const answer = await page.goto(`${uri}/inference/`);
		await page.waitForFunction(() => document.title !== "working");
		const headers = answer?.headers() ?? {};
		for (const dropped of ["set-cookie", "clear-site-data", "refresh", "link", "service-worker-allowed"])
			expect(headers).not.toHaveProperty(dropped);
		expect(headers["content-security-policy"]).toContain("sandbox");
		const tried = JSON.parse(await page.title());
		expect(tried).toMatchObject({
			cookie: "failed: SecurityError",
			plant: "failed: SecurityError",
			storage: "failed: SecurityError",
			opener: "no window",
		});
		for (const name of ["admin", "delete", "read", "worker"])
			expect([name, tried[name]]).toEqual([name, expect.stringMatching(/^failed/)]);
		// The form went nowhere, and the page is where it was.
		expect(new URL(page.url()).pathname).toBe("/inference/");
		expect(context.serviceWorkers()).toEqual([]);

		const away = await page.goto(`${uri}/inference/redirect`);
		expect(away?.status()).toBe(502);
		expect(new URL(page.url()).host).toBe(`localhost:${port}`);

		expect(await cookies()).toEqual(cookiesBefore);
		expect(await accounts()).toEqual(accountsBefore);
		// Still signed in, and still nobody else's.
		await page.goto(`${uri}/`);
		expect(await page.evaluate(async () => (await fetch("/door/whoami")).json())).toMatchObject({
			user: ROOT,
		});
		const trail = await context.request.get(`${uri}/admin`);
		expect(await trail.text()).not.toContain("mallory");
		await page.close();
	});
});
