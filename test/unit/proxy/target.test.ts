import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { canonicalQuery, canonicalTarget } from "../../../proxy/gate/target.ts";
import { match, TAILS } from "../../../proxy/routes/match.ts";

const API = "/api/2.0/mlflow-artifacts/artifacts";
const canonical = (raw: string, method = "GET") => canonicalTarget(method, raw, TAILS);
const outcome = (raw: string, method = "GET") => {
	const found = canonical(raw, method);
	return "refused" in found ? found.refused : found.forward;
};

describe("spellings that MLflow's server takes for a route, or that other parsers read differently", () => {
	test.each([
		["/api/2.0/mlflow/runs/del%65te", "TARGET_NOT_CANONICAL"],
		["/api/2.0/mlflow%2Fruns%2Fdelete", "TARGET_ENCODED_SLASH"],
		["/api%2f2.0/mlflow/runs/delete", "TARGET_ENCODED_SLASH"],
		["//api/2.0/mlflow/runs/delete", "TARGET_EMPTY_SEGMENT"],
		["///api/2.0/mlflow/runs/delete", "TARGET_EMPTY_SEGMENT"],
		["http://evil/api/2.0/mlflow/runs/delete", "TARGET_FORM"],
		["http://door.test:5000/api/2.0/mlflow/runs/delete", "TARGET_FORM"],
		["evil:80", "TARGET_FORM"],
		["*", "TARGET_FORM"],
		["", "TARGET_FORM"],
		["/api/2.0/mlflow/runs/delete#f", "TARGET_FRAGMENT"],
		["/api/2.0/mlflow/runs/delete?a=b#f", "TARGET_FRAGMENT"],
		["/api//2.0/mlflow/runs/delete", "TARGET_EMPTY_SEGMENT"],
		["/x/../api/2.0/mlflow/runs/delete", "TARGET_DOT_SEGMENT"],
		["/./api/2.0/mlflow/runs/delete", "TARGET_DOT_SEGMENT"],
		["/api/2.0/mlflow/runs/delete/.", "TARGET_DOT_SEGMENT"],
		["/api/2.0/mlflow/runs/delete/..", "TARGET_DOT_SEGMENT"],
		["/%2e/api/2.0/mlflow/runs/delete", "TARGET_NOT_CANONICAL"],
		["/x/%2E%2e/api/2.0/mlflow/runs/delete", "TARGET_NOT_CANONICAL"],
		["/api/2.0/mlflow/runs/delete;x=1", "TARGET_PARAMETERS"],
		["/api/2.0/mlflow/runs\\delete", "TARGET_BACKSLASH"],
		["/api/2.0/mlflow/runs%5cdelete", "TARGET_BACKSLASH"],
		["/api/2.0/mlflow/runs/delete%00", "TARGET_NOT_CANONICAL"],
		["/api/2.0/mlflow/runs/delete%20", "TARGET_NOT_CANONICAL"],
		["/api/2.0/mlflow/runs/delete%", "TARGET_ENCODING"],
		["/api/2.0/mlflow/runs/delete%zz", "TARGET_ENCODING"],
		["/api/2.0/mlflow/runs/del\tete", "TARGET_CHARACTER"],
		["/api/2.0/mlflow/runs/delet\u00e9", "TARGET_CHARACTER"],
		["/api/2.0/mlflow/runs/delete\u0000", "TARGET_CHARACTER"],
		["/api/2.0/mlflow/runs/delete\u007f", "TARGET_CHARACTER"],
		["/api/2.0/mlflow/runs/[delete]", "TARGET_CHARACTER"],
		["/static-files/..%2f..%2fetc", "TARGET_ENCODED_SLASH"],
		["/static-files/%2e%2e/x", "TARGET_NOT_CANONICAL"],
	])("%j is refused as %s", (raw, code) => {
		expect(outcome(raw)).toBe(code);
		expect(outcome(raw, "POST")).toBe(code);
	});

	test.each([
		"/api/2.0/mlflow/runs/delete/",
		"/api/2.0/mlflow/runs/DELETE",
		"/API/2.0/mlflow/runs/delete",
		"/api/2.0mlflow/runs/delete",
		"/api/2.0/preview/mlflow/runs/delete",
		"/api/3.0/mlflow/runs/delete",
		"/static-files/",
	])("%s is canonical, and no route", (raw) => {
		const target = canonical(raw, "POST");
		if ("refused" in target) throw new Error(target.refused);
		expect(match("POST", target)).toBeUndefined();
		expect(match("GET", target)).toBeUndefined();
	});

	test("the plain route passes as it is", () => {
		const target = canonical("/api/2.0/mlflow/runs/delete", "POST");
		expect(target).toEqual({
			path: "/api/2.0/mlflow/runs/delete",
			prefix: undefined,
			forward: "/api/2.0/mlflow/runs/delete",
			query: "",
		});
		expect("refused" in target ? undefined : match("POST", target)?.class).toBe("delete-soft");
	});

	test("the literal braces of MLflow's unfinished trace routes are encoded on the way", () => {
		expect(outcome("/api/2.0/mlflow/traces/{request_id}/info")).toBe(
			"/api/2.0/mlflow/traces/%7Brequest_id%7D/info",
		);
		expect(outcome("/api/2.0/mlflow/traces/%7Brequest_id%7D/info")).toBe("TARGET_NOT_CANONICAL");
	});
});

