/**
 * What each image is made of, and the name that follows from it.
 *
 * An image is named after its content (`mlgate-<image>:<hash>`): the Pulumi program asks for a name, `ops` builds
 * whatever does not exist yet, and neither has to tell the other. This module reads files and does nothing else.
 */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Image } from "./contract.ts";

/** The checkout. */
const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** The Debian every image stands on, as the registries know it. */
const BASE_DIGEST = "sha256:96e378d7e6531ac9a15ad505478fcc2e69f371b10f5cdf87857c4b8188404716";

/** `pull`: reference for `docker pull`. `suite`: what debootstrap makes where no registry answers. */
export const BASE: { pull: string; suite: string } = {
	pull: `debian:bookworm-slim@${BASE_DIGEST}`,
	suite: "bookworm",
};

/** A program built on the host by Go (`CGO_ENABLED=0`, `-trimpath`) and put into the context as `bin/<output>`. */
export interface GoBinary {
	/** Folder in the repository that holds go.mod; the build runs there. */
	module: string;
	/** Import path, or a path like `./store`. */
	package: string;
	tags?: string;
	ldflags?: string;
	/** File name under `bin/`. */
	output: string;
}

/** What the build context of an image consists of. */
export interface Recipe {
	/** Folder in the repository with the Dockerfile; its content is the root of the context. */
	folder: string;
	/** Further files or folders: `from` in the repository, `to` in the context. */
	extras: readonly { from: string; to: string }[];
	go?: readonly GoBinary[];
	/**
	 * The context also gets `bin/node` and the production `node_modules`. Such a recipe has package.json and
	 * package-lock.json among its extras, at the root of the context: they pin both.
	 */
	node?: boolean;
	/** Images of ours that a stage takes files from: each is the build argument `<IMAGE>_IMAGE`. */
	takesFrom?: readonly Image[];
}

const MINIO_MODULE = "infra/images/minio";

const TAILSCALE_MODULE = "infra/images/tailscale";
/** As in its go.mod. Without the stamp the programs call themselves `-ERR-BuildInfo`. */
const TAILSCALE_VERSION = "1.102.5";

const tailscale = (program: string): GoBinary => ({
	module: TAILSCALE_MODULE,
	package: `tailscale.com/cmd/${program}`,
	ldflags: `-s -w -X tailscale.com/version.longStamp=${TAILSCALE_VERSION} -X tailscale.com/version.shortStamp=${TAILSCALE_VERSION}`,
	output: program,
});

export const RECIPES: Record<Image, Recipe> = {
	postgres: { folder: "infra/images/postgres", extras: [] },
	minio: {
		folder: MINIO_MODULE,
		extras: [],
		go: [
			{
				module: MINIO_MODULE,
				package: "github.com/minio/minio",
				tags: "kqueue",
				ldflags: "-s -w",
				output: "minio",
			},
			{ module: MINIO_MODULE, package: "./store", ldflags: "-s -w", output: "store" },
		],
	},
	mlflow: { folder: "infra/images/mlflow", extras: [] },
	door: {
		folder: "infra/images/door",
		extras: [
			{ from: "proxy", to: "proxy" },
			{ from: "infra/contract.ts", to: "infra/contract.ts" },
			{ from: "infra/object-stream.ts", to: "infra/object-stream.ts" },
			{ from: "package.json", to: "package.json" },
			{ from: "package-lock.json", to: "package-lock.json" },
		],
		node: true,
		takesFrom: ["mlflow"],
	},
	api: { folder: "infra/images/api", extras: [] },
	tailscale: {
		folder: TAILSCALE_MODULE,
		extras: [],
		go: ["tailscaled", "tailscale", "containerboot"].map(tailscale),
	},
	keeper: { folder: "infra/images/keeper", extras: [] },
	courier: { folder: "infra/images/courier", extras: [] },
};

/** One file of a build context. */
export interface ContextFile {
	/** Absolute path on the host. */
	from: string;
	/** Path in the context, with `/`. */
	to: string;
	/** 0o755 or 0o644: what the file gets in the context, whatever the host's umask made of it. */
	mode: number;
}

/** Left behind by tools in a working tree; never part of an image. */
const IGNORED = new Set(["__pycache__", "node_modules", ".pytest_cache", ".DS_Store"]);

/**
 * The files that the repository gives to an image, sorted by their place in the context.
 * @throws if a declared path is missing, or is neither a file nor a folder.
 */
export function imageInputs(image: Image, root: string = ROOT): ContextFile[] {
	const { folder, extras } = RECIPES[image];
	return [{ from: folder, to: "" }, ...extras]
		.flatMap(({ from, to }) => walk(join(root, from), to))
		.sort((a, b) => (a.to < b.to ? -1 : 1));
}

/** `mlgate-<image>:<12 hex>`: the same name means the same content, whoever asks. */
export function imageRef(image: Image, root: string = ROOT): string {
	const hash = createHash("sha256");
	const sources = (RECIPES[image].takesFrom ?? []).map((source) => imageRef(source, root));
	hash.update(JSON.stringify([RECIPES[image], BASE, ...sources]));
	for (const { from, to, mode } of imageInputs(image, root)) {
		const content = readFileSync(from);
		// Lengths keep the borders: no two different sets of files give the same stream of bytes.
		hash.update(`\0${JSON.stringify([to, mode, content.length])}\0`).update(content);
	}
	return `mlgate-${image}:${hash.digest("hex").slice(0, 12)}`;
}

function walk(from: string, to: string): ContextFile[] {
	const stat = statSync(from);
	if (stat.isFile()) return [{ from, to, mode: stat.mode & 0o111 ? 0o755 : 0o644 }];
	if (!stat.isDirectory()) throw new Error(`${from} is neither a file nor a folder`);
	return readdirSync(from)
		.filter((name) => !IGNORED.has(name))
		.flatMap((name) => walk(join(from, name), to ? `${to}/${name}` : name));
}
