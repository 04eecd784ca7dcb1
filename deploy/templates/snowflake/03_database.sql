-- The database and its schemas. With managed access only administrators grant: the owner of a table, which is the
-- platform's role, cannot show it to anyone.
use role SYSADMIN;

create database if not exists $database comment = '$title: staging, facts and marts.';
create schema if not exists $database.RAW with managed access comment = 'The stage over the lake.';
create schema if not exists $database.STAGING with managed access comment = 'Logs of changes, as loaded.';
create schema if not exists $database.CORE with managed access comment = 'Facts and dimensions.';
create schema if not exists $database.MARTS with managed access comment = 'What reports read.';

use role SECURITYADMIN;

-- Loading: a stage over the lake, and a log of changes for each table.
grant usage on database $database to role ${prefix}_LOADER;
grant usage, create stage on schema $database.RAW to role ${prefix}_LOADER;
grant usage, create table on schema $database.STAGING to role ${prefix}_LOADER;

-- Transforming. dbt merges from temporary views, so it needs create view where it has tables only. It creates a schema
-- only where one is missing, and none is: no right to create schemas.
grant usage on database $database to role ${prefix}_TRANSFORMER;
grant usage on schema $database.STAGING to role ${prefix}_TRANSFORMER;
grant usage, create table, create view on schema $database.CORE to role ${prefix}_TRANSFORMER;
grant usage, create table, create view on schema $database.MARTS to role ${prefix}_TRANSFORMER;
-- Where another user loads with ${prefix}_LOADER alone, that role owns the tables and this lets dbt read them.
grant select on all tables in schema $database.STAGING to role ${prefix}_TRANSFORMER;
grant select on future tables in schema $database.STAGING to role ${prefix}_TRANSFORMER;

-- Reporting. Future grants outlive dbt, which replaces its tables.
grant usage on database $database to role ${prefix}_REPORTER;
grant usage on schema $database.CORE to role ${prefix}_REPORTER;
grant usage on schema $database.MARTS to role ${prefix}_REPORTER;
grant select on all tables in schema $database.CORE to role ${prefix}_REPORTER;
grant select on future tables in schema $database.CORE to role ${prefix}_REPORTER;
grant select on all tables in schema $database.MARTS to role ${prefix}_REPORTER;
grant select on future tables in schema $database.MARTS to role ${prefix}_REPORTER;

-- Personal data lies in STAGING only.
grant usage on schema $database.STAGING to role ${prefix}_PII_READER;
grant select on all tables in schema $database.STAGING to role ${prefix}_PII_READER;
grant select on future tables in schema $database.STAGING to role ${prefix}_PII_READER;
