"""The folder `.shopstream`: what the stack remembers between two commands, and the environment it hands out."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from shopstream_assets.embedded.businesses import Business
from shopstream_assets.embedded.errors import StackError
from shopstream_assets.platform.declare.domain import Domain

FOLDER = ".shopstream"
# Beside what Dagster keeps: the processes of `stack up --ui`.
PROCESSES = "processes.json"
REPOSITORY = Path(__file__).resolve().parents[2]
# A cold start writes about 60 MB; a day or two of the demo and its logs need the rest.
MINIMUM_FREE_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True)
class Home:
    """Where everything of one stack lies. `root` is the folder that holds `.shopstream`, absolute."""

    root: Path

    @property
    def folder(self) -> Path:
        """The state folder itself."""
        return self.root / FOLDER

    @property
    def logs(self) -> Path:
        """One file per service."""
        return self.folder / "logs"

    @property
    def dagster_processes(self) -> Path:
        """The processes that `stack up --ui` has started, as long as it has not ended them."""
        return self.folder / "dagster" / PROCESSES

    @property
    def env_file(self) -> Path:
        """The environment in dotenv syntax, readable by its owner only."""
        return self.folder / "env"

    @property
    def dotenv(self) -> Path:
        """The link that makes a plain `dagster dev` find the environment."""
        return self.root / ".env"


def home(root: Path | None = None) -> Home:
    """The stack's home: `root`, else SHOPSTREAM_HOME, else the repository this package is installed from."""
    if root is None and (configured := os.environ.get("SHOPSTREAM_HOME")):
        root = Path(configured)
    if root is None:
        if not (REPOSITORY / "pyproject.toml").exists():
            raise StackError(
                "Locating the local stack: this package is not installed from a checkout, so there is no repository "
                "root to keep the state in. Set SHOPSTREAM_HOME to a folder of yours and try again."
            )
        root = REPOSITORY
    return Home(root.expanduser().resolve())


@dataclass
class Memory:
    """What must be the same at every start: secrets, ports, the domains' settings, which first-time work is done."""

    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    postgres_password: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    aws_access_key_id: str = field(default_factory=lambda: "AKIA" + secrets.token_hex(8).upper())
    aws_secret_access_key: str = field(default_factory=lambda: secrets.token_urlsafe(30))
    snowflake_password: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    ports: dict[str, int] = field(default_factory=dict)
    s3_port_of_emulator: int | None = None
    businesses: dict[str, Business] = field(default_factory=dict)
    # <service>/<domain>, once the service has what the domain needs.
    bootstrapped: list[str] = field(default_factory=list)


def recall(home: Home) -> Memory | None:
    """What is remembered, or None where no stack was ever started."""
    path = home.folder / "state.json"
    try:
        found = _with_businesses(json.loads(path.read_text()))
        found["businesses"] = {name: Business(**kept) for name, kept in found["businesses"].items()}
        return Memory(**{f.name: found[f.name] for f in fields(Memory)})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise StackError(
            f"Reading {path}: it is not what the stack wrote there ({type(error).__name__}). The passwords of the "
            "data beside it are lost with it: run `shopstream stack reset` to start anew."
        ) from error


def _with_businesses(found: dict[str, Any]) -> dict[str, Any]:
    """What a stack remembers that was made when there was one domain: it goes on with its data where they are."""
    if "businesses" in found:
        return found
    settings = {name: found[name] for name in ("source_mode", "start_date", "scale", "seed")}
    names = {
        **{"name": "shopstream", "prefix": "SHOPSTREAM", "source_database": "shop", "bucket": "shopstream-lake"},
        **{"database": "SHOPSTREAM_DWH", "database_variable": "SNOWFLAKE_DATABASE"},
        **{"integration": "SHOPSTREAM_LAKE", "integration_variable": "SNOWFLAKE_STORAGE_INTEGRATION"},
    }
    done = [f"{service}/shopstream" for service in found["bootstrapped"]]
    return {**found, "businesses": {"shopstream": {**names, **settings}}, "bootstrapped": done}


def remember(home: Home, memory: Memory) -> None:
    """Write the memory and the environment file, each in one step."""
    write_private(home.folder / "state.json", json.dumps(asdict(memory), indent=1) + "\n")
    write_private(home.env_file, dotenv_text(environment(home, memory)))


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step; only its owner may read it, at no moment anyone else."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def welcome(memory: Memory, domains: Iterable[Domain], environ: Mapping[str, str]) -> None:
    """Give each domain that is new its place on the stack, and take over what the shell sets of any."""
    for domain in domains:
        business = memory.businesses.setdefault(domain.name, Business.of(domain))
        # What it is called may change with the code; where its data is may not.
        business.prefix = domain.prefix
        business.database_variable, business.integration_variable = (
            domain.database_variable,
            domain.integration_variable,
        )
        business.adopt(environ)


