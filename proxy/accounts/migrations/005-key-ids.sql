-- Which key signed a token's or a session's text, to know how long a key has to be believed. Until now there was one.
alter table tokens add column kid text;
alter table sessions add column kid text;
update tokens set kid = coalesce((select kid from signing_keys order by created_at limit 1), '');
update sessions set kid = coalesce((select kid from signing_keys order by created_at limit 1), '');
alter table tokens alter column kid set not null;
alter table sessions alter column kid set not null;
