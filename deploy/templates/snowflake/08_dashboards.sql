-- The dashboards as Streamlit in Snowflake: the pages that `shopstream dashboard` serves, for whoever holds
-- ${prefix}_REPORTER. Run it in the repository after `make bundle`, which gathers the files that are uploaded here, and
-- again after each change to the code. Whoever does not want them there leaves it out.
use role USERADMIN;

-- An app reads as the role that owns it. This one may do what reporters may, and be an app.
create role if not exists ${prefix}_DASHBOARDS comment = 'Owns the dashboards.';

use role SYSADMIN;

create schema if not exists $database.DASHBOARDS with managed access comment = 'The pages over the marts.';
create stage if not exists $database.DASHBOARDS.APP comment = 'The files of the pages, by `make bundle`.';

remove @$database.DASHBOARDS.APP;
put 'file://dist/dashboards/*' @$database.DASHBOARDS.APP auto_compress = false overwrite = true;

-- Only an account administrator may make a compute pool. An app takes a node of its own, so each domain has one.
use role ACCOUNTADMIN;

create compute pool if not exists ${prefix}_DASHBOARDS
    min_nodes = 1
    max_nodes = 1
    instance_family = CPU_X64_XS
    auto_suspend_secs = 600
    auto_resume = true
    initially_suspended = true
    comment = 'Runs the dashboards of $title.';

use role SECURITYADMIN;

grant role ${prefix}_REPORTER to role ${prefix}_DASHBOARDS;
grant role ${prefix}_DASHBOARDS to role SYSADMIN;
grant usage on compute pool ${prefix}_DASHBOARDS to role ${prefix}_DASHBOARDS;
grant usage, create streamlit on schema $database.DASHBOARDS to role ${prefix}_DASHBOARDS;
grant read on stage $database.DASHBOARDS.APP to role ${prefix}_DASHBOARDS;

use role ${prefix}_DASHBOARDS;

-- It holds nothing but a copy of the files, so a new one takes its place.
create or replace streamlit $database.DASHBOARDS.PAGES
    from '@$database.DASHBOARDS.APP'
    main_file = 'streamlit_app.py'
    runtime_name = 'SYSTEM$$ST_CONTAINER_RUNTIME_PY3_11'
    compute_pool = ${prefix}_DASHBOARDS
    query_warehouse = REPORTING_WH
    title = '$title';
-- Until then only its owner sees it.
alter streamlit $database.DASHBOARDS.PAGES add live version from last;

use role SECURITYADMIN;

grant usage on schema $database.DASHBOARDS to role ${prefix}_REPORTER;
grant usage on streamlit $database.DASHBOARDS.PAGES to role ${prefix}_REPORTER;
