/**
 * How commands tell what they are doing. Progress goes to stderr and into the command's dated log;
 * stdout belongs to the command's answer.
 */
import { stripVTControlCharacters } from "node:util";
import ora, { type Ora } from "ora";
import { duration, firstLine } from "./text.ts";

/** One long step: a spinner with elapsed time on a terminal, plain lines elsewhere. */
export interface Step {
	/** What is happening right now inside the step, e.g. the last line of a build. */
	detail(text: string): void;
}

export interface Report {
	/** Runs `work` as a named step; prints its outcome and how long it took. */
	step<T>(title: string, work: (step: Step) => Promise<T>): Promise<T>;
	/** One line for the person. */
	note(text: string): void;
	/** A line for the log alone (full output of builds, for example). */
	log(text: string): void;
}

/** Says nothing. For tests, and for callers that only want the result. */
export const silent: Report = {
	step: (_title, work) => work({ detail() {} }),
	note() {},
	log() {},
};

/** Without a terminal a long step says this often that it is still at work. */
const HEARTBEAT_MS = 15_000;

/** What a step says on its way. A spinner or plain lines; both get every event. */
interface Face {
	begin(step: RunningStep): void;
	tick(step: RunningStep): void;
	end(step: RunningStep, ok: boolean): void;
	note(text: string): void;
}

interface RunningStep {
	title: string;
	begun: number;
	detail: string;
}

export interface ReportOptions {
	stream: NodeJS.WriteStream;
	/** Gets every line, also those that the terminal does not show. */
	log: (text: string) => void;
	heartbeatMs?: number;
}

/** The real thing: to the person on `stream`, and everything to the log. */
export function createReport({ stream, log: write, heartbeatMs }: ReportOptions): Report {
	// A dumb terminal cannot draw over a line, and in one without a width (`docker exec -t`, `script`) ora never ends.
	const spins = stream.isTTY === true && stream.columns > 0 && process.env.TERM !== "dumb";
	let last = "";
	/** What is both a detail and a line for the log comes twice. */
	const log = (raw: string) => {
		const text = stripVTControlCharacters(raw);
		if (text !== last) write(text);
		last = text;
	};
	const face = spins ? spinner(stream) : plainLines(stream);
	const pulse = spins ? 1000 : (heartbeatMs ?? HEARTBEAT_MS);

	return {
		async step(title, work) {
			const step: RunningStep = { title, begun: performance.now(), detail: "" };
			log(`begin: ${title}`);
			face.begin(step);
			const timer = setInterval(() => face.tick(step), pulse);
			let ok = false;
			try {
				const result = await work({
					detail(text) {
						log(text);
						step.detail = firstLine(stripVTControlCharacters(text)) || step.detail;
						if (spins) face.tick(step);
					},
				});
				ok = true;
				return result;
			} finally {
				clearInterval(timer);
				log(`${ok ? "done" : "failed"}: ${title} (${elapsed(step)})`);
				face.end(step, ok);
			}
		},
		note(text) {
			log(text);
			face.note(text);
		},
		log,
	};
}

const elapsed = (step: RunningStep) => duration(performance.now() - step.begun);

/** Some tools print lines without end; the log has them whole. */
const DETAIL = 100;
const cut = (text: string, length: number) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

function plainLines(stream: NodeJS.WriteStream): Face {
	const line = (text: string) => void stream.write(`${text}\n`);
	return {
		begin: ({ title }) => line(`${title} ...`),
		tick: (step) =>
			line(`${step.title} ... ${elapsed(step)}${step.detail ? `, now: ${cut(step.detail, DETAIL)}` : ""}`),
		end: (step, ok) => line(`${step.title}: ${ok ? "done" : "failed"} (${elapsed(step)})`),
		note: line,
	};
}

/** One spinner for all: steps may run side by side, the latest one that still runs has the line. */
function spinner(stream: NodeJS.WriteStream): Face {
	const running: RunningStep[] = [];
	// Without discardStdin:false ora would take Ctrl-C away from us while it spins.
	const spin: Ora = ora({ stream, discardStdin: false, isEnabled: true });

	function draw(): void {
		const step = running.at(-1);
		if (!step) return;
		const seconds = Math.floor((performance.now() - step.begun) / 1000);
		const head = `${step.title} (${duration(Math.max(1, seconds) * 1000)})`;
		const room = (stream.columns || 80) - head.length - 6;
		const detail = step.detail && room > 10 ? `  ${cut(step.detail, room)}` : "";
		spin.text = head + detail;
		if (!spin.isSpinning) spin.start();
	}
	function above(print: () => void): void {
		if (spin.isSpinning) spin.stop();
		print();
		draw();
	}
	return {
		begin(step) {
			running.push(step);
			draw();
		},
		tick: draw,
		end(step, ok) {
			running.splice(running.indexOf(step), 1);
			const text = `${step.title} (${elapsed(step)})`;
			above(() => (ok ? spin.succeed(text) : spin.fail(text)));
		},
		note: (text) => above(() => void stream.write(`${text}\n`)),
	};
}
