"""Start the local Snowflake: see `python -m shopstream_assets.embedded.snowflake --help`."""

import argparse
import logging
import os
import sys
import warnings
from pathlib import Path
from types import ModuleType

# What fakesnow imports through the connector and this process never uses: half of its start.
_UNUSED = ("pandas", "boto3", "botocore")


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop; the exit code says why it could not start."""
    options = _options(arguments)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    # results are read through DuckDB's DB API: 20% on a million rows, and one way for all statements
    warnings.filterwarnings("ignore", "Arrow output on a DB-API result", UserWarning)
    if options.log_statements:
        logging.getLogger("shopstream_assets").setLevel(logging.INFO)
    from shopstream_assets.embedded.snowflake.versions import UnsupportedVersion, require_versions

    try:
        require_versions()
    except UnsupportedVersion as error:
        print(error, file=sys.stderr)
        return 2
    _import_without_unused()
    from shopstream_assets.embedded.snowflake.server import Credentials, Protocol, serve
    from shopstream_assets.embedded.snowflake.sessions import Account, Limits
    from shopstream_assets.embedded.snowflake.stages import ObjectStore
    from shopstream_assets.embedded.snowflake.storage import StateInUse, Storage

    try:
        storage = Storage(options.state_dir)
    except StateInUse as error:
        print(error, file=sys.stderr)
        return 3
    limits = Limits(lock_timeout=options.lock_timeout, idle_transaction=options.idle_transaction_timeout)
    credentials = Credentials(password=os.environ.get("SNOWFLAKE_PASSWORD") or None)
    account = Account(storage, ObjectStore(options.s3_endpoint), limits)
    serve(Protocol(account, credentials, os.environ.get("SHOPSTREAM_STACK_TOKEN", "")), options.port)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m shopstream_assets.embedded.snowflake",
        description="The local Snowflake, on 127.0.0.1. S3 credentials come from AWS_ACCESS_KEY_ID, "
        "AWS_SECRET_ACCESS_KEY and AWS_DEFAULT_REGION; SNOWFLAKE_PASSWORD, when set, is required of clients.",
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state-dir", type=Path, required=True, help="databases live here; created if missing")
    parser.add_argument("--s3-endpoint", help="where s3:// URLs of stages lead, e.g. http://127.0.0.1:4566")
    parser.add_argument("--lock-timeout", type=float, default=60, metavar="SECONDS",
                        help="how long a writer waits for another's transaction (default 60)")  # fmt: skip
    parser.add_argument("--idle-transaction-timeout", type=float, default=600, metavar="SECONDS",
                        help="roll back a transaction whose client is silent for so long (default 600)")  # fmt: skip
    parser.add_argument("--log-statements", action="store_true", help="log every statement and its time")
    return parser.parse_args(arguments)


def _import_without_unused() -> None:
    """Import the connector as if pandas and boto3 were not installed, which it allows for."""
    absent: dict[str, ModuleType | None] = {name: None for name in _UNUSED if name not in sys.modules}
    sys.modules.update(absent)  # type: ignore[arg-type]
    import fakesnow  # noqa: F401

    for name in absent:
        del sys.modules[name]


if __name__ == "__main__":
    sys.exit(main())
