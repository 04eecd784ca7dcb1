-- Written by `shopstream generate` from deploy/templates/snowflake/07_staging_tables.sql; do not edit.
-- The tables with personal data, made before the first load exactly as the platform would make them, and owned by its
-- role, so that no row lies there unmasked for a moment. The platform finds them and leaves them as they are.
-- After a change of the declarations run this file again: every statement may be repeated.
use role SHOPSTREAM_TRANSFORMER;

create table if not exists "SHOPSTREAM_DWH".STAGING."STG_USERS" (
    "ID" number(38,0),
    "EMAIL" varchar,
    "FIRST_NAME" varchar,
    "LAST_NAME" varchar,
    "COUNTRY" varchar,
    "PLAN" varchar,
    "ACQUISITION_CHANNEL" varchar,
    "CREATED_AT" timestamp_ntz(6),
    "UPDATED_AT" timestamp_ntz(6),
    "_PARTITION_DATE" date,
    "_SNAPSHOT" varchar,
    "_DELETED" boolean,
    "_DELETED_AT" timestamp_ntz(6),
    "_QUARANTINED" boolean,
    "_SOURCE_FILE" varchar,
    "_SOURCE_ROW" number(38,0),
    "_LOADED_AT" timestamp_ntz(6)
);

create table if not exists "SHOPSTREAM_DWH".STAGING."STG_CRM_CONTACTS" (
    "ID" number(38,0),
    "USER_ID" number(38,0),
    "EMAIL" varchar,
    "COMPANY" varchar,
    "LEAD_SOURCE" varchar,
    "LIFECYCLE_STAGE" varchar,
    "OWNER" varchar,
    "CREATED_AT" timestamp_ntz(6),
    "UPDATED_AT" timestamp_ntz(6),
    "_PARTITION_DATE" date,
    "_SNAPSHOT" varchar,
    "_DELETED" boolean,
    "_DELETED_AT" timestamp_ntz(6),
    "_QUARANTINED" boolean,
    "_SOURCE_FILE" varchar,
    "_SOURCE_ROW" number(38,0),
    "_LOADED_AT" timestamp_ntz(6)
);

use role ACCOUNTADMIN;

alter table "SHOPSTREAM_DWH".STAGING."STG_USERS"
    modify column "EMAIL" set tag SHOPSTREAM_DWH.GOVERNANCE.PII = 'true';

alter table "SHOPSTREAM_DWH".STAGING."STG_USERS"
    modify column "FIRST_NAME" set tag SHOPSTREAM_DWH.GOVERNANCE.PII = 'true';

alter table "SHOPSTREAM_DWH".STAGING."STG_USERS"
    modify column "LAST_NAME" set tag SHOPSTREAM_DWH.GOVERNANCE.PII = 'true';

alter table "SHOPSTREAM_DWH".STAGING."STG_CRM_CONTACTS"
    modify column "EMAIL" set tag SHOPSTREAM_DWH.GOVERNANCE.PII = 'true';
