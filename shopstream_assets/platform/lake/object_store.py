"""The bucket of the lake, over boto3; errors say what to do."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import dagster as dg
from pydantic import Field, PrivateAttr

from shopstream_assets.platform.errors import ServiceError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from botocore.loaders import Loader
    from mypy_boto3_s3 import S3Client

# Uploads and downloads in flight at once: small objects wait for the network, not for a core.
CONCURRENCY = 16
# Seconds: a store that is down ends as an error, a slow one is waited for.
CONNECT_TIMEOUT = 10
READ_TIMEOUT = 60
ATTEMPTS = 4
# What is sent at once: one record of TLS.
SMALL_BYTES = 16 * 1024
# Objects that S3 deletes with one request.
AT_ONCE = 1000
# Manifests of seven tables over two years, a few kB each.
KEPT = 5_000


class ObjectMissing(Exception):
    """There is no object under that key."""


class ObjectChanged(Exception):
    """The object under that key is not the one that was to be replaced."""


class _Contents:
    """What this process read or wrote last, by endpoint, bucket, key and ETag: under one ETag it never changes."""

    def __init__(self) -> None:
        self._contents: OrderedDict[tuple[str, ...], bytes] = OrderedDict()
        self._lock = Lock()

    def keep(self, name: tuple[str, ...], content: bytes) -> bytes:
        with self._lock:
            self._contents[name] = content
            self._contents.move_to_end(name)
            while len(self._contents) > KEPT:
                self._contents.popitem(last=False)
        return content

    def find(self, name: tuple[str, ...]) -> bytes | None:
        with self._lock:
            if (content := self._contents.get(name)) is not None:
                self._contents.move_to_end(name)
            return content


_kept = _Contents()


class ObjectStoreResource(dg.ConfigurableResource):
    """One S3 bucket. Credentials, region and endpoint are those of any AWS tool (environment, profile, role)."""

    bucket: str = Field(description="Bucket of the lake.")

    _client: S3Client | None = PrivateAttr(default=None)

    @property
    def client(self) -> S3Client:
        """The boto3 client, made once; safe for threads."""
        if self._client is None:
            import boto3
            import botocore.session
            from botocore.config import Config

            session = botocore.session.get_session()
            session.register_component("data_loader", _descriptions(session.get_config_variable("data_path")))
            # To read when each object was stored, for which nobody asks, would be most of what a listing costs.
            session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=str)
            config = Config(
                connect_timeout=CONNECT_TIMEOUT,
                read_timeout=READ_TIMEOUT,
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                max_pool_connections=CONCURRENCY,
            )
            client = boto3.Session(botocore_session=session).client("s3", config=config)
            client.meta.events.register_last("before-call.s3", _send_at_once)
            self._client = client
        return self._client

    def put(self, key: str, content: bytes, content_type: str) -> str:
        """Store an object and return its ETag. S3 refuses content that does not arrive whole (a checksum travels)."""
        with self._errors(key):
            return self.client.put_object(Bucket=self.bucket, Key=key, Body=content, ContentType=content_type)["ETag"]

    def replace(self, key: str, content: bytes, content_type: str, etag: str | None) -> str:
        """Store an object in place of the one with that ETag, None where there must be none; returns its ETag.

        Raises ObjectChanged, storing nothing, where another is there. S3 decides, so of two writers one succeeds.
        """
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        try:
            with self._errors(key):
                stored = self.client.put_object(
                    Bucket=self.bucket,
                    Key=key,
                    Body=content,
                    ContentType=content_type,
                    **condition,  # type: ignore[arg-type]
                )
        except ObjectMissing:
            # What was to be replaced has been deleted.
            raise ObjectChanged(key) from None
        _kept.keep(self._named(key, stored["ETag"]), content)
        return stored["ETag"]

    def get(self, key: str) -> bytes:
        """The content of an object; ObjectMissing where there is none."""
        with self._errors(key):
            return self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def get_listed(self, key: str, etag: str) -> bytes:
        """The content of an object that was listed with an ETag, read once in a process; as it is now, where it is not
        that any more. ObjectMissing where there is none.
        """
        if (content := _kept.find(self._named(key, etag))) is not None:
            return content
        with self._errors(key):
            found = self.client.get_object(Bucket=self.bucket, Key=key)
            return _kept.keep(self._named(key, found["ETag"]), found["Body"].read())

    def _named(self, key: str, etag: str) -> tuple[str, ...]:
        return self.client.meta.endpoint_url, self.bucket, key, etag

    def listed(self, prefix: str, start_after: str = "", until: str | None = None) -> Iterator[tuple[str, int, str]]:
        """(key, bytes, ETag) of the objects under a prefix in key order, from after `start_after` to before `until`."""
        with self._errors(prefix):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=prefix, StartAfter=start_after
            )
            for page in pages:
                for item in page.get("Contents", []):
                    if until is not None and item["Key"] >= until:
                        return
                    yield item["Key"], item["Size"], item["ETag"]

    def delete(self, keys: Sequence[str]) -> None:
        """Delete up to AT_ONCE objects; one that is not there is none to delete."""
        if not keys:
            return
        told = f"{keys[0]} and {len(keys) - 1} more"
        with self._errors(told):
            refused = self.client.delete_objects(
                Bucket=self.bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
            )
            if errors := refused.get("Errors"):
                first, denied = errors[0], errors[0].get("Code") == "AccessDenied"
                raise ServiceError(
                    f"S3 did not delete {len(errors)} of {len(keys)} objects, the first s3://{self.bucket}/"
                    f"{first.get('Key')} ({first.get('Code')}).",
                    "grant s3:DeleteObject on raw/* and quarantine/*." if denied else "they are deleted the next time.",
                    retry=not denied,
                )

    def page(self, key: str) -> str:
        """Address of an object for a browser: AWS's console, or the endpoint's own where that is another."""
        endpoint, region = self.client.meta.endpoint_url, self.client.meta.region_name
        if "amazonaws.com" in endpoint:
            return (
                f"https://{region}.console.aws.amazon.com/s3/object/{self.bucket}?region={region}&prefix={quote(key)}"
            )
        return f"{endpoint}/{self.bucket}/{quote(key, safe='/=')}"

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            ConnectionError,
            HTTPClientError,
            IncompleteReadError,
        )

        try:
            yield
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in ("NoSuchKey", "404"):
                raise ObjectMissing(key) from None
            # 409: S3 had another conditional write of that key under way.
            if code in ("PreconditionFailed", "412", "ConditionalRequestConflict"):
                raise ObjectChanged(key) from None
            raise self._refused(code, key, error) from None
        except (ConnectionError, HTTPClientError, IncompleteReadError) as error:
            raise ServiceError(
                f"S3 did not answer for s3://{self.bucket}/{key}, or cut the connection ({error}).",
                "check AWS_ENDPOINT_URL and the network (`shopstream doctor`).",
                retry=True,
            ) from None
        except (BotoCoreError, ValueError) as error:
            raise ServiceError(
                f"S3 cannot be asked for s3://{self.bucket}/{key} ({' '.join(str(error).split())}).",
                "correct the AWS credentials, profile, region, AWS_ENDPOINT_URL, or the domain's LAKE_BUCKET (as "
                "SHOPSTREAM_LAKE_BUCKET).",
                retry=False,
            ) from None

    def _refused(self, code: str, key: str, error: ClientError) -> ServiceError:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code == "NoSuchBucket":
            return ServiceError(
                f"the bucket {self.bucket} does not exist.",
                "create it, or correct the domain's LAKE_BUCKET (as SHOPSTREAM_LAKE_BUCKET).",
                retry=False,
            )
        if status in (401, 403) or code == "ExpiredToken":
            return ServiceError(
                f"S3 denied access to s3://{self.bucket}/{key} ({code}).",
                "correct the AWS credentials, or grant s3:GetObject, s3:PutObject and s3:ListBucket on the bucket.",
                retry=False,
            )
        return ServiceError(
            f"S3 failed for s3://{self.bucket}/{key} ({error}).",
            "try again, or correct what the message names.",
            retry=status in (408, 409, 429) or status >= 500,
        )


def _send_at_once(params: dict[str, Any], **_: object) -> None:
    """Let no small object wait for S3's leave to be sent: botocore asks for it first, which is a round trip for each,
    and reads the answer byte by byte (nearly half of what storing a small object costs).

    A large one does wait: where S3 refuses, it may close while the object is still being sent, and its reason is lost.
    """
    body = params["body"]
    if len(body if isinstance(body, bytes) else body.getbuffer()) <= SMALL_BYTES:
        params["headers"].pop("Expect", None)


@cache
def _descriptions(folders: str | None) -> Loader:
    """botocore's reader of its files that describe AWS: most of what a client costs, and the same for all."""
    from botocore.loaders import create_loader

    return create_loader(folders)
