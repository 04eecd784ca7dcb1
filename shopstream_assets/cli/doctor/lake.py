"""Checks of the lake's bucket."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

from shopstream_assets.cli.doctor.finding import CONNECT_SECONDS, LOCAL_HINT, Environment, Finding, words
from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.environment import lake_bucket


def check_lake(domain: Domain, environment: Environment) -> Iterator[Finding]:
    """The bucket exists, and an object can be written, read, listed and deleted."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    bucket = lake_bucket(domain, environment)
    key = f"_doctor/{uuid.uuid4()}"
    limits = Config(connect_timeout=CONNECT_SECONDS, read_timeout=15, retries={"total_max_attempts": 1})
    steps: list[tuple[str, Callable[[Any], Any], str]] = [
        ("bucket", lambda s3: s3.head_bucket(Bucket=bucket), "s3:ListBucket"),
        ("write", lambda s3: s3.put_object(Bucket=bucket, Key=key, Body=b"probe"), "s3:PutObject"),
        ("list", lambda s3: s3.list_objects_v2(Bucket=bucket, Prefix="_doctor/", MaxKeys=1), "s3:ListBucket"),
        ("read", lambda s3: s3.get_object(Bucket=bucket, Key=key)["Body"].read(), "s3:GetObject"),
        ("delete", lambda s3: s3.delete_object(Bucket=bucket, Key=key), "s3:DeleteObject"),
    ]
    try:
        # An endpoint that boto3 would not see, were the mapping another than os.environ.
        s3 = boto3.client("s3", config=limits, endpoint_url=environment.get("AWS_ENDPOINT_URL") or None)
        for name, step, right in steps:
            try:
                step(s3)
            except ClientError as error:
                code = error.response.get("Error", {}).get("Code", "")
                yield Finding("FAIL", f"S3: {name}", words(error), _s3_advice(code, domain, bucket, right))
                if name in ("bucket", "write"):
                    return
            else:
                yield Finding("ok", f"S3: {name}", f"s3://{bucket}/{'' if name == 'bucket' else '_doctor/'}")
    except BotoCoreError as error:
        advice = f"Check AWS_ENDPOINT_URL, region, network, and the source of the credentials. {LOCAL_HINT}"
        yield Finding("FAIL", "S3", words(error), advice)


def _s3_advice(code: str, domain: Domain, bucket: str, right: str) -> str:
    if code in ("404", "NoSuchBucket"):
        return f"Create the bucket {bucket}, or correct {domain.variable('LAKE_BUCKET')}. {LOCAL_HINT}"
    if code in ("301", "PermanentRedirect", "AuthorizationHeaderMalformed"):
        return "The bucket lies in another region: correct AWS_DEFAULT_REGION."
    return f"Correct the credentials, or grant {right} on {bucket}."
