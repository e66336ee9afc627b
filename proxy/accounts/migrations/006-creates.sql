-- What the door is about to ask MLflow to make, or has asked and does not know the outcome of (proxy/creates). Rows go
-- after some minutes.
create table creates (
	id uuid primary key,
	at timestamptz not null,
	-- session, token or user id
	credential text not null,
	-- MLflow's rule, below its twin
	route text not null,
	-- sha256
	body bytea not null,
	-- Transactions of this server, MLflow's among them, that began to write later have a higher number.
	xid xid8 not null default pg_current_xact_id(),
	-- null: the outcome is not known to whoever asked; else what was made, or '' where nothing was
	outcome text
);
create index on creates (at);
