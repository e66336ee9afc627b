import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { Identity } from "../../../../proxy/authority.ts";
import { outOfScope } from "../../../../proxy/scopes.ts";
import {
	ACTOR,
	basic,
	bearer,
	DAY,
	facts,
	HOUR,
	schemaOf,
	startAccounts,
	type TestAccounts,
} from "../../../support/accounts.ts";
import { startPostgres, type TestDatabase, type TestPostgres } from "../../../support/postgres.ts";

// A busy machine hashes slowly.
vi.setConfig({ testTimeout: 60_000 });

let postgres: TestPostgres;
let accounts: TestAccounts;
let folder: string;

beforeAll(async () => {
	postgres = await startPostgres();
}, 60_000);
afterAll(() => postgres?.close());

beforeEach(async () => {
	folder = await mkdtemp(join(tmpdir(), "mlgate-test-service-"));
	accounts = await startAccounts(await postgres.database(), { serviceFolder: folder });
	await accounts.serviceToken.ensure();
	return async () => {
		await accounts.remove();
		await rm(folder, { recursive: true, force: true });
	};
});

const text = async () => (await readFile(join(folder, "token"), "utf8")).trim();
const ask = (headers: Record<string, string>) => accounts.authority.authenticate(facts(headers));

async function identity(): Promise<Identity> {
	const verdict = await ask(bearer(await text()));
	if (!verdict.ok) throw new Error(`refused: ${verdict.reason}`);
	return verdict.identity;
}

/** Those that work. */
const active = () => accounts.tokens.list().filter(({ state }) => state === "active");

describe("the inference API's token", () => {
	it("is there from the start: a viewer's, held to models, for 30 days", async () => {
		expect(await identity()).toMatchObject({
			kind: "token",
			user: "inference-api",
			role: "viewer",
			scope: "models",
		});
		const [token] = active();
		expect(token).toMatchObject({ scope: "models", name: expect.stringContaining("renewed by the door") });
		expect(Date.parse(token?.expires ?? "")).toBe(accounts.now() + 30 * DAY);
	});

	it("lies in two files that everybody may read and nobody write, with nothing beside them", async () => {
		expect((await readdir(folder)).sort()).toEqual(["netrc", "token"]);
		for (const file of ["netrc", "token"]) expect((await stat(join(folder, file))).mode & 0o777).toBe(0o444);
		const [, machine, , login, , password] = (await readFile(join(folder, "netrc"), "utf8"))
			.trim()
			.split(" ");
		expect(machine).toBe("mlflow");
		expect(await ask(basic(login ?? "", password ?? ""))).toMatchObject({
			ok: true,
			identity: { credential: (await identity()).credential },
		});
	});

	it("stays as it is while it is good, over restarts too", async () => {
		const before = await text();
		const { mtimeMs } = await stat(join(folder, "token"));
		accounts = await accounts.reopen();
		expect(await accounts.serviceToken.ensure()).toMatchObject({ renewed: false });
		expect(await text()).toBe(before);
		expect((await stat(join(folder, "token"))).mtimeMs).toBe(mtimeMs);
		expect(active()).toHaveLength(1);
	});

	it("is renewed past half its life; the old one goes on for an hour and is then revoked", async () => {
		const old = await text();
		accounts.pass(15 * DAY - HOUR);
		expect(await accounts.serviceToken.ensure()).toMatchObject({ renewed: false });
		accounts.pass(HOUR);
		expect(await accounts.serviceToken.ensure()).toMatchObject({ renewed: true });
		expect(await text()).not.toBe(old);
		for (const one of [old, await text()]) expect(await ask(bearer(one))).toMatchObject({ ok: true });
		accounts.pass(HOUR);
		await accounts.serviceToken.ensure();
		expect(await ask(bearer(old))).toMatchObject({ reason: "TOKEN_REVOKED" });
		expect(await ask(bearer(await text()))).toMatchObject({ ok: true });
	});

	it.each<[string, () => Promise<unknown>]>([
		["revoked", async () => accounts.tokens.revoke(ACTOR, (await identity()).credential)],
		["not in its file", () => rm(join(folder, "token"))],
		["overwritten", () => replaced("nonsense")],
		["another door's", async () => replaced(await foreign())],
		["somebody else's, who may do more", async () => replaced(await others())],
	])("is made anew when it is %s", async (_name, spoil) => {
		await spoil();
		expect(await accounts.serviceToken.ensure()).toMatchObject({ renewed: true });
		expect(await identity()).toMatchObject({ user: "inference-api", scope: "models" });
		expect(await accounts.serviceToken.ensure()).toMatchObject({ renewed: false });
	});

	it("gets its netrc back without being made anew", async () => {
		const before = await text();
		const netrc = await readFile(join(folder, "netrc"), "utf8");
		await rm(join(folder, "netrc"));
		expect(await accounts.serviceToken.ensure()).toMatchObject({ renewed: false });
		expect(await readFile(join(folder, "netrc"), "utf8")).toBe(netrc);
		expect(await text()).toBe(before);
	});

	it("is made once, however many ask and however often it cannot be delivered", async () => {
		await accounts.tokens.revoke(ACTOR, (await identity()).credential);
		await rm(folder, { recursive: true });
		const tries = Array.from({ length: 5 }, () => accounts.serviceToken.ensure());
		for (const one of await Promise.allSettled(tries))
			expect(one).toMatchObject({ status: "rejected", reason: { code: "SERVICE_FOLDER", status: 500 } });
		expect(active()).toHaveLength(1);
		folder = await mkdtemp(join(tmpdir(), "mlgate-test-service-"));
	});

	it("says nothing of itself in the log or the audit trail", async () => {
		const logged = accounts.logged();
		const trail = JSON.stringify(await accounts.database.query("select * from audit"));
		expect(trail).toContain("token.create");
		for (const secret of [await text(), (await text()).split(".")[2] ?? ""]) {
			expect(secret).not.toBe("");
			expect(logged).not.toContain(secret);
			expect(trail).not.toContain(secret);
		}
	});
});

