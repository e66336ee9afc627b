/** What is done once a response has closed: by one listener, for all who asked for it, whatever closed it. */
import { once } from "node:events";
import { createServer, request, type ServerResponse } from "node:http";
import { expect, test } from "vitest";
import { onceClosed } from "../../../proxy/closed.ts";

/** A response of a real server to a real client, and a way to make the client leave. */
async function respond(work: (res: ServerResponse) => void): Promise<{ res: ServerResponse; leave(): void }> {
	const answered = Promise.withResolvers<ServerResponse>();
	const server = createServer((_req, res) => {
		work(res);
		answered.resolve(res);
	});
	await once(server.listen(0, "127.0.0.1"), "listening");
	const at = server.address();
	const asking = request({ host: "127.0.0.1", port: typeof at === "object" ? at?.port : 0 });
	asking.on("error", () => {}).on("response", (answer) => answer.resume());
	asking.end();
	const res = await answered.promise;
	res.once("close", () => server.close());
	return { res, leave: () => asking.destroy() };
}

test("everybody is told, once and in order, when the whole answer has gone out", async () => {
	const told: string[] = [];
	const { res } = await respond((one) => {
		for (const name of ["first", "second", "third"]) onceClosed(one, () => told.push(name));
	});
	expect(res.listenerCount("close")).toBeLessThanOrEqual(2);
	expect(told).toEqual([]);
	res.end("whole");
	await once(res, "close");
	expect(told).toEqual(["first", "second", "third"]);
	res.emit("close");
	expect(told).toEqual(["first", "second", "third"]);
});

test("everybody is told when the client leaves before there is an answer", async () => {
	const told: string[] = [];
	const { res, leave } = await respond((one) => {
		onceClosed(one, () => told.push("begun"));
	});
	onceClosed(res, () => told.push("later"));
	leave();
	await once(res, "close");
	expect(told).toEqual(["begun", "later"]);
	expect(res.writableFinished).toBe(false);
});

test("responses do not hear of each other", async () => {
	const told: string[] = [];
	const one = await respond((res) => onceClosed(res, () => told.push("one")));
	const other = await respond((res) => onceClosed(res, () => told.push("other")));
	other.res.end();
	await once(other.res, "close");
	expect(told).toEqual(["other"]);
	one.res.end();
	await once(one.res, "close");
	expect(told).toEqual(["other", "one"]);
});
