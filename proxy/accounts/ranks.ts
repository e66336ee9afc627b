import type { Role } from "../roles.ts";

const RANK: Record<Role, number> = { viewer: 0, editor: 1, admin: 2 };

export const atMost = (role: Role, limit: Role): boolean => RANK[role] <= RANK[limit];

export const lower = (one: Role, other: Role): Role => (atMost(one, other) ? one : other);
