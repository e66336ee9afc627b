/**
 * Setting `funnel.credentials`: an API access token (`tskey-api-<id>-<secret>`), which acts as the person who made it,
 * or the secret of an OAuth client (`tskey-client-<client id>-<secret>`), which may do what its scopes say.
 */

const OAUTH = /^tskey-client-([A-Za-z0-9]+)-/;

export const isOauthSecret = (credentials: string): boolean => OAUTH.test(credentials);

/** The secret has it inside; empty for an API access token. */
export const oauthClientId = (credentials: string): string => OAUTH.exec(credentials)?.[1] ?? "";