def environment(home: Home, memory: Memory) -> dict[str, str]:
    """The variables that production sets as well, with the values of this stack."""
    ports = memory.ports
    login = f"shopstream:{memory.postgres_password}@127.0.0.1:{ports['postgres']}"
    of_domains = [business.environment(login) for business in memory.businesses.values()]
    return {
        **{variable: value for found in of_domains for variable, value in found.items()},
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['aws']}",
        "AWS_ACCESS_KEY_ID": memory.aws_access_key_id,
        "AWS_SECRET_ACCESS_KEY": memory.aws_secret_access_key,
        "AWS_DEFAULT_REGION": "eu-west-1",
        "SNOWFLAKE_ACCOUNT": "shopstream-local",
        "SNOWFLAKE_HOST": "127.0.0.1",
        "SNOWFLAKE_PORT": str(ports["snowflake"]),
        "SNOWFLAKE_PROTOCOL": "http",
        "SNOWFLAKE_USER": "SHOPSTREAM_SERVICE",
        "SNOWFLAKE_PASSWORD": memory.snowflake_password,
        "SNOWFLAKE_ROLE": "SHOPSTREAM_TRANSFORMER",
        # The repository, whatever the root: dagster.yaml is there, and reads the two variables below.
        "DAGSTER_HOME": str(REPOSITORY),
        "SHOPSTREAM_DAGSTER_POSTGRES_URL": f"postgresql+psycopg2://{login}/dagster",
        "SHOPSTREAM_DAGSTER_DIR": str(home.folder / "dagster"),
        "DAGSTER_EVENT_BATCH_SIZE": "500",
        # A backfill waits for a code server that is gone; without this it fails, and cancels its runs.
        "DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR": "1",
    }


def dotenv_text(variables: Mapping[str, str]) -> str:
    """Variables as python-dotenv and a POSIX shell both read them."""
    lines = ["# Written by `shopstream stack up`; it holds passwords. To use it in a shell: set -a; . .shopstream/env"]
    for name, value in variables.items():
        if "'" in value or "\n" in value:
            raise StackError(
                f"Writing {name}: its value contains a quote or a line break, which no dotenv reader takes the same "
                "way. Move the repository to a path without them."
            )
        lines.append(f"{name}={value}" if re.fullmatch(r"[\w./:@%+=,-]*", value, re.ASCII) else f"{name}='{value}'")
    return "\n".join(lines) + "\n"


def link_dotenv(home: Home) -> None:
    """Point `.env` to the environment, unless the user keeps an `.env` of their own."""
    if not os.path.lexists(home.dotenv):
        home.dotenv.symlink_to(Path(FOLDER) / "env")


def unlink_dotenv(home: Home) -> None:
    """Remove `.env` if it is the stack's own link."""
    if home.dotenv.is_symlink() and home.dotenv.readlink() == Path(FOLDER) / "env":
        home.dotenv.unlink()


def prepare_folder(home: Home) -> None:
    """Create the folders and see that there is room before anything starts."""
    # As root, PostgreSQL runs as another user, who must be able to pass through.
    home.folder.mkdir(parents=True, exist_ok=True)
    home.folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    for name in ("logs", "run", "tmp", "dagster"):
        (home.folder / name).mkdir(mode=0o700, exist_ok=True)
    free = shutil.disk_usage(home.folder).free
    if free < MINIMUM_FREE_BYTES:
        raise StackError(
            f"Starting the local stack: {free // 2**20} MB are free on the disk of {home.folder}, "
            f"{MINIMUM_FREE_BYTES // 2**20} MB are needed. Free some space (or move the repository) and run it again; "
            "nothing was started."
        )


def _open_in(home: Home, path: Path) -> int:
    """Open a file of the home's folder, making both; raises StackError where the folder cannot be made or written."""
    try:
        home.folder.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        configured = os.environ.get("SHOPSTREAM_HOME")
        why = f"SHOPSTREAM_HOME is {configured}" if configured else "it is in the repository that this runs from"
        raise StackError(
            f"Making the folder of the local stack, {home.folder}: {(error.strerror or str(error)).lower()} ({why}). "
            "Set SHOPSTREAM_HOME to a folder in which you may write; nothing was started."
        ) from None


@contextlib.contextmanager
def exclusive(home: Home, say: Callable[[str], None], patience: float = 120) -> Iterator[None]:
    """One command at a time: the second waits for the first, at most `patience` seconds."""
    path = home.folder / "lock"
    deadline = time.monotonic() + patience
    announced = False
    while True:
        fd = _open_in(home, path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A reset may have removed the file that was just locked; then the lock guards nothing.
            if path.exists() and path.stat().st_ino == os.fstat(fd).st_ino:
                break
        except BlockingIOError:
            if not announced:
                say("Another shopstream command is at work on this stack; waiting for it.")
                announced = True
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        if time.monotonic() > deadline:
            raise StackError(
                f"Waiting for the lock {path}: another shopstream command has held it for {patience:.0f} s. "
                f"See which one with `fuser {path}`, end it, and run this again."
            )
        time.sleep(0.05)
    try:
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def alone(home: Home, what: str, refusal: str, about: str = "") -> Iterator[Callable[[str], None]]:
    """Let one process at a time do `what`, as long as the block lasts; `about` is what others are told of it.

    Yields what changes `about`.

    Raises StackError with `refusal`, in which {pid} and {about} are those of the process that does it already.
    """
    fd = _open_in(home, home.folder / f"{what}.lock")
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid, _, found = os.pread(fd, 4096, 0).decode().partition(" ")
            raise StackError(refusal.format(pid=pid or "unknown", about=found)) from None

        def tell(about: str) -> None:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()} {about}".encode(), 0)

        tell(about)
        yield tell
    finally:
        os.close(fd)


def is_at_work(home: Home, what: str) -> bool:
    """Whether a process does `what` in `alone`."""
    try:
        with (home.folder / f"{what}.lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextlib.contextmanager
def explained(home: Home) -> Iterator[None]:
    """Turn what an operating system says about files into what a user can do about it."""
    try:
        yield
    except OSError as error:
        where = error.filename or home.folder
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StackError(
                f"Writing {where}: the disk is full. Free some space and run `shopstream stack up` again; what was "
                "stored before is intact."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StackError(
                f"Writing {where}: {error.strerror}. The stack was probably started by another user before: run it as "
                f"that user, or have that user run `shopstream stack reset`. The folder must be writable: {home.folder}"
            ) from error
        raise