describe("names of artifacts", () => {
	test.each([
		["1/abc/artifacts/model.pkl", "1/abc/artifacts/model.pkl", "1/abc/artifacts/model.pkl"],
		["1/a%20b%23c%25d.txt", "1/a b#c%d.txt", "1/a%20b%23c%25d.txt"],
		["1/weights%20v1%23%C3%A9.bin", "1/weights v1#é.bin", "1/weights%20v1%23%C3%A9.bin"],
		["1/del%65te", "1/delete", "1/delete"],
		["1/%F0%9F%8D%B0.png", "1/🍰.png", "1/%F0%9F%8D%B0.png"],
		["1/a+b=c,d;e@f:g&h", "1/a+b=c,d;e@f:g&h", "1/a%2Bb%3Dc%2Cd%3Be%40f%3Ag%26h"],
		['1/"<x>"|[y]^`', '1/"<x>"|[y]^`', "1/%22%3Cx%3E%22%7C%5By%5D%5E%60"],
		["1/it's(1)!~*", "1/it's(1)!~*", "1/it's(1)!~*"],
		["1/100%25", "1/100%", "1/100%25"],
		["1/img%25step%253.png", "1/img%step%3.png", "1/img%25step%253.png"],
		["1/..a/b..", "1/..a/b..", "1/..a/b.."],
		["1/.hidden", "1/.hidden", "1/.hidden"],
		["1/a%3Fb", "1/a?b", "1/a%3Fb"],
	])("%s means %s", (raw, name, sent) => {
		for (const twin of [API, `/ajax-${API.slice(1)}`]) {
			expect(canonical(`${twin}/${raw}`)).toEqual({
				path: `${twin}/${name}`,
				prefix: `${twin}/`,
				forward: `${twin}/${sent}`,
				query: "",
			});
		}
	});

	test.each([
		["", "ARTIFACT_EMPTY"],
		["/", "TARGET_EMPTY_SEGMENT"],
		["a/", "TARGET_EMPTY_SEGMENT"],
		["a//b", "TARGET_EMPTY_SEGMENT"],
		["/etc", "TARGET_EMPTY_SEGMENT"],
		["%2fetc", "TARGET_ENCODED_SLASH"],
		["a%2Fb", "TARGET_ENCODED_SLASH"],
		[".", "TARGET_DOT_SEGMENT"],
		["./.", "TARGET_DOT_SEGMENT"],
		["..", "TARGET_DOT_SEGMENT"],
		["%2e", "TARGET_DOT_SEGMENT"],
		["%2E%2e/x", "TARGET_DOT_SEGMENT"],
		["a/../b", "TARGET_DOT_SEGMENT"],
		["a/%2e%2e/b", "TARGET_DOT_SEGMENT"],
		["a/..", "TARGET_DOT_SEGMENT"],
		// MLflow decodes again, up to ten times
		["%252e", "TARGET_DOT_SEGMENT"],
		["%25252e%25252e/x", "TARGET_DOT_SEGMENT"],
		["a/%252e%252e%252fb", "TARGET_DOT_SEGMENT"],
		["%252fetc", "TARGET_EMPTY_SEGMENT"],
		["a%255cb", "TARGET_BACKSLASH"],
		["a%2500b", "TARGET_CHARACTER"],
		[`a%${"25".repeat(12)}41`, "ARTIFACT_AMBIGUOUS"],
		// It drops what is empty at the end and blank at the beginning
		["%20", "ARTIFACT_AMBIGUOUS"],
		["%20.", "ARTIFACT_AMBIGUOUS"],
		["%3F", "ARTIFACT_AMBIGUOUS"],
		[".%3F", "ARTIFACT_AMBIGUOUS"],
		["..%3B", "ARTIFACT_AMBIGUOUS"],
		[".%23", "ARTIFACT_AMBIGUOUS"],
		[".;", "ARTIFACT_AMBIGUOUS"],
		["%252520", "ARTIFACT_AMBIGUOUS"],
		["a/%20/b", "ARTIFACT_AMBIGUOUS"],
		// and takes this for a scheme
		["file:.", "ARTIFACT_AMBIGUOUS"],
		["FILE:", "ARTIFACT_AMBIGUOUS"],
		["%66ile:x", "ARTIFACT_AMBIGUOUS"],
		["%2566ile:x", "ARTIFACT_AMBIGUOUS"],
		["a\\b", "TARGET_BACKSLASH"],
		["a%5Cb", "TARGET_BACKSLASH"],
		["a%00b", "TARGET_CHARACTER"],
		["a%0Ab", "TARGET_CHARACTER"],
		["a%09b", "TARGET_CHARACTER"],
		["a%7Fb", "TARGET_CHARACTER"],
		["a%C2%85b", "TARGET_CHARACTER"],
		["a%", "TARGET_ENCODING"],
		["a%4", "TARGET_ENCODING"],
		["a%zz", "TARGET_ENCODING"],
		["a%ff", "TARGET_ENCODING"],
		["a%C3", "TARGET_ENCODING"],
		["a%C0%AFb", "TARGET_ENCODING"],
		["a%ED%A0%80", "TARGET_ENCODING"],
	])("%j is refused whoever asks, whatever the method", (raw, code) => {
		for (const method of ["GET", "HEAD", "PUT", "DELETE", "POST"]) {
			expect(outcome(`${API}/${raw}`, method)).toBe(code);
		}
	});

	test.each(["a%2541", "a%3Fb", "a%23b", "a;b", "a:b", "%20a", "a%20", "x/%20a", "x%20/a"])(
		"%s cannot be deleted: MLflow would delete something else",
		(raw) => {
			expect(outcome(`${API}/1/${raw}`, "DELETE")).toBe("ARTIFACT_AMBIGUOUS");
			expect(outcome(`${API}/1/${raw}`, "PUT")).toMatch(/^\/api/);
		},
	);

	test("plain names can be deleted", () => {
		expect(outcome(`${API}/1/abc/artifacts/my%20model%20(v2).pkl`, "DELETE")).toBe(
			`${API}/1/abc/artifacts/my%20model%20(v2).pkl`,
		);
	});
});

