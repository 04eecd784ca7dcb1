-- Written by `shopstream generate` from deploy/templates/snowflake/07_staging_tables.sql; do not edit.
-- The tables with personal data, made before the first load exactly as the platform would make them, and owned by its
-- role, so that no row lies there unmasked for a moment. The platform finds them and leaves them as they are.
-- After a change of the declarations run this file again: every statement may be repeated.
use role STREAMVISION_TRANSFORMER;

create table if not exists "STREAMVISION_WH".STAGING."STG_USERS" (
    "ID" number(38,0),
    "EMAIL" varchar,
    "USERNAME" varchar,
    "FIRST_NAME" varchar,
    "LAST_NAME" varchar,
    "COUNTRY" varchar,
    "AGE_GROUP" varchar,
    "SUBSCRIPTION_PLAN" varchar,
    "SUBSCRIPTION_START" date,
    "SUBSCRIPTION_END" date,
    "CREATED_AT" timestamp_ntz(6),
    "LAST_LOGIN" timestamp_ntz(6),
    "IS_ACTIVE" boolean,
    "PAYMENT_METHOD" varchar,
    "DEVICE_PREFERENCE" varchar,
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

create table if not exists "STREAMVISION_WH".STAGING."STG_RATINGS" (
    "ID" number(38,0),
    "USER_ID" number(38,0),
    "CONTENT_ID" number(38,0),
    "RATING" number(38,0),
    "COMMENT" varchar,
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

alter table "STREAMVISION_WH".STAGING."STG_USERS"
    modify column "EMAIL" set tag STREAMVISION_WH.GOVERNANCE.PII = 'true';

alter table "STREAMVISION_WH".STAGING."STG_USERS"
    modify column "USERNAME" set tag STREAMVISION_WH.GOVERNANCE.PII = 'true';

alter table "STREAMVISION_WH".STAGING."STG_USERS"
    modify column "FIRST_NAME" set tag STREAMVISION_WH.GOVERNANCE.PII = 'true';

alter table "STREAMVISION_WH".STAGING."STG_USERS"
    modify column "LAST_NAME" set tag STREAMVISION_WH.GOVERNANCE.PII = 'true';

alter table "STREAMVISION_WH".STAGING."STG_RATINGS"
    modify column "COMMENT" set tag STREAMVISION_WH.GOVERNANCE.PII = 'true';