it("is waited for while the database is away, and then made", async () => {
	await accounts.tokens.revoke(ACTOR, (await identity()).credential);
	await postgres.stop();
	await expect(accounts.serviceToken.ensure()).rejects.toMatchObject({ code: "DATABASE_AWAY" });
	await postgres.start();
	expect(await accounts.serviceToken.ensure()).toMatchObject({ renewed: true });
});

it("has an owner even where somebody has its name already", async () => {
	const database = await postgres.database();
	await schemaOf(database, 3);
	await database.query(
		"insert into users (id, name, role, created_at) values (gen_random_uuid(), 'inference-api', 'editor', now())",
	);
	const both = await startAccounts(database, { serviceFolder: folder });
	await both.serviceToken.ensure();
	const names = both.users.list().map(({ name }) => name);
	expect(names).toContain("inference-api");
	expect(names).toContainEqual(expect.stringMatching(/^inference-api-\w{8}$/));
	await both.remove();
});

it("a token whose row has an unknown scope is refused", async () => {
	await accounts.database.query("alter table tokens drop constraint tokens_scope_check");
	await accounts.database.query("update tokens set scope = 'everything'");
	const token = await text();
	accounts = await accounts.reopen();
	expect(await ask(bearer(token))).toMatchObject({ reason: "TOKEN_UNKNOWN" });
});

it("a token whose text claims more than its row is refused", async () => {
	const token = await text();
	await accounts.database.query("update tokens set scope = 'all'");
	accounts = await accounts.reopen();
	expect(await ask(bearer(token))).toMatchObject({ reason: "TOKEN_INVALID" });
});

it("a door without a folder for it has none", async () => {
	const without = await startAccounts(await postgres.database());
	await expect(without.serviceToken.ensure()).rejects.toMatchObject({ code: "SERVICE_NONE" });
	expect(without.tokens.list()).toEqual([]);
	await without.remove();
});

it("the scope lets read models and nothing else", () => {
	expect(outOfScope("models", "GET", "/api/2.0/mlflow/model-versions/get")).toBeUndefined();
	expect(outOfScope("models", "POST", "/api/2.0/mlflow/model-versions/create")).toBe("SCOPE_MODELS");
	expect(outOfScope("models", "GET", undefined)).toBe("SCOPE_MODELS");
	expect(outOfScope("all", "GET", undefined)).toBeUndefined();
});

async function replaced(content: string): Promise<void> {
	await chmod(join(folder, "token"), 0o644);
	await writeFile(join(folder, "token"), content);
}

/** The token of another door with the same name. */
async function foreign(): Promise<string> {
	const database: TestDatabase = await postgres.database();
	const there = await mkdtemp(join(tmpdir(), "mlgate-test-service-"));
	const other = await startAccounts(database, { serviceFolder: there });
	await other.serviceToken.ensure();
	const token = await readFile(join(there, "token"), "utf8");
	await other.remove();
	await rm(there, { recursive: true });
	return token;
}

/** A token of the operator's. */
const others = async () =>
	(await accounts.tokens.create(ACTOR, { name: "ci", role: "admin", user: "operator" })).text;
