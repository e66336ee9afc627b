declare module "js-yaml" {
	/** @throws YAMLException with the line and what is wrong there. */
	export function load(text: string): unknown;
}
