alter table audit
	-- made by the door, so that what is written twice after a crash is one row; null: written with its change
	add column event uuid unique,
	-- when the last of `count` equal events happened; null: there was one
	add column last_at timestamptz,
	add column count int not null default 1,
	-- the actor's then
	add column role text,
	-- token, session or user id
	add column credential text,
	-- the route's class, and the route as MLflow writes it
	add column class text,
	add column route text,
	add column status int,
	-- a code of the table of refusals
	add column reason text;

update audit set reason = detail ->> 'reason', count = (detail ->> 'count')::int
	where act = 'sign-in.refuse' and detail ? 'count';

create index on audit (actor, id);
create index on audit (at) where act like '%.refuse';

-- Append-only: rows come, and go when their time is over (retention: AuditTrail.tidy in proxy/audit/trail.ts).
create function audit_is_append_only() returns trigger language plpgsql as $$
begin
	if tg_op = 'DELETE' then
		if old.at < now() - interval '365 days' or (old.act like '%.refuse' and old.at < now() - interval '30 days') then
			return old;
		end if;
	end if;
	raise exception 'the audit trail is append-only' using errcode = 'insufficient_privilege';
end
$$;
create trigger audit_rows_stay before update or delete on audit
	for each row execute function audit_is_append_only();
create trigger audit_is_not_emptied before truncate on audit
	for each statement execute function audit_is_append_only();
revoke update, truncate on audit from current_user;
