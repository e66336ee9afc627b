import { describe, expect, test } from "vitest";
import { fromEvents, meaningOf } from "../../../ops/lib/deaths.ts";

const SECOND = 1e9;
const event = (Action: string, second: number, Attributes: Record<string, string> = {}, ID = "one") => ({
	Action,
	timeNano: second * SECOND,
	Actor: { ID, Attributes },
});
const words = (...events: ReturnType<typeof event>[]) =>
	fromEvents(events).map((death) => meaningOf(death, "mlflow").words);

describe("what the engine's events mean", () => {
	test("an end after a signal is somebody's doing, with the signal", () => {
		const stop = [event("kill", 1, { signal: "15" }), event("die", 3, { exitCode: "0" })];
		expect(fromEvents(stop)).toEqual([
			{ at: "1970-01-01T00:00:03.000Z", exitCode: 0, oom: false, signal: 15 },
		]);
		expect(words(...stop)[0]).toContain("told to stop (SIGTERM)");
		expect(words(event("kill", 1, { signal: "9" }), event("die", 2, { exitCode: "137" }))[0]).toContain(
			"docker kill",
		);
	});

	test("memory is named before everything else", () => {
		const [death] = fromEvents([event("oom", 1), event("die", 2, { exitCode: "137" })]);
		expect(death && meaningOf(death, "mlflow")).toEqual({
			words: expect.stringContaining("more memory"),
			fix: expect.stringContaining("config set mlflow.memory"),
		});
	});

	test("a signal of before the last end, or to another container, explains nothing", () => {
		const later = words(
			event("kill", 1, { signal: "15" }),
			event("die", 2, { exitCode: "0" }),
			event("die", 9, { exitCode: "1" }),
		);
		expect(later[1]).toContain("failed with exit code 1");
		expect(
			words(event("kill", 1, { signal: "9" }, "other"), event("die", 2, { exitCode: "137" }))[0],
		).toContain("killed from outside");
	});

	test("our parts' own refusal points to their last lines", () => {
		expect(words(event("die", 2, { exitCode: "64" }))[0]).toContain("refused to start");
	});
});
