import { expect, it } from "vitest";
import { perRoute } from "../../../proxy/routes/per-route.ts";

it("decides once for each route, whatever the decision is", () => {
	const asked: string[] = [];
	const decide = perRoute(({ rule }: { rule: string }) => {
		asked.push(rule);
		return rule === "/none" ? undefined : rule.length;
	});
	const [one, none] = [{ rule: "/one" }, { rule: "/none" }];
	expect([decide(one), decide(none), decide(one), decide(none)]).toEqual([4, undefined, 4, undefined]);
	expect(asked).toEqual(["/one", "/none"]);
	// Equal is not the same.
	expect(decide({ rule: "/one" })).toBe(4);
	expect(asked).toHaveLength(3);
});
