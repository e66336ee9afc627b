/** What a credential may do: each role may do everything that the ones before it may. */
export type Role = "viewer" | "editor" | "admin";
