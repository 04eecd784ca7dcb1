-- Written by `shopstream generate` from deploy/templates/snowflake/05_service_user.sql; do not edit.
-- The platform's user. A service user has no password and cannot log in to the web interface; its private key stays
-- with the platform.
use role USERADMIN;

create user if not exists SHOPSTREAM_SERVICE
    type = service
    rsa_public_key = '<% public_key %>'
    default_role = SHOPSTREAM_TRANSFORMER
    default_secondary_roles = ()
    default_warehouse = LOADING_WH
    default_namespace = SHOPSTREAM_DWH
    -- What dbt runs when its process is killed; Snowflake waits for five minutes.
    abort_detached_query = true
    comment = 'ShopStream, the platform.';

use role SECURITYADMIN;

grant role SHOPSTREAM_TRANSFORMER to user SHOPSTREAM_SERVICE;
-- The dashboards log in as the same user, and read as whoever else reports.
grant role SHOPSTREAM_REPORTER to user SHOPSTREAM_SERVICE;
