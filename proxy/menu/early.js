// MLflow's page learns which of its parts it needs when its main script runs. What stands behind `#` says so before,
// so they are fetched while that script is still on its way. They are the same files by the same names: a browser
// that does not understand this fetches them when it is told to.
/** By the name that MLflow's routes have in its own code. */
const PAGES = [
	["compareRuns", /^#\/compare-runs\b/],
	["runPageWithTab", /^#\/experiments\/[^/?]+\/runs\//],
	["experimentPage", /^(?:$|#\/?$|#\/experiments\b)/],
	["modelVersionPage", /^#\/models\/[^/?]+\/versions\//],
	["modelPage", /^#\/models\/[^/?]+/],
	["modelListPage", /^#\/models\b/],
];

const parts = JSON.parse(document.currentScript.dataset.parts);
const [name] = PAGES.find(([, hash]) => hash.test(location.hash)) ?? [];
for (const file of parts[name] ?? []) {
	const link = document.createElement("link");
	link.rel = "preload";
	link.as = file.endsWith(".css") ? "style" : "script";
	link.href = `static-files/${file}`;
	document.head.append(link);
}
