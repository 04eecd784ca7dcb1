"""The catalogue: dbt's own pages of a domain's models, with their columns, tests, SQL and lineage, without a network.

dbt's page asks for two files beside it: the manifest, which is the one that the platform builds with, and a catalog of
what the warehouse holds. That is the same, for models are built by contract: their columns and types are declared.
"""

from __future__ import annotations

import json
import threading
from importlib.util import find_spec
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from shopstream_assets.platform.declare.environment import warehouse_database
from shopstream_assets.platform.declare.registry import domain_named
from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.transform.dbt_manifest import parse

PLACE = "/catalogue"
# dbt's page tells its makers who looks at it, unless the project says otherwise: the browser asks nobody but us.
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data:"
# dbt runs once at a time in a process.
_parsing = threading.Lock()


def address(domain: str) -> str:
    """Where the catalogue of a domain is, below the dashboards' own address."""
    return f"{PLACE}/{domain}/"


def routes() -> list[Route]:
    """What the server of the pages answers beside them."""
    return [
        Route(f"{PLACE}/{{domain}}/", _page),
        Route(f"{PLACE}/{{domain}}/manifest.json", _manifest),
        Route(f"{PLACE}/{{domain}}/catalog.json", _catalog),
    ]


# Starlette runs what is no coroutine in a thread: parsing a project that was changed takes seconds.
def _page(request: Request) -> Response:
    _project_of(request)
    dbt = find_spec("dbt")
    assert dbt is not None
    (folder, *_) = dbt.submodule_search_locations or []
    return FileResponse(Path(folder) / "task" / "docs" / "index.html", headers={"Content-Security-Policy": POLICY})


def _manifest(request: Request) -> Response:
    return Response(_read_manifest(request), media_type="application/json")


def _catalog(request: Request) -> Response:
    nodes = {
        name: {
            "metadata": {"type": "table", **{part: node[part] for part in ("database", "schema", "name")}},
            "columns": {
                column["name"]: {"name": column["name"], "type": column["data_type"], "index": index}
                for index, column in enumerate(node["columns"].values(), 1)
            },
            "stats": {},
        }
        for name, node in json.loads(_read_manifest(request))["nodes"].items()
        if node["resource_type"] == "model"
    }
    return JSONResponse({"metadata": {}, "nodes": nodes, "sources": {}, "errors": None})


def _read_manifest(request: Request) -> bytes:
    project, database = _project_of(request)
    try:
        with _parsing:
            parsed = parse(project, database)
    except Problem as problem:
        raise HTTPException(500, "dbt cannot parse this project: `shopstream doctor` says why.") from problem
    try:
        return (parsed.folder / "manifest.json").read_bytes()
    finally:
        parsed.release()


def _project_of(request: Request) -> tuple[Path, str]:
    try:
        found = domain_named(request.path_params["domain"])
    except Problem as problem:
        raise HTTPException(404, str(problem)) from problem
    return found.project(), warehouse_database(found)
