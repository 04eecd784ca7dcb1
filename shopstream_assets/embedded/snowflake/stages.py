"""External stages: their definitions, and the objects behind them.

fakesnow 0.12.1 keeps stages in memory, cannot list or drop an external one, and hands s3:// URLs to DuckDB's
httpfs extension, which a machine without internet cannot install. pyarrow speaks S3 here.
"""

import datetime as dt
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import duckdb
from pyarrow import fs
from sqlglot import exp

from shopstream_assets.embedded.snowflake.dialect import Namespace, TableName
from shopstream_assets.embedded.snowflake.errors import (
    SnowflakeError,
    already_exists,
    does_not_exist,
    unsupported,
)

_TRANSFERS = 8  # objects fetched at a time
# bytes; every read is a request of its own
_CHUNK = 64 << 20


@dataclass(frozen=True)
class StagedFile:
    """An object behind a stage. `key` is its path in the bucket, `url` what Snowflake reports."""

    url: str
    key: str
    path: str  # bucket/key
    size: int
    modified: dt.datetime


class ObjectStore:
    """The S3 endpoint that external stages point to. Credentials come from the usual AWS_ variables."""

    def __init__(self, endpoint: str | None) -> None:
        self._endpoint = endpoint
        self._filesystem: fs.S3FileSystem | None = None

    def under(self, url: str) -> list[StagedFile]:
        """All objects whose URL starts with `url`, by name."""
        bucket, prefix = _split(url)
        directory = f"{bucket}/{prefix}".rpartition("/")[0]
        selector = fs.FileSelector(directory, recursive=True, allow_not_found=True)
        try:
            found = self._s3().get_file_info(selector)
        except OSError as error:
            raise self._failed(url, error) from error
        wanted = f"{bucket}/{prefix}"
        return sorted(
            (_staged(info) for info in found if info.type == fs.FileType.File and info.path.startswith(wanted)),
            key=lambda file: file.key,
        )

    def find(self, urls: Iterable[str]) -> list[StagedFile]:
        """Exactly these objects.

        Raises:
            SnowflakeError: 91016 naming the first one that does not exist.
        """

        def stat(url: str) -> StagedFile:
            bucket, key = _split(url)
            try:
                info = self._s3().get_file_info(f"{bucket}/{key}")
            except OSError as error:
                raise self._failed(url, error) from error
            if info.type != fs.FileType.File:
                raise SnowflakeError(
                    91016,
                    "22000",
                    f"Remote file '{url}' was not found. If you are running a copy command, please make sure files "
                    "are not deleted when they are being loaded or files are not being loaded into two different "
                    "tables concurrently with auto purge option.",
                )
            return _staged(info)

        with ThreadPoolExecutor(_TRANSFERS) as pool:
            return list(pool.map(stat, urls))

    def fetch(self, files: list[StagedFile], directory: Path) -> list[Path]:
        """Copy the objects into a directory, in order."""

        def fetch(number: int, file: StagedFile) -> Path:
            target = directory / f"{number}.parquet"
            try:
                with self._s3().open_input_file(file.path) as source, target.open("wb") as sink:
                    while chunk := source.read(_CHUNK):
                        sink.write(chunk)
            except OSError as error:
                raise self._failed(file.url, error) from error
            return target

        with ThreadPoolExecutor(_TRANSFERS) as pool:
            return list(pool.map(fetch, range(len(files)), files))

    def _s3(self) -> fs.S3FileSystem:
        if self._filesystem is None:
            if not self._endpoint:
                raise unsupported("external stages without --s3-endpoint")
            parts = urlsplit(self._endpoint)
            self._filesystem = fs.S3FileSystem(
                access_key=os.environ.get("AWS_ACCESS_KEY_ID"),
                secret_key=os.environ.get("AWS_SECRET_ACCESS_KEY"),
                region=os.environ.get("AWS_DEFAULT_REGION", "us-east-1"),
                scheme=parts.scheme,
                endpoint_override=parts.netloc,
                connect_timeout=5,
                request_timeout=30,
                retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=3),
            )
        return self._filesystem

    def _failed(self, url: str, error: OSError) -> SnowflakeError:
        return SnowflakeError(
            91003, "22000", f"Failure using stage area: cannot read '{url}' at {self._endpoint}: {error}"
        )


class Stages:
    """The stages of all databases, kept in the account's own file."""

    def __init__(self, duck: duckdb.DuckDBPyConnection) -> None:
        self._duck = duck

    def create(self, name: TableName, url: str, integration: str, comment: str, *, exists: bool, replace: bool) -> bool:
        """Define a stage; False when it was there and that is fine."""
        if self._url(name) is not None:
            if not replace:
                if exists:
                    return False
                raise already_exists(".".join(name))
            self.drop(name, exists=True)
        self._duck.execute(
            "insert into _account.main.stages values (?, ?, ?, ?, ?, ?, now())",
            [*name, url, integration, comment],
        )
        return True

    def drop(self, name: TableName, *, exists: bool) -> None:
        """Forget a stage; its objects stay."""
        if self._url(name) is None and not exists:
            raise does_not_exist("Stage", ".".join(name))
        self._duck.execute(
            "delete from _account.main.stages where database_name = ? and schema_name = ? and name = ?",
            [*name],
        )

    def locate(self, reference: str, namespace: Namespace) -> str:
        """The URL of a stage reference like @RAW.LAKE/orders/dt=2026-01-01/."""
        stage, _, path = reference.removeprefix("@").partition("/")
        if stage.startswith(("%", "~")):
            raise unsupported("table and user stages; define an external stage")
        parts = re.findall(r'"(?:[^"]|"")*"|[^.]+', stage)
        identifiers = [
            exp.to_identifier(part[1:-1].replace('""', '"') if part.startswith('"') else part.upper(), quoted=True)
            for part in parts
        ]
        name = namespace.resolve(exp.Table(**dict(zip(("this", "db", "catalog"), reversed(identifiers), strict=False))))
        url = self._url(name)
        if url is None:
            raise does_not_exist("Stage", ".".join(name))
        return f"{url.rstrip('/')}/{path}"

    def _url(self, name: TableName) -> str | None:
        row = self._duck.execute(
            "select url from _account.main.stages where database_name = ? and schema_name = ? and name = ?",
            [*name],
        ).fetchone()
        return row[0] if row else None


def _staged(info: fs.FileInfo) -> StagedFile:
    key = info.path.partition("/")[2]
    return StagedFile(f"s3://{info.path}", key, info.path, info.size or 0, info.mtime)


def _split(url: str) -> tuple[str, str]:
    parts = urlsplit(url, allow_fragments=False)
    if parts.scheme != "s3":
        raise unsupported(f"stages at '{url}': only s3:// URLs")
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key
