/** The inference API as the settings want it: what is left open depends on whose image it is. */
import type { Settings } from "./settings.ts";

export interface ApiSettings {
	/** The user's own image; empty: the reference API. */
	image: string;
	port: number;
	/** A path or a command that tells whether it is well; empty: the reference API's own check. */
	health: string;
	/** A path that answers 2xx only with a usable model; empty if nothing tells. */
	ready: string;
	/** `follows`: takes a new version by itself and tells so at `/model`. `restart`: must be started anew for it. */
	reload: "follows" | "restart";
	/** MiB. */
	memory: number;
	internet: boolean;
	model: { name: string; stage: string };
	env: Readonly<Record<string, string>>;
}

export function apiSettings(settings: Settings): ApiSettings {
	const image = settings["api.image"];
	const reload = settings["api.reload"];
	const health = settings["api.health"] || (image && "/health");
	return {
		image,
		port: settings["api.port"],
		health,
		ready: settings["api.ready"] || (image ? pathOnly(health) : "/ready"),
		reload: reload === "auto" ? (image ? "restart" : "follows") : reload,
		memory: settings["api.memory"],
		internet: settings["api.internet"],
		model: { name: settings["api.model"], stage: settings["api.stage"] },
		env: settings["api.env"],
	};
}

const pathOnly = (check: string): string => (check.startsWith("/") ? check : "");