describe("query strings", () => {
	test.each([
		["", ""],
		["a=b", "a=b"],
		["a=b&a=c&b=", "a=b&a=c&b="],
		["run_ids=x&run_ids=y&metric_key=loss/val", "run_ids=x&run_ids=y&metric_key=loss/val"],
		["filter=run_id%20IN%20('a','b')", "filter=run_id%20IN%20('a','b')"],
		["filter=name+LIKE+%27x%25%27", "filter=name%20LIKE%20'x%25'"],
		["experiment_ids[]=0", "experiment_ids%5B%5D=0"],
		["experiment_ids%5b%5d=0", "experiment_ids%5B%5D=0"],
		["a", "a="],
		["a=b=c", "a=b%3Dc"],
		["&&a=1&&b=2&", "a=1&b=2"],
		["a=%3B;b", "a=%3B%3Bb"],
		["a=1%26b=2", "a=1%26b%3D2"],
		["a=%C3%A9", "a=%C3%A9"],
		["a=x%0Ay", "a=x%0Ay"],
		["a=%2Fx%3A", "a=/x:"],
		["?", "?="],
	])("%j goes out as %j", (raw, sent) => expect(canonicalQuery(raw)).toBe(sent));

	test.each(["a=%", "a=%4", "a=%zz", "a=%ff", "a=%00", "%00=a", "a=%C0%80"])("%j is refused", (raw) => {
		expect(canonicalQuery(raw)).toBeUndefined();
		expect(outcome(`/get-artifact?${raw}`)).toBe("QUERY_ENCODING");
	});
});

