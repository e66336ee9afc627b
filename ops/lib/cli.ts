/** Commander under the table of commands: parses the words, knows the options that every command has. */
import {
	CommanderError,
	Command as Parser,
	Argument as ParserArgument,
	Option as ParserOption,
} from "commander";
import type { Argument, ArgumentText, Command, CommandGroup, Option } from "./command.ts";
import { OpsError } from "./errors.ts";
import { firstLine } from "./text.ts";

export interface Invocation {
	command: Command;
	/** With the group's name: `users add`. */
	title: string;
	args: Record<string, ArgumentText>;
	options: Record<string, unknown>;
	stack: string;
	json: boolean;
	yes: boolean;
}

/** Text to print instead of running anything: help or the version. */
export interface Help {
	help: string;
	/** Asked for, or shown because no command was named. */
	asked: boolean;
}

const STACK_NAME = /^[a-z][a-z0-9-]{0,39}$/;

/** @throws OpsError of kind `usage`, naming the nearest known command or option. */
export function parse(
	commands: readonly (Command | CommandGroup)[],
	argv: readonly string[],
	version: string,
): Invocation | Help {
	const printed: string[] = [];
	let chosen: Omit<Invocation, "stack" | "json" | "yes"> | undefined;
	const root = new Parser("mlgate")
		.description("MLflow for a team, behind its own front door.")
		.version(version, "--version")
		.helpCommand("help [command]", "help for a command");

	const common = (parser: Parser, words = "") =>
		parser
			.option("--json", "the answer as one JSON document on stdout")
			.option("--stack <name>", "which stack (default: local)")
			.option("--yes", "ask nothing")
			.helpOption("-h, --help", "this help")
			.exitOverride((error) => {
				// Help and version end here as well, with exit code 0.
				throw error.exitCode === 0 || error.code === "commander.help" ? error : usage(error.message, words);
			})
			.configureOutput({
				writeOut: (text) => void printed.push(text),
				writeErr: (text) => void printed.push(text),
			});

	function add(parent: Parser, command: Command, group?: string): void {
		const title = group ? `${group} ${command.name}` : command.name;
		const parser = common(parent.command(command.name), title).description(command.summary);
		const names = Object.keys(command.arguments);
		for (const [name, shape] of Object.entries(command.arguments)) {
			const argument = new ParserArgument(placeholder(name, shape), shape.summary);
			parser.addArgument(shape.choices ? argument.choices([...shape.choices]) : argument);
		}
		for (const [name, option] of Object.entries(command.options)) parser.addOption(flag(name, option));
		parser.action(() => {
			const values = parser.processedArgs;
			chosen = {
				command,
				title,
				args: Object.fromEntries(names.map((name, i) => [name, values[i] as ArgumentText])),
				options: collect(parser),
			};
		});
	}

	common(root);
	for (const entry of commands) {
		if (!("commands" in entry)) add(root, entry);
		else {
			const group = common(root.command(entry.name), entry.name).description(entry.summary);
			for (const command of entry.commands) add(group, command, entry.name);
		}
	}

	try {
		root.parse([...argv], { from: "user" });
	} catch (error) {
		if (!(error instanceof CommanderError)) throw error;
		if (error.code === "commander.help") return { help: printed.join(""), asked: false };
		return { help: printed.join(""), asked: true };
	}
	if (!chosen) return { help: root.helpInformation(), asked: false };
	const { json, yes, stack = "local", ...options } = chosen.options;
	if (typeof stack !== "string" || !STACK_NAME.test(stack)) {
		throw new OpsError({
			code: "USAGE",
			kind: "usage",
			what: `"${stack}" cannot be the name of a stack.`,
			why: "Names begin with a small letter and have small letters, digits and hyphens, 40 at most.",
			fix: "Give another name with --stack, or leave it out for the stack `local`.",
		});
	}
	return { ...chosen, options, stack, json: json === true, yes: yes === true };
}

/** Options of the command and of the words before it: `mlgate --json status` is `mlgate status --json`. */
function collect(parser: Parser): Record<string, unknown> {
	return { ...(parser.parent ? collect(parser.parent) : {}), ...parser.opts() };
}

function placeholder(name: string, { optional, variadic }: Argument): string {
	if (variadic) return `[${name}...]`;
	return optional ? `[${name}]` : `<${name}>`;
}

function flag(name: string, { value, summary, choices, parse, required }: Option): ParserOption {
	const kebab = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
	const option = new ParserOption(value ? `--${kebab} <${value}>` : `--${kebab}`, summary);
	if (choices) option.choices([...choices]);
	if (parse) option.argParser(parse);
	if (required) option.makeOptionMandatory();
	return option;
}

/** Commander's message in our shape. It appends the nearest known word in parentheses. */
function usage(message: string, words: string): OpsError {
	const what = firstLine(message).replace(/^error: /, "");
	const nearest = /\(Did you mean (.+)\?\)/.exec(message)?.[1];
	return new OpsError({
		code: "USAGE",
		kind: "usage",
		what: `${what[0]?.toUpperCase() ?? ""}${what.slice(1).replace(/\.$/, "")}.`,
		fix: nearest
			? `Did you mean ${nearest}? All commands: npx mlgate --help`
			: `See what there is: npx mlgate ${words}${words && " "}--help`,
	});
}
