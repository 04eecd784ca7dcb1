-- Written by `shopstream generate` from deploy/templates/snowflake/03_database.sql; do not edit.
-- The database and its schemas. With managed access only administrators grant: the owner of a table, which is the
-- platform's role, cannot show it to anyone.
use role SYSADMIN;

create database if not exists SHOPSTREAM_DWH comment = 'ShopStream: staging, facts and marts.';
create schema if not exists SHOPSTREAM_DWH.RAW with managed access comment = 'The stage over the lake.';
create schema if not exists SHOPSTREAM_DWH.STAGING with managed access comment = 'Logs of changes, as loaded.';
create schema if not exists SHOPSTREAM_DWH.CORE with managed access comment = 'Facts and dimensions.';
create schema if not exists SHOPSTREAM_DWH.MARTS with managed access comment = 'What reports read.';

use role SECURITYADMIN;

-- Loading: a stage over the lake, and a log of changes for each table.
grant usage on database SHOPSTREAM_DWH to role SHOPSTREAM_LOADER;
grant usage, create stage on schema SHOPSTREAM_DWH.RAW to role SHOPSTREAM_LOADER;
grant usage, create table on schema SHOPSTREAM_DWH.STAGING to role SHOPSTREAM_LOADER;

-- Transforming. dbt merges from temporary views, so it needs create view where it has tables only. It creates a schema
-- only where one is missing, and none is: no right to create schemas.
grant usage on database SHOPSTREAM_DWH to role SHOPSTREAM_TRANSFORMER;
grant usage on schema SHOPSTREAM_DWH.STAGING to role SHOPSTREAM_TRANSFORMER;
grant usage, create table, create view on schema SHOPSTREAM_DWH.CORE to role SHOPSTREAM_TRANSFORMER;
grant usage, create table, create view on schema SHOPSTREAM_DWH.MARTS to role SHOPSTREAM_TRANSFORMER;
-- Where another user loads with SHOPSTREAM_LOADER alone, that role owns the tables and this lets dbt read them.
grant select on all tables in schema SHOPSTREAM_DWH.STAGING to role SHOPSTREAM_TRANSFORMER;
grant select on future tables in schema SHOPSTREAM_DWH.STAGING to role SHOPSTREAM_TRANSFORMER;

-- Reporting. Future grants outlive dbt, which replaces its tables.
grant usage on database SHOPSTREAM_DWH to role SHOPSTREAM_REPORTER;
grant usage on schema SHOPSTREAM_DWH.CORE to role SHOPSTREAM_REPORTER;
grant usage on schema SHOPSTREAM_DWH.MARTS to role SHOPSTREAM_REPORTER;
grant select on all tables in schema SHOPSTREAM_DWH.CORE to role SHOPSTREAM_REPORTER;
grant select on future tables in schema SHOPSTREAM_DWH.CORE to role SHOPSTREAM_REPORTER;
grant select on all tables in schema SHOPSTREAM_DWH.MARTS to role SHOPSTREAM_REPORTER;
grant select on future tables in schema SHOPSTREAM_DWH.MARTS to role SHOPSTREAM_REPORTER;

-- Personal data lies in STAGING only.
grant usage on schema SHOPSTREAM_DWH.STAGING to role SHOPSTREAM_PII_READER;
grant select on all tables in schema SHOPSTREAM_DWH.STAGING to role SHOPSTREAM_PII_READER;
grant select on future tables in schema SHOPSTREAM_DWH.STAGING to role SHOPSTREAM_PII_READER;