/** What gunicorn and Werkzeug make of a request line's target: split at `?`, decode each byte once. */
function wsgiPath(target: string): string {
	const path = target.split("?")[0] ?? "";
	const bytes: number[] = [];
	for (let i = 0; i < path.length; i++) {
		const hex = /^%[0-9A-Fa-f]{2}/.exec(path.slice(i, i + 3));
		bytes.push(hex ? Number.parseInt(path.slice(i + 1, i + 3), 16) : path.charCodeAt(i));
		if (hex) i += 2;
	}
	return Buffer.from(bytes).toString("utf8");
}

const piece = fc.oneof(
	fc.constantFrom(
		...[
			"/",
			"//",
			".",
			"..",
			"%2e",
			"%2E%2E",
			"%2f",
			"%5c",
			"\\",
			";",
			"#",
			"?",
			"&",
			"=",
			"+",
			"%",
			"%25",
			"%00",
		],
		...["%20", "%c3%a9", "%ff", "é", " ", "\t", "\0", "a", "B", "~", "{", "}", "file:", "http://evil"],
		...["/api/2.0/mlflow/runs/delete", "/api/2.0/mlflow-artifacts/artifacts/", "/static-files/", "/graphql"],
		...["/ajax-api/2.0/mlflow-artifacts/mpu/create/", "/ajax-api/2.0/mlflow/runs/search"],
	),
	fc.string({ maxLength: 4 }),
	fc.string({ unit: "grapheme", maxLength: 3 }).map((text) => {
		try {
			return encodeURIComponent(text);
		} catch {
			return "x";
		}
	}),
);
const targets = fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join(""));
const rooted = fc.oneof(
	targets,
	targets.map((text) => `/${text}`),
	targets.map((text) => `${API}/${text}`),
);
const methods = fc.constantFrom("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS");

describe("for any target", () => {
	test("the path that is authorised is the path that MLflow decodes", () => {
		let passed = 0;
		fc.assert(
			fc.property(methods, rooted, (method, raw) => {
				const found = canonical(raw, method);
				if ("refused" in found) return;
				passed++;
				expect(wsgiPath(found.forward)).toBe(found.path);
			}),
			{ numRuns: 20_000 },
		);
		// The generator must not live on refusals alone.
		expect(passed).toBeGreaterThan(2_000);
	});

	test("what is sent on is canonical itself, and matches the same route", () => {
		fc.assert(
			fc.property(methods, rooted, (method, raw) => {
				const found = canonical(raw, method);
				if ("refused" in found) return;
				// Braces go out encoded, and stand for the same literal route.
				const again = canonical(found.forward.replaceAll("%7B", "{").replaceAll("%7D", "}"), method);
				expect(again).toEqual({ ...found });
				if ("refused" in again) return;
				expect(match(method, again)).toBe(match(method, found));
			}),
			{ numRuns: 20_000 },
		);
	});

	test("what is sent on holds nothing that a second parser could read differently", () => {
		fc.assert(
			fc.property(methods, rooted, (method, raw) => {
				const found = canonical(raw, method);
				if ("refused" in found) return;
				expect(found.forward).toMatch(/^\/(?!\/)[\x21-\x7e]*$/);
				const sent = found.forward.split("?")[0];
				expect(sent).not.toMatch(/[#\\]|%2f|%5c|%00/i);
				expect(new URL(found.forward, "http://door").pathname).toBe(sent);
				expect(found.path).not.toMatch(/(?:^|\/)\.{1,2}(?:\/|$)|\/\//);
			}),
			{ numRuns: 20_000 },
		);
	});

	test("a name survives the way through, whatever it is made of", () => {
		fc.assert(
			fc.property(fc.string({ unit: "grapheme", minLength: 1, maxLength: 12 }), (name) => {
				if (!name.isWellFormed()) return;
				const found = canonical(`${API}/1/${name.split("/").map(encodeURIComponent).join("/")}`);
				if ("refused" in found) return;
				expect(found.path).toBe(`${API}/1/${name}`);
			}),
			{ numRuns: 5_000 },
		);
	});
});
