/** What users and tokens may be called. */

const USER_NAME = /^[a-z0-9](?:[a-z0-9._@+-]{0,62}[a-z0-9])?$/;

/** The one spelling of a user name (lower case, no blanks around), or undefined if nobody can have it. */
export function userName(text: string): string | undefined {
	const name = text.trim().toLowerCase();
	return USER_NAME.test(name) ? name : undefined;
}

/** Printable, not blank at either end. */
const TOKEN_NAME = /^[^\p{C}\p{Z}](?:[^\p{C}]{0,62}[^\p{C}\p{Z}])?$/u;

export function tokenName(text: string): string | undefined {
	const name = text.trim().normalize("NFC");
	return TOKEN_NAME.test(name) ? name : undefined;
}
