"""A domain's dbt project as parsed: its manifest, dbt's own copy of it, and the lineage of its columns.

Parsing takes seconds, so what it gives is kept in a folder that is named by all that it depends on: a model that is
changed, renamed or deleted, another dbt, or another database is another folder. A folder is complete or not there.
Each domain has a project of its own: one that cannot be parsed keeps no other from its work.

    python -m shopstream_assets.platform.transform.dbt_manifest     # ahead, for every domain that is installed
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from shopstream_assets.platform.declare.domain import REPOSITORY, Domain
from shopstream_assets.platform.declare.environment import warehouse_database
from shopstream_assets.platform.declare.registry import domains
from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.transform import column_lineage
from shopstream_assets.platform.transform.column_lineage import Lineage
from shopstream_assets.platform.transform.dbt_invocation import invoke_dbt

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

# Macros and generic tests of every domain's project. A project in another repository names them by this variable, as
#   macro-paths: [macros, "{{ env_var('PLATFORM_DBT_SHARED') }}/macros"]
SHARED, SHARED_VARIABLE = REPOSITORY / "dbt_project" / "shared", "PLATFORM_DBT_SHARED"
os.environ.setdefault(SHARED_VARIABLE, str(SHARED))
# What the parsed files follow from beside the project.
LIBRARIES = ("dbt-core", "dbt-adapters", "dbt-common", "dbt-snowflake", "sqlglot")
# Folders that dbt writes.
WRITTEN = {"target", "logs"}
# So many stay for those who go back to a branch; beyond them, those that no process has open are removed.
KEPT = 5


@dataclass(frozen=True)
class ParsedProject:
    """A folder of parsed files that stays until it is released, or this process ends."""

    folder: Path
    # Held shared; whoever removes folders needs it alone.
    lock: int = field(repr=False)

    @property
    def parsed(self) -> Path:
        """The manifest as dbt keeps it for itself: the JSON has lost the arguments of generic tests."""
        return self.folder / "partial_parse.msgpack"

    def release(self) -> None:
        """Let the folder be removed when it is old."""
        os.close(self.lock)

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        """The manifest as dbt gives it to others."""
        return json.loads((self.folder / "manifest.json").read_bytes())  # type: ignore[no-any-return]

    @cached_property
    def lineage(self) -> Lineage:
        """Where the columns of the manifest's models come from."""
        return json.loads((self.folder / "lineage.json").read_bytes())  # type: ignore[no-any-return]


def parsed_project(domain: Domain) -> ParsedProject:
    """A domain's project as it was when this process first asked: what a step builds is what its assets show.

    Raises Problem when dbt cannot parse it.
    """
    return _first_parsed(domain.project(), warehouse_database(domain))


@cache
def _first_parsed(project: Path, database: str) -> ParsedProject:
    return parse(project, database)


def built_manifest(domain: Domain) -> Mapping[str, Any]:
    """The manifest of a domain's project."""
    return parsed_project(domain).manifest


def read_parsed(file: Path) -> Manifest:
    """dbt's manifest from `ParsedProject.parsed`, complete: dbt itself leaves out what macros read as `graph`."""
    from dbt.contracts.graph.manifest import Manifest

    manifest = Manifest.from_msgpack(file.read_bytes())
    manifest.build_flat_graph()
    return manifest


def parse(project: Path, database: str) -> ParsedProject:
    """The parsed files of a project in a database, made where they are missing.

    Of several processes that want them, one parses and the others wait for it. Raises Problem when dbt refuses.
    """
    all_folders = project / "target" / database
    folder = all_folders / digest(project, database)
    while (found := _held(folder)) is None:
        all_folders.mkdir(parents=True, exist_ok=True)
        with _alone(all_folders / "manifest.lock"):
            if not folder.exists():
                _parse(project, folder)
                _remove_old(all_folders, folder)
    return found


def digest(project: Path, database: str) -> str:
    """Name of what parsing gives: of the files of the project, by name and content, of dbt, and of the database.

    Files of the folders beside it that it reads, as ../shared/macros, count as its own.
    """
    found = hashlib.sha256()
    for folder in (project, *_beside(project)):
        for path in _files(folder):
            name = os.path.relpath(path, project)
            found.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\0".encode())
    found.update(Path(column_lineage.__file__).read_bytes())
    found.update(repr([database, *(f"{name}=={version(name)}" for name in LIBRARIES)]).encode())
    return found.hexdigest()[:24]


def _beside(project: Path) -> list[Path]:
    """The folders outside the project that its dbt_project.yml names, and the shared one where it does."""
    import yaml  # type: ignore[import-untyped]

    settings = yaml.safe_load((project / "dbt_project.yml").read_text())
    named = {path for name, paths in settings.items() if name.endswith("-paths") for path in paths}
    shared = [Path(os.environ[SHARED_VARIABLE])] if any(SHARED_VARIABLE in path for path in named) else []
    return [*(project / path for path in sorted(named) if path.startswith("..")), *shared]


def _files(project: Path) -> list[Path]:
    return sorted(
        path
        for path in project.rglob("*")
        if path.is_file() and not WRITTEN & {*path.relative_to(project).parts[:-1]} and not path.name.startswith(".")
    )


def _held(folder: Path) -> ParsedProject | None:
    """The folder, held against removal; None where it is not there, also if it was removed just now."""
    try:
        lock = os.open(folder / "in_use", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    flock(lock, LOCK_SH)
    if (folder / "in_use").exists():
        return ParsedProject(folder, lock)
    os.close(lock)
    return None


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as held:
        flock(held, LOCK_EX)
        yield


def _parse(project: Path, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".parsing-") as target:
        arguments = ["--quiet", "--no-use-colors", "parse", *directories(project, target)]
        result = invoke_dbt(arguments)
        if not result.success:
            raise Problem(
                f"dbt cannot parse the project {project}: {result.exception}.",
                "correct the model or YAML file it names.",
            )
        compiled = directories(project, Path(target) / "compiled")
        lineage = column_lineage.column_lineage(result.result, compiled)  # type: ignore[arg-type]
        made = Path(target) / "made"
        made.mkdir()
        for name in ("manifest.json", "partial_parse.msgpack"):
            os.replace(Path(target) / name, made / name)
        (made / "lineage.json").write_text(json.dumps(lineage))
        (made / "in_use").touch()
        os.rename(made, folder)


def _remove_old(all_folders: Path, current: Path) -> None:
    """Remove the oldest folders beyond KEPT, except those that a process holds. The caller holds the lock."""
    others = [path.parent for path in all_folders.glob("*/in_use") if path.parent != current]
    for folder in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT - 1 :]:
        with (folder / "in_use").open("rb") as lock:
            try:
                flock(lock, LOCK_EX | LOCK_NB)
            except BlockingIOError:
                continue
            removed = folder.with_name(f".removed-{uuid4().hex}")
            os.rename(folder, removed)
            shutil.rmtree(removed)


def directories(project: Path, target: str | Path) -> Sequence[str]:
    """dbt's arguments for where the project is, and where it writes."""
    return [
        *("--project-dir", str(project), "--profiles-dir", str(project)),
        *("--target-path", str(target), "--log-path", str(target)),
    ]


if __name__ == "__main__":
    for each in domains():
        built_manifest(each)
