-- Written by `shopstream generate` from deploy/templates/snowflake/02_roles.sql; do not edit.
-- Who may do what. The platform logs in as SHOPSTREAM_TRANSFORMER; the other roles are for people and for tools.
-- Run 01 to 07 in order, and 08 for dashboards in Snowflake; docs/production.md has the commands. Every file may be run
-- again. The roles are this domain's alone: who reads one business on the platform does not read another.
use role USERADMIN;

create role if not exists SHOPSTREAM_LOADER comment = 'Loads the lake into RAW and STAGING.';
create role if not exists SHOPSTREAM_TRANSFORMER comment = 'The platform: loads, and builds CORE and MARTS with dbt.';
create role if not exists SHOPSTREAM_REPORTER comment = 'Reads CORE and MARTS.';
create role if not exists SHOPSTREAM_PII_READER comment = 'Reads STAGING too, with personal data in the clear.';

use role SECURITYADMIN;

grant role SHOPSTREAM_LOADER to role SHOPSTREAM_TRANSFORMER;
grant role SHOPSTREAM_REPORTER to role SHOPSTREAM_PII_READER;

-- What a role owns must be within reach of the administrators. SHOPSTREAM_PII_READER owns nothing and is left out:
-- were it SYSADMIN's, every administrator would read personal data.
grant role SHOPSTREAM_TRANSFORMER to role SYSADMIN;
grant role SHOPSTREAM_REPORTER to role SYSADMIN;

grant usage on warehouse LOADING_WH to role SHOPSTREAM_LOADER;
grant usage on warehouse TRANSFORMING_WH to role SHOPSTREAM_TRANSFORMER;
grant usage on warehouse REPORTING_WH to role SHOPSTREAM_TRANSFORMER;
grant usage on warehouse REPORTING_WH to role SHOPSTREAM_REPORTER;
