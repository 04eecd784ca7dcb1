-- Written by `shopstream generate` from deploy/templates/snowflake/08_dashboards.sql; do not edit.
-- The dashboards as Streamlit in Snowflake: the pages that `shopstream dashboard` serves, for whoever holds
-- SHOPSTREAM_REPORTER. Run it in the repository after `make bundle`, which gathers the files that are uploaded here, and
-- again after each change to the code. Whoever does not want them there leaves it out.
use role USERADMIN;

-- An app reads as the role that owns it. This one may do what reporters may, and be an app.
create role if not exists SHOPSTREAM_DASHBOARDS comment = 'Owns the dashboards.';

use role SYSADMIN;

create schema if not exists SHOPSTREAM_DWH.DASHBOARDS with managed access comment = 'The pages over the marts.';
create stage if not exists SHOPSTREAM_DWH.DASHBOARDS.APP comment = 'The files of the pages, by `make bundle`.';

remove @SHOPSTREAM_DWH.DASHBOARDS.APP;
put 'file://dist/dashboards/*' @SHOPSTREAM_DWH.DASHBOARDS.APP auto_compress = false overwrite = true;

-- Only an account administrator may make a compute pool. An app takes a node of its own, so each domain has one.
use role ACCOUNTADMIN;

create compute pool if not exists SHOPSTREAM_DASHBOARDS
    min_nodes = 1
    max_nodes = 1
    instance_family = CPU_X64_XS
    auto_suspend_secs = 600
    auto_resume = true
    initially_suspended = true
    comment = 'Runs the dashboards of ShopStream.';

use role SECURITYADMIN;

grant role SHOPSTREAM_REPORTER to role SHOPSTREAM_DASHBOARDS;
grant role SHOPSTREAM_DASHBOARDS to role SYSADMIN;
grant usage on compute pool SHOPSTREAM_DASHBOARDS to role SHOPSTREAM_DASHBOARDS;
grant usage, create streamlit on schema SHOPSTREAM_DWH.DASHBOARDS to role SHOPSTREAM_DASHBOARDS;
grant read on stage SHOPSTREAM_DWH.DASHBOARDS.APP to role SHOPSTREAM_DASHBOARDS;

use role SHOPSTREAM_DASHBOARDS;

-- It holds nothing but a copy of the files, so a new one takes its place.
create or replace streamlit SHOPSTREAM_DWH.DASHBOARDS.PAGES
    from '@SHOPSTREAM_DWH.DASHBOARDS.APP'
    main_file = 'streamlit_app.py'
    runtime_name = 'SYSTEM$ST_CONTAINER_RUNTIME_PY3_11'
    compute_pool = SHOPSTREAM_DASHBOARDS
    query_warehouse = REPORTING_WH
    title = 'ShopStream';
-- Until then only its owner sees it.
alter streamlit SHOPSTREAM_DWH.DASHBOARDS.PAGES add live version from last;

use role SECURITYADMIN;

grant usage on schema SHOPSTREAM_DWH.DASHBOARDS to role SHOPSTREAM_REPORTER;
grant usage on streamlit SHOPSTREAM_DWH.DASHBOARDS.PAGES to role SHOPSTREAM_REPORTER;
