"""The files of a business's Power BI project, and the one that opens a connection to its marts."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from shopstream_assets.cli.generate.power_bi.model import Model
from shopstream_assets.cli.generate.power_bi.pages import report_files, written
from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.settings import REPORTING
from shopstream_assets.platform.transform.dbt_manifest import built_manifest

SCHEMAS = "https://developer.microsoft.com/json-schemas/fabric"


def power_bi_files(domain: Domain) -> Iterator[tuple[str, str]]:
    """Path below the folder powerbi, and text, of each file of the domain: `<Title>.pbip` opens them in Power BI."""
    model, title = Model.of(built_manifest(domain)), domain.title
    yield (
        f"{title}.pbip",
        written(
            {
                "$schema": f"{SCHEMAS}/pbip/pbipProperties/1.0.0/schema.json",
                "version": "1.0",
                "artifacts": [{"report": {"path": f"{title}.Report"}}],
                "settings": {"enableAutoRecovery": True},
            }
        ),
    )
    yield f"{title}.pbids", written(_connection(domain))
    for kind in ("SemanticModel", "Report"):
        yield f"{title}.{kind}/.platform", written(_platform(domain, kind))
    yield (
        f"{title}.SemanticModel/definition.pbism",
        written(
            {
                "$schema": f"{SCHEMAS}/item/semanticModel/definitionProperties/1.0.0/schema.json",
                "version": "4.2",
                "settings": {},
            }
        ),
    )
    for path, text in model.files(domain):
        yield f"{title}.SemanticModel/definition/{path}", text
    for path, content in report_files(domain, model):
        yield f"{title}.Report/{path}", written(content)


def _platform(domain: Domain, kind: str) -> dict[str, object]:
    """What Fabric knows the item by; the same whenever it is written."""
    return {
        "$schema": f"{SCHEMAS}/gitIntegration/platformProperties/2.0.0/schema.json",
        "metadata": {"type": kind, "displayName": domain.title},
        "config": {"version": "2.0", "logicalId": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{domain.name}/{kind}"))},
    }


def _connection(domain: Domain) -> dict[str, object]:
    """A .pbids: Power BI opens it with the marts to choose from, and asks for a login."""
    return {
        "version": "0.1",
        "connections": [
            {
                "details": {
                    "protocol": "snowflake",
                    "address": {"server": "your_account.snowflakecomputing.com", "warehouse": REPORTING},
                },
                "options": {"role": f"{domain.prefix}_REPORTER"},
                "mode": "Import",
            }
        ],
    }
