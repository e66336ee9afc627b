/** Who agrees to a change of the tailnet: the person at the terminal, or `--yes` where that is enough. */
import { agrees } from "../ask.ts";
import type { Context } from "../command.ts";

export interface Consent {
	yes: boolean;
	interactive: boolean;
	ask(question: string): Promise<boolean>;
}

export const consentOf = (context: Context): Consent => ({
	yes: context.yes,
	interactive: context.interactive,
	ask: (question) => agrees(context, question),
});
