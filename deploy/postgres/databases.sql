-- Roles and databases of the stack, made once, when the volume of PostgreSQL is new. psql reads the passwords itself,
-- so that they are in no command line.
\set ON_ERROR_STOP on
\set shipper `cat /run/secrets/shipper`
\set reader `cat /run/secrets/reader`
\set mlflow `cat /run/secrets/mlflow`

CREATE ROLE shipper LOGIN PASSWORD :'shipper';
CREATE ROLE reader LOGIN PASSWORD :'reader';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow';
ALTER ROLE reader SET default_transaction_read_only = on;
-- A dashboard must not slow the shipper down for long.
ALTER ROLE reader SET statement_timeout = '30s';

CREATE DATABASE records OWNER shipper;
CREATE DATABASE mlflow OWNER mlflow;
REVOKE ALL ON DATABASE records, mlflow FROM PUBLIC;
GRANT CONNECT ON DATABASE records TO reader;

\connect records
-- The shipper makes the schema and its tables later; the reader may read them all.
ALTER DEFAULT PRIVILEGES FOR ROLE shipper GRANT USAGE ON SCHEMAS TO reader;
ALTER DEFAULT PRIVILEGES FOR ROLE shipper GRANT SELECT ON TABLES TO reader;
