import { describe, expect, it } from "vitest";
import { apiSettings } from "../../../infra/api-settings.ts";
import { parseSettings } from "../../../infra/settings.ts";

const of = (raw: Record<string, string>) => apiSettings(parseSettings(raw, "local"));

describe("what the settings leave open about the inference API", () => {
	it("is what the reference API is like, if it is that", () => {
		expect(of({})).toMatchObject({ image: "", health: "", ready: "/ready", reload: "follows" });
	});

	it("is guessed with care for somebody else's image: it is asked at /health and started anew", () => {
		const image = "team/model:1";
		expect(of({ "api.image": image })).toMatchObject({
			image,
			health: "/health",
			ready: "/health",
			reload: "restart",
		});
	});

	it("is as said, if it is said", () => {
		const image = "team/model:1";
		expect(of({ "api.image": image, "api.reload": "follows" }).reload).toBe("follows");
		expect(of({ "api.reload": "restart" }).reload).toBe("restart");
		expect(of({ "api.image": image, "api.health": "/alive", "api.ready": "/similar" })).toMatchObject({
			health: "/alive",
			ready: "/similar",
		});
	});

	it("cannot ask a command over the network: then being healthy is enough", () => {
		expect(of({ "api.image": "team/model:1", "api.health": "pgrep model" })).toMatchObject({
			health: "pgrep model",
			ready: "",
		});
	});
});
