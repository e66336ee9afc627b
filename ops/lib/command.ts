/** What a command is: data for the help and the parser, and one function that does it. */
import { InvalidArgumentError } from "commander";
import type { ExitKind } from "./errors.ts";
import type { Run } from "./journal.ts";
import type { Report } from "./report.ts";

/** What every command gets. */
export interface Context {
	/** Pulumi's name of the stack (`--stack`, default `local`). */
	stack: string;
	/** `--yes`: nobody is asked. */
	yes: boolean;
	/** `--json`: the answer is one JSON document. */
	json: boolean;
	/** Somebody sits at a terminal and may be asked. */
	interactive: boolean;
	/** The folder of the checkout: Pulumi's working folder. */
	checkout: string;
	report: Report;
	/** Aborted by Ctrl-C or SIGTERM: waits end, nothing new is begun. Children get the signal themselves. */
	interrupted: AbortSignal;
	/** Tells the journal what the command is about: the id of a backup, a setting. Never a secret. */
	about(text: string): void;
	/** The changing command before this one, if it was killed before it could end. */
	cutOff?: Run;
	/** Writes to stdout at once. For commands that stream; all others return an `Answer`. */
	print(text: string): void;
}

/** What a command has to say, printed on stdout: `json` with `--json`, else `text`. It never goes to a log. */
export interface Answer {
	json: unknown;
	text?: string;
	/** The answer is bad news: the exit code of this kind, after the answer was printed. */
	exit?: ExitKind;
}

export interface Argument {
	summary: string;
	optional?: boolean;
	/** Several words, none among them: `[part...]`. */
	variadic?: boolean;
	choices?: readonly string[];
}

/** `--<name>`; without `value` a switch. Keys are camelCase, flags kebab-case. */
export interface Option {
	/** Placeholder in the help: `--name <value>`. */
	value?: string;
	summary: string;
	choices?: readonly string[];
	/** Turns the text into a value; throws commander's InvalidArgumentError with the reason. */
	parse?: (text: string) => unknown;
	required?: boolean;
}

type Arguments = Readonly<Record<string, Argument>>;
type Options = Readonly<Record<string, Option>>;

type ArgumentValue<A extends Argument> = A extends { choices: readonly (infer C)[] } ? C : string;
type ArgumentValues<A extends Arguments> = {
	[K in keyof A]: A[K] extends { variadic: true }
		? readonly ArgumentValue<A[K]>[]
		: ArgumentValue<A[K]> | (A[K] extends { optional: true } ? undefined : never);
};
type OptionValue<O extends Option> = O extends { parse: (text: string) => infer T }
	? T
	: O extends { choices: readonly (infer C)[] }
		? C
		: O extends { value: string }
			? string
			: boolean;
type OptionValues<O extends Options> = {
	[K in keyof O]: O[K] extends { required: true } ? OptionValue<O[K]> : OptionValue<O[K]> | undefined;
};

interface Shape<A extends Arguments, O extends Options> {
	name: string;
	summary: string;
	arguments?: A;
	options?: O;
	/** One at a time for a stack: the others are refused with who, since when and what. Readers do not lock. */
	locks: boolean;
	run(context: Context, args: ArgumentValues<A>, options: OptionValues<O>): Promise<Answer | undefined>;
}

/** What was typed for an argument. */
export type ArgumentText = string | readonly string[] | undefined;

/** A command as the frame sees it. */
export interface Command {
	name: string;
	summary: string;
	arguments: Arguments;
	options: Options;
	locks: boolean;
	run(
		context: Context,
		args: Record<string, ArgumentText>,
		options: Record<string, unknown>,
	): Promise<Answer | undefined>;
}

/** Several commands under one word: `users add`, `users list`. */
export interface CommandGroup {
	name: string;
	summary: string;
	commands: readonly Command[];
}

/** Gives `run` the types that follow from the table of arguments and options. */
export function defineCommand<
	const A extends Arguments = Record<never, never>,
	const O extends Options = Record<never, never>,
>(shape: Shape<A, O>): Command {
	return {
		...shape,
		arguments: shape.arguments ?? {},
		options: shape.options ?? {},
		// The frame parses by the same tables that the types were made from.
		run: shape.run as unknown as Command["run"],
	};
}

/** A whole number between `min` and `max`, for `parse`. */
export function wholeNumber({ min, max }: { min: number; max: number }): (text: string) => number {
	return (text) => {
		const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
		if (value >= min && value <= max) return value;
		throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
	};
}
