-- Who may do what. The platform logs in as ${prefix}_TRANSFORMER; the other roles are for people and for tools.
-- Run 01 to 07 in order, and 08 for dashboards in Snowflake; docs/production.md has the commands. Every file may be run
-- again. The roles are this domain's alone: who reads one business on the platform does not read another.
use role USERADMIN;

create role if not exists ${prefix}_LOADER comment = 'Loads the lake into RAW and STAGING.';
create role if not exists ${prefix}_TRANSFORMER comment = 'The platform: loads, and builds CORE and MARTS with dbt.';
create role if not exists ${prefix}_REPORTER comment = 'Reads CORE and MARTS.';
create role if not exists ${prefix}_PII_READER comment = 'Reads STAGING too, with personal data in the clear.';

use role SECURITYADMIN;

grant role ${prefix}_LOADER to role ${prefix}_TRANSFORMER;
grant role ${prefix}_REPORTER to role ${prefix}_PII_READER;

-- What a role owns must be within reach of the administrators. ${prefix}_PII_READER owns nothing and is left out:
-- were it SYSADMIN's, every administrator would read personal data.
grant role ${prefix}_TRANSFORMER to role SYSADMIN;
grant role ${prefix}_REPORTER to role SYSADMIN;

grant usage on warehouse LOADING_WH to role ${prefix}_LOADER;
grant usage on warehouse TRANSFORMING_WH to role ${prefix}_TRANSFORMER;
grant usage on warehouse REPORTING_WH to role ${prefix}_TRANSFORMER;
grant usage on warehouse REPORTING_WH to role ${prefix}_REPORTER;
