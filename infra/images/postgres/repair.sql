-- Run at every start: whatever became of roles, passwords and databases, afterwards they are as declared here.
-- The passwords come from the secret files; they appear in no argument list and in no log.
\set ON_ERROR_STOP on
\set mlflow_password `cat /run/secrets/mlflow-password`
\set door_password `cat /run/secrets/door-password`

SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';
SET client_min_messages = 'warning';

SELECT format('CREATE ROLE %I', name)
FROM unnest(ARRAY['mlflow', 'door']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec

ALTER ROLE mlflow LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
	CONNECTION LIMIT :mlflow_connections PASSWORD :'mlflow_password';
ALTER ROLE door LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
	CONNECTION LIMIT -1 PASSWORD :'door_password';

SELECT format('CREATE DATABASE %1$I OWNER %1$I TEMPLATE template0 ENCODING ''UTF8'' LOCALE ''C.UTF-8''', name)
FROM unnest(ARRAY['mlflow', 'door']) AS name
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = name)
\gexec

ALTER DATABASE mlflow OWNER TO mlflow;
ALTER DATABASE door OWNER TO door;
REVOKE ALL ON DATABASE mlflow, door, postgres, template1 FROM PUBLIC;

-- The door reads MLflow's tables, those that are and those that will be, and changes none of them.
SELECT 'CREATE ROLE mlflow_reader' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'mlflow_reader')
\gexec
ALTER ROLE mlflow_reader NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
GRANT mlflow_reader TO door;
GRANT CONNECT ON DATABASE mlflow TO mlflow_reader;
ALTER ROLE door IN DATABASE mlflow SET default_transaction_read_only = on;
\connect mlflow
SET client_min_messages = 'warning';
REVOKE ALL ON SCHEMA public FROM mlflow_reader;
GRANT USAGE ON SCHEMA public TO mlflow_reader;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM mlflow_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO mlflow_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE mlflow, postgres IN SCHEMA public GRANT SELECT ON TABLES TO mlflow_reader;
