-- Written by `shopstream generate` from deploy/templates/snowflake/04_lake.sql; do not edit.
-- How Snowflake reads the lake: as an AWS role that deploy/aws/lake.yaml makes, without keys. The platform makes its
-- stage over the whole bucket; rows in quarantine stay out of reach, here and in the AWS role.
-- `if not exists`: a replaced integration gets another external id, and AWS would refuse it.
use role ACCOUNTADMIN;

create storage integration if not exists STREAMVISION_LAKE
    type = external_stage
    storage_provider = 'S3'
    enabled = true
    storage_aws_role_arn = '<% lake_reader_role_arn %>'
    storage_allowed_locations = ('s3://<% lake_bucket %>/')
    storage_blocked_locations = ('s3://<% lake_bucket %>/quarantine/');

use role SECURITYADMIN;

grant usage on integration STREAMVISION_LAKE to role STREAMVISION_LOADER;

-- STORAGE_AWS_IAM_USER_ARN and STORAGE_AWS_EXTERNAL_ID go into the AWS role: docs/production.md, step 3.
use role ACCOUNTADMIN;

describe integration STREAMVISION_LAKE;
