-- what a token is held to besides its role (proxy/scopes.ts)
alter table tokens add column scope text not null default 'all' check (scope in ('all', 'models'));

-- Owns the inference API's own token. Found by its id: somebody may have that name already.
insert into users (id, name, role, system, created_at)
select
	'00000000-0000-4000-8000-000000000002',
	case
		when exists (select from users where name = 'inference-api')
		then 'inference-api-' || left(gen_random_uuid()::text, 8)
		else 'inference-api'
	end,
	'viewer',
	true,
	now();
