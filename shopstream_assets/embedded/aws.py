"""S3, and what else of AWS the platform uses, from ministack (see aws_server.py): one process, its data on disk."""

from __future__ import annotations

import http.client
import importlib.util
import json
import signal
import sys
from pathlib import Path

from shopstream_assets.embedded.errors import StackError
from shopstream_assets.embedded.process import Running
from shopstream_assets.embedded.state import Home, Memory, environment

NAME = "aws"
# Also saves what lives in memory: DynamoDB, Kinesis, secrets.
STOP_SIGNAL = signal.SIGTERM
# The buckets that were empty.
FORGETS = True


def prepare(home: Home, memory: Memory) -> None:
    """Make its folders."""
    for part in ("aws", "aws/s3", "aws/state"):
        (home.folder / part).mkdir(mode=0o700, exist_ok=True)


def command(home: Home, memory: Memory) -> list[str]:
    """Ministack in this interpreter; -P keeps the current folder off its path."""
    if importlib.util.find_spec("ministack") is None:
        raise StackError(
            "Starting aws: the package ministack, which answers for S3, is not installed. "
            "Install the local stack: `pip install -e '.[embedded]'` (or `make install`)."
        )
    return [sys.executable, "-P", "-m", "shopstream_assets.embedded.aws_server"]


def env(home: Home, memory: Memory) -> dict[str, str]:
    """Ministack is configured by its environment alone."""
    folder = home.folder / "aws"
    ours = environment(home, memory)
    return {
        # The default is every interface.
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(memory.ports[NAME]),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(folder / "s3"),
        "PERSIST_STATE": "1",
        "STATE_DIR": str(folder / "state"),
        "MINISTACK_REGION": ours["AWS_DEFAULT_REGION"],
        "AWS_ACCESS_KEY_ID": ours["AWS_ACCESS_KEY_ID"],
        "AWS_SECRET_ACCESS_KEY": ours["AWS_SECRET_ACCESS_KEY"],
        # Two more listeners that nobody here uses, on fixed ports and every interface.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        # It would look for containers to tidy up, and wait for a slow Docker for ten seconds.
        "DOCKER_HOST": f"unix://{folder}/no-docker.sock",
        "LOG_LEVEL": "WARNING",
        # The server beside this file, whichever copy of the package is installed.
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHONUNBUFFERED": "1",
    }


def user(home: Home) -> None:
    """It runs as we do."""


def preload() -> None:
    """Nothing takes long to import."""


def answers(home: Home, memory: Memory, process: Running) -> bool:
    """Whether the health page answers, and the process that was started owns the port.

    Ministack has no identity of its own, and takes any credentials: only the owner of the socket proves which it is.
    """
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=2)
    try:
        connection.request("GET", "/_ministack/health")
        healthy = "services" in json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return healthy and process.listens()


def bootstrap(home: Home, memory: Memory) -> None:
    """Create the bucket of each domain, where it is missing."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import ClientError

    ours = environment(home, memory)
    s3 = boto3.client(
        "s3",
        endpoint_url=ours["AWS_ENDPOINT_URL"],
        aws_access_key_id=ours["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=ours["AWS_SECRET_ACCESS_KEY"],
        region_name=ours["AWS_DEFAULT_REGION"],
        config=Config(connect_timeout=5, read_timeout=10, retries={"max_attempts": 2}, proxies={}),
    )
    for business in memory.businesses.values():
        try:
            s3.create_bucket(Bucket=business.bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        except ClientError as error:
            if error.response["Error"]["Code"] != "BucketAlreadyOwnedByYou":
                raise
