/**
 * What a route alone decides is decided once. There are some two hundred routes, and they last as long as the door;
 * requests come by the thousand, and each would look into the same tables.
 */
export function perRoute<R extends object, T>(decide: (route: R) => T): (route: R) => T {
	const decided = new WeakMap<R, T>();
	return (route) => {
		const known = decided.get(route);
		if (known !== undefined || decided.has(route)) return known as T;
		const fresh = decide(route);
		decided.set(route, fresh);
		return fresh;
	};
}
