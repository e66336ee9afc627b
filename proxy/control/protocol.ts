/** What control server and client agree on: `POST /<command>` with a JSON body over the unix socket. */

/** The body of every answer that is not 200. */
export interface ControlError {
	error: {
		/** Stable name for scripts, e.g. `USER_UNKNOWN`. */
		code: string;
		message: string;
		/** The one thing to do. */
		fix: string;
	};
}

export const controlError = (code: string, message: string, fix: string): ControlError => ({
	error: { code, message, fix },
});
