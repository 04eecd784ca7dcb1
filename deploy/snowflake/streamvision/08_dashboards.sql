-- Written by `shopstream generate` from deploy/templates/snowflake/08_dashboards.sql; do not edit.
-- The dashboards as Streamlit in Snowflake: the pages that `shopstream dashboard` serves, for whoever holds
-- STREAMVISION_REPORTER. Run it in the repository after `make bundle`, which gathers the files that are uploaded here, and
-- again after each change to the code. Whoever does not want them there leaves it out.
use role USERADMIN;

-- An app reads as the role that owns it. This one may do what reporters may, and be an app.
create role if not exists STREAMVISION_DASHBOARDS comment = 'Owns the dashboards.';

use role SYSADMIN;

create schema if not exists STREAMVISION_WH.DASHBOARDS with managed access comment = 'The pages over the marts.';
create stage if not exists STREAMVISION_WH.DASHBOARDS.APP comment = 'The files of the pages, by `make bundle`.';

remove @STREAMVISION_WH.DASHBOARDS.APP;
put 'file://dist/dashboards/*' @STREAMVISION_WH.DASHBOARDS.APP auto_compress = false overwrite = true;

-- Only an account administrator may make a compute pool. An app takes a node of its own, so each domain has one.
use role ACCOUNTADMIN;

create compute pool if not exists STREAMVISION_DASHBOARDS
    min_nodes = 1
    max_nodes = 1
    instance_family = CPU_X64_XS
    auto_suspend_secs = 600
    auto_resume = true
    initially_suspended = true
    comment = 'Runs the dashboards of StreamVision.';

use role SECURITYADMIN;

grant role STREAMVISION_REPORTER to role STREAMVISION_DASHBOARDS;
grant role STREAMVISION_DASHBOARDS to role SYSADMIN;
grant usage on compute pool STREAMVISION_DASHBOARDS to role STREAMVISION_DASHBOARDS;
grant usage, create streamlit on schema STREAMVISION_WH.DASHBOARDS to role STREAMVISION_DASHBOARDS;
grant read on stage STREAMVISION_WH.DASHBOARDS.APP to role STREAMVISION_DASHBOARDS;

use role STREAMVISION_DASHBOARDS;

-- It holds nothing but a copy of the files, so a new one takes its place.
create or replace streamlit STREAMVISION_WH.DASHBOARDS.PAGES
    from '@STREAMVISION_WH.DASHBOARDS.APP'
    main_file = 'streamlit_app.py'
    runtime_name = 'SYSTEM$ST_CONTAINER_RUNTIME_PY3_11'
    compute_pool = STREAMVISION_DASHBOARDS
    query_warehouse = REPORTING_WH
    title = 'StreamVision';
-- Until then only its owner sees it.
alter streamlit STREAMVISION_WH.DASHBOARDS.PAGES add live version from last;

use role SECURITYADMIN;

grant usage on schema STREAMVISION_WH.DASHBOARDS to role STREAMVISION_REPORTER;
grant usage on streamlit STREAMVISION_WH.DASHBOARDS.PAGES to role STREAMVISION_REPORTER;
