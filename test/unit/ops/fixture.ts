/** A command line of its own for tests of the frame: `fixture.ts <command>`, in the checkout $CHECKOUT. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { defineCommand, wholeNumber } from "../../../ops/lib/command.ts";
import { OpsError } from "../../../ops/lib/errors.ts";
import { run } from "../../../ops/lib/run.ts";
import { sleep } from "../../../ops/lib/sleep.ts";

const TOKEN = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJjaSJ9.c2lnbmF0dXJl";

const answer = defineCommand({
	name: "answer",
	summary: "succeeds",
	options: { count: { value: "n", summary: "a number", parse: wholeNumber({ min: 1, max: 9 }) } },
	locks: false,
	async run({ report, stack }, _args, { count }) {
		await report.step("Working", async ({ detail }) => detail(`a tool printed ${TOKEN}`));
		report.note("A note");
		return { json: { stack, count, token: TOKEN }, text: TOKEN };
	},
});

const refuse = defineCommand({
	name: "refuse",
	summary: "fails with a known error",
	locks: true,
	async run() {
		const cause = new Error("outer", { cause: new Error("the deepest cause") });
		throw new OpsError(
			{
				code: "TEST_REFUSED",
				kind: "precondition",
				what: "It is refused.",
				why: "A test says so.",
				fix: "npm start",
			},
			{ cause },
		);
	},
});

const die = defineCommand({
	name: "die",
	summary: "fails because a part did",
	arguments: { part: { summary: "which", variadic: true, choices: ["heart", "lung"] } },
	locks: false,
	async run(_context, { part }) {
		throw new OpsError({
			code: "TEST_DIED",
			kind: "unhealthy",
			what: "It died.",
			fix: "npm start",
			said: { by: part.join(" and ") || "nobody", lines: ["goodbye", `token ${TOKEN}`] },
		});
	},
});

const crash = defineCommand({
	name: "crash",
	summary: "fails with an unknown error",
	locks: true,
	async run() {
		throw new TypeError("something nobody thought of");
	},
});

const sick = defineCommand({
	name: "sick",
	summary: "answers with bad news",
	locks: false,
	run: async () => ({ json: { verdict: "unhealthy" }, text: "unhealthy", exit: "unhealthy" }),
});

/** Holds the lock until it is interrupted; then finishes what it has begun. */
const hold = defineCommand({
	name: "hold",
	summary: "works until interrupted",
	arguments: { marks: { summary: "folder for marks" } },
	locks: true,
	async run({ report, interrupted }, { marks }) {
		// Like Pulumi: told once it ends in order, told twice it drops everything.
		const child = spawn(
			process.execPath,
			[
				"-e",
				`let told = 0;
				process.on("SIGINT", () => {
					if (++told > 1) process.exit(9);
					setTimeout(() => { require("fs").writeFileSync(${JSON.stringify(`${marks}/child`)}, "ended"); process.exit(0); }, 500);
				});
				setInterval(() => {}, 1000);
				console.log("ready");`,
			],
			{ stdio: ["ignore", "pipe", "inherit"] },
		);
		await once(child.stdout, "data");
		const ended = once(child, "exit");
		report.note("holding");
		try {
			await sleep(600_000, interrupted);
		} finally {
			await ended;
			writeFileSync(`${marks}/command`, "ended");
		}
		return undefined;
	},
});

const stubborn = defineCommand({
	name: "stubborn",
	summary: "does not listen",
	locks: true,
	async run({ report }) {
		report.note("holding");
		await sleep(600_000);
		return undefined;
	},
});

const stuck = defineCommand({
	name: "stuck",
	summary: "never gets out of its step",
	locks: true,
	async run({ report }) {
		await report.step("Done before", async () => {});
		await report.step("Getting stuck", () => sleep(600_000));
		return undefined;
	},
});

const endless = defineCommand({
	name: "endless",
	summary: "prints for ever",
	locks: false,
	async run({ print, interrupted }) {
		while (!interrupted.aborted) {
			print("line\n");
			await sleep(1);
		}
		return undefined;
	},
});

const parallel = defineCommand({
	name: "parallel",
	summary: "two steps side by side",
	locks: false,
	async run({ report }) {
		const first = report.step("First", () => sleep(200));
		const second = report.step("Second", () => sleep(400));
		report.note("A note in between");
		await Promise.all([first, second]);
		return undefined;
	},
});

const group = {
	name: "things",
	summary: "a group",
	commands: [
		defineCommand({
			name: "add",
			summary: "adds",
			locks: false,
			run: async () => ({ json: { added: true } }),
		}),
	],
};

const graceMs = Number(process.env.GRACE_MS ?? 180_000);
process.exit(
	await run(
		[answer, refuse, die, crash, sick, hold, stubborn, stuck, endless, parallel, group],
		process.argv.slice(2),
		{
			checkout: process.env.CHECKOUT ?? "",
			graceMs,
		},
	),
);
