/** What readers need to know of a stack, from its configuration file alone: no Pulumi, no waiting. */
import { SETTINGS } from "../../infra/settings.ts";
import { plainConfig, type StackRef } from "./stack/config-file.ts";

export interface Identity {
	/** What everything of the stack is called on the host. */
	name: string;
	port: number;
	/** Where people on this host reach the door. */
	url: string;
	/** Whether the settings want a public URL. */
	funnel: boolean;
}

/** Name and port, whatever else may be wrong with the settings. */
export function identify(ref: StackRef): Identity {
	const config = plainConfig(ref);
	const port = Number(config.port ?? SETTINGS.port.default());
	return {
		name: config.name ?? SETTINGS.name.default(ref.stack),
		port,
		url: `http://localhost:${port}`,
		funnel: (config.funnel ?? SETTINGS.funnel.default()) === "on",
	};
}
