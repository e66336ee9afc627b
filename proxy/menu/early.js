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
const { first, later } = parts[name] ?? { first: [], later: [] };

function preload(file, priority) {
	const link = document.createElement("link");
	link.rel = "preload";
	link.as = file.endsWith(".css") ? "style" : "script";
	link.fetchPriority = priority;
	link.href = `static-files/${file}`;
	document.head.append(link);
}

for (const file of first) preload(file, "auto");
// MLflow asks for these when it draws, which on a large page is seconds after everything else has come. The line is
// idle as soon as the page has loaded.
addEventListener("load", () => {
	for (const file of later) preload(file, "low");
});
