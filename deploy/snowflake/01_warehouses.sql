-- Three warehouses, shared by all domains, so that loading, transforming and reporting neither wait for each other nor
-- hide in one bill. A query's tag tells whose it is.
-- A statement that runs for an hour is stuck, and so is one that queues for ten minutes.
use role SYSADMIN;

create warehouse if not exists LOADING_WH
    warehouse_size = 'XSMALL'
    auto_suspend = 60
    auto_resume = true
    initially_suspended = true
    statement_timeout_in_seconds = 3600
    statement_queued_timeout_in_seconds = 600
    comment = 'COPY from the lake into STAGING.';

create warehouse if not exists TRANSFORMING_WH
    warehouse_size = 'XSMALL'
    auto_suspend = 60
    auto_resume = true
    initially_suspended = true
    statement_timeout_in_seconds = 3600
    statement_queued_timeout_in_seconds = 600
    comment = 'dbt.';

create warehouse if not exists REPORTING_WH
    warehouse_size = 'XSMALL'
    auto_suspend = 60
    auto_resume = true
    initially_suspended = true
    statement_timeout_in_seconds = 600
    statement_queued_timeout_in_seconds = 300
    comment = 'Readers of the marts, and the checks of the platform.';

-- Only an account administrator may make a resource monitor. At the quota what runs may finish and nothing new starts.
use role ACCOUNTADMIN;

create resource monitor if not exists SHOPSTREAM_MONTHLY with
    credit_quota = 100
    frequency = monthly
    start_timestamp = immediately
    triggers
        on 75 percent do notify
        on 100 percent do suspend
        on 110 percent do suspend_immediate;

alter warehouse LOADING_WH set resource_monitor = SHOPSTREAM_MONTHLY;
alter warehouse TRANSFORMING_WH set resource_monitor = SHOPSTREAM_MONTHLY;
alter warehouse REPORTING_WH set resource_monitor = SHOPSTREAM_MONTHLY;
