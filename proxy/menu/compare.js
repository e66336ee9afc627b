// MLflow's comparison asks for its runs one by one, once its scripts have come, over the six connections that a browser
// has. What stands behind `#` names them before, so the door is asked for all of them while those scripts are still on
// their way, and what MLflow said of each is what the page's own question for it is answered with, once. Whatever is
// missing the page asks for as ever. See proxy/runs.
{
	const QUESTION = "ajax-api/2.0/mlflow/runs/get?run_id=";
	const RUN_ID = /^[0-9a-f]{32}$/;
	const NOTHING = new Map();

	/** As `CompareRunPage` reads it: `runs` comes first, and is a list in JSON. */
	const runsOf = (hash) => {
		const [, query] = /^#\/compare-runs\/?\?(runs=.*)$/.exec(hash) ?? [];
		try {
			const runs = JSON.parse(new URLSearchParams(query).get("runs"));
			return [...new Set(runs)].filter((run) => typeof run === "string" && RUN_ID.test(run));
		} catch {
			return [];
		}
	};

	/** What MLflow said, by run; undefined: the door has not answered. */
	const ask = async (runs) => {
		try {
			const answer = await ours(`/door/runs?${new URLSearchParams(runs.map((run) => ["run_id", run]))}`);
			if (!answer.ok) return undefined;
			return new Map((await answer.json()).runs.map((said) => [said.run_id, said]));
		} catch {
			return undefined;
		}
	};

	const ours = window.fetch;
	const { hash } = location;
	const runs = runsOf(hash);
	const most = Number(document.currentScript.dataset.most);
	/** By run that the page has not asked for yet. */
	const waiting = new Map();
	let before = Promise.resolve(NOTHING);
	for (let at = 0; at < runs.length; at += most) {
		const some = runs.slice(at, at + most);
		// Very many runs are as many questions, in turn. Where the door does not answer one, it is not asked for more.
		const answers = before.then((last) => last && ask(some));
		before = answers;
		for (const run of some) waiting.set(run, answers);
	}

	/** The answer that `runs/get` would have had. */
	const answerOf = ({ status, content_type, body }) =>
		new Response(body, { status, headers: content_type === null ? {} : { "content-type": content_type } });

	const instead = function (...question) {
		const [url, init] = question;
		const plain = (init?.method ?? "GET") === "GET" && !init?.signal;
		const run = plain && String(url).startsWith(QUESTION) ? url.slice(QUESTION.length) : undefined;
		// Once the page has gone elsewhere, what was asked for it is old.
		if (location.hash !== hash) waiting.clear();
		const answers = waiting.get(run);
		waiting.delete(run);
		if (waiting.size === 0 && window.fetch === instead) window.fetch = ours;
		const itself = () => Reflect.apply(ours, this, question);
		if (answers === undefined) return itself();
		// No answer of the door's, or none about this run.
		return answers.then((said) => answerOf(said.get(run))).catch(itself);
	};

	if (waiting.size > 0) window.fetch = instead;
}
