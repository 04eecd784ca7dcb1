-- Written by `shopstream generate` from deploy/templates/snowflake/06_personal_data.sql; do not edit.
-- Personal data is masked by its tag, for everyone but STREAMVISION_PII_READER: the platform itself, which needs none of
-- it, and administrators included. Needs Enterprise Edition; without it leave out 06 and 07, and grant
-- STREAMVISION_PII_READER, the only role of ours besides the platform's that reaches STAGING, with care.
-- A policy in use cannot be replaced, so a later change is `alter masking policy ... set body -> ...`.
use role SYSADMIN;

create schema if not exists STREAMVISION_WH.GOVERNANCE with managed access comment = 'Tags and masking policies.';

use role ACCOUNTADMIN;

create tag if not exists STREAMVISION_WH.GOVERNANCE.PII
    allowed_values 'true'
    comment = 'Personal data; follows from pii=True in the declarations of its tables.';

create masking policy if not exists STREAMVISION_WH.GOVERNANCE.MASK_TEXT as (content varchar) returns varchar ->
    case when is_role_in_session('STREAMVISION_PII_READER') or content is null then content else '*** masked ***' end;

alter tag STREAMVISION_WH.GOVERNANCE.PII set masking policy STREAMVISION_WH.GOVERNANCE.MASK_TEXT force;
