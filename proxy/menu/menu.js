// Notices that the session is over while MLflow's page stays open, and offers the one way back. Everything else of
// the strip is plain HTML. It watches what the page fetches (status codes alone) and changes nothing of it.
const strip = document.querySelector(".mlgate-strip");
const again = strip?.querySelector(".again");
let asking = false;

async function look() {
	if (asking || !again?.hidden) return;
	asking = true;
	try {
		const { status } = await fetch("/door/whoami", { cache: "no-store" });
		if (status === 401) {
			for (const entry of strip.children) entry.hidden = entry !== again && !entry.classList.contains("over");
			strip.classList.add("out");
		}
	} catch {
		// No network is no answer.
	} finally {
		asking = false;
	}
}

// What stands behind `#` is where MLflow was; the sign-in page keeps it.
again?.addEventListener("click", () => {
	again.href = `/login?next=%2F${location.hash}`;
});

new PerformanceObserver((list) => {
	if (list.getEntries().some(({ responseStatus }) => responseStatus === 401)) look();
}).observe({ type: "resource" });
// Not every browser tells the status; all of them tell when somebody comes back to the page.
addEventListener("pageshow", ({ persisted }) => {
	if (persisted) look();
});
document.addEventListener("visibilitychange", () => {
	if (!document.hidden) look();
});
