import { describe, expect, test } from "vitest";
import { mustAnswer, stackPort, token } from "../support/mlgate.ts";

describe("npx mlgate train", () => {
	test("logs a real run through the door, and its JSON names what the server holds", async () => {
		const said = await mustAnswer(["train", "--epochs", "3"]);
		expect(said).toMatchObject({ experiment: "ingredient-embeddings", model: "flavor-ml-embeddings" });
		expect(said.runs).toHaveLength(1);
		const [logged] = said.runs;

		const uri = `http://localhost:${await stackPort()}`;
		const headers = { authorization: `Bearer ${await token("viewer", "reader")}` };
		const get = async (path: string) => (await fetch(uri + path, { headers })).json() as Promise<never>;
		const { run } = (await get(`/api/2.0/mlflow/runs/get?run_id=${logged.run_id}`)) as {
			run: {
				info: { experiment_id: string; status: string };
				data: Record<string, { key: string; value: unknown }[]>;
			};
		};
		const value = (list: "params" | "metrics" | "tags", key: string) =>
			run.data[list]?.find((entry) => entry.key === key)?.value;
		expect(run.info).toMatchObject({ experiment_id: said.experiment_id, status: "FINISHED" });
		expect(value("params", "epochs")).toBe("3");
		expect(Number(value("params", "corpus_recipes"))).toBeGreaterThan(200);
		expect(value("metrics", "heldout_hit_at_10")).toBe(logged.metrics.heldout_hit_at_10);
		expect(value("tags", "mlflow.source.git.commit")).toMatch(/^[0-9a-f]{40}$/);

		const history = (await get(
			`/api/2.0/mlflow/metrics/get-history?run_id=${logged.run_id}&metric_key=loss`,
		)) as {
			metrics: { value: number; step: number }[];
		};
		const losses = history.metrics
			.sort((a, b) => Number(a.step) - Number(b.step))
			.map((point) => point.value);
		expect(losses).toHaveLength(3);
		expect(losses[2]).toBeLessThan(losses[0] ?? 0);

		const { model_version } = (await get(
			`/api/2.0/mlflow/model-versions/get?name=flavor-ml-embeddings&version=${logged.model_version}`,
		)) as { model_version: { run_id: string } };
		expect(model_version.run_id).toBe(logged.run_id);
		const artifact = await fetch(
			`${uri}/get-artifact?path=embeddings/ingredient-embeddings.bin&run_uuid=${logged.run_id}`,
			{ headers },
		);
		const header = (await answerBytes(artifact)).subarray(0, 16).toString("latin1");
		expect(header).toMatch(/^\d+ 16\n/);
	});

	test("the token it used is revoked afterwards", async () => {
		const { tokens } = (await mustAnswer(["tokens", "list"])) as {
			tokens: { name: string; state: string }[];
		};
		const used = tokens.filter(({ name }) => /^train-\d/.test(name));
		expect(used.length).toBeGreaterThan(0);
		expect(new Set(used.map(({ state }) => state))).toEqual(new Set(["revoked"]));
	});
});

async function answerBytes(answer: Response): Promise<Buffer> {
	expect(answer.status).toBe(200);
	return Buffer.from(await answer.arrayBuffer());
}
