-- The platform's user. A service user has no password and cannot log in to the web interface; its private key stays
-- with the platform.
use role USERADMIN;

create user if not exists ${prefix}_SERVICE
    type = service
    rsa_public_key = '<% public_key %>'
    default_role = ${prefix}_TRANSFORMER
    default_secondary_roles = ()
    default_warehouse = LOADING_WH
    default_namespace = $database
    -- What dbt runs when its process is killed; Snowflake waits for five minutes.
    abort_detached_query = true
    comment = '$title, the platform.';

use role SECURITYADMIN;

grant role ${prefix}_TRANSFORMER to user ${prefix}_SERVICE;
-- The dashboards log in as the same user, and read as whoever else reports.
grant role ${prefix}_REPORTER to user ${prefix}_SERVICE;
