create table users (
	id uuid primary key,
	name text not null unique,
	role text not null check (role in ('viewer', 'editor', 'admin')),
	-- argon2id in PHC form; null: invited, cannot sign in yet
	password text,
	-- built in: owns tokens, cannot sign in
	system boolean not null default false,
	created_at timestamptz not null,
	disabled_at timestamptz,
	last_seen_at timestamptz
);

create table tokens (
	id text primary key,
	user_id uuid not null references users (id),
	name text not null,
	role text not null check (role in ('viewer', 'editor', 'admin')),
	created_at timestamptz not null,
	created_by text not null,
	-- null: never
	expires_at timestamptz,
	revoked_at timestamptz,
	last_used_at timestamptz,
	last_used_address text
);
create index on tokens (user_id);

create table sessions (
	id text primary key,
	user_id uuid not null references users (id),
	created_at timestamptz not null,
	-- the absolute limit
	expires_at timestamptz not null,
	ended_at timestamptz,
	last_used_at timestamptz not null,
	last_used_address text not null,
	listener text not null,
	user_agent text not null
);
create index on sessions (user_id);

create table links (
	-- sha256 of the code; the code itself is shown once and kept nowhere
	hash bytea primary key,
	kind text not null check (kind in ('first-admin', 'invite', 'reset')),
	-- null: the link makes the user
	user_id uuid references users (id),
	created_at timestamptz not null,
	expires_at timestamptz not null,
	spent_at timestamptz
);

create table signing_keys (
	kid text primary key,
	-- initialisation vector, tag, ciphertext of the PKCS #8 form
	wrapped bytea not null,
	created_at timestamptz not null,
	-- from then on nothing signed by it is believed
	retired_at timestamptz
);

create table audit (
	id bigint generated always as identity primary key,
	at timestamptz not null,
	actor text not null,
	act text not null,
	target text,
	listener text not null,
	address text not null,
	detail jsonb not null default '{}'
);
create index on audit (at);

-- which door may write; the door that started last
create table writer (
	one_row boolean primary key default true check (one_row),
	id uuid not null,
	since timestamptz not null
);

insert into users (id, name, role, system, created_at)
values ('00000000-0000-4000-8000-000000000001', 'operator', 'admin', true, now());
