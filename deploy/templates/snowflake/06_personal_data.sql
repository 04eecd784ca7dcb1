-- Personal data is masked by its tag, for everyone but ${prefix}_PII_READER: the platform itself, which needs none of
-- it, and administrators included. Needs Enterprise Edition; without it leave out 06 and 07, and grant
-- ${prefix}_PII_READER, the only role of ours besides the platform's that reaches STAGING, with care.
-- A policy in use cannot be replaced, so a later change is `alter masking policy ... set body -> ...`.
use role SYSADMIN;

create schema if not exists $database.GOVERNANCE with managed access comment = 'Tags and masking policies.';

use role ACCOUNTADMIN;

create tag if not exists $database.GOVERNANCE.PII
    allowed_values 'true'
    comment = 'Personal data; follows from pii=True in the declarations of its tables.';

create masking policy if not exists $database.GOVERNANCE.MASK_TEXT as (content varchar) returns varchar ->
    case when is_role_in_session('${prefix}_PII_READER') or content is null then content else '*** masked ***' end;

alter tag $database.GOVERNANCE.PII set masking policy $database.GOVERNANCE.MASK_TEXT force;
