"""What a dbt model's page says before it ever ran: its columns with their tests and origins, and its files.

All of it is in the manifest, and in the lineage that was written beside it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from shopstream_assets.platform.present.code_references import code_references
from shopstream_assets.platform.transform.column_lineage import Lineage

Node = Mapping[str, Any]
KeyOf = Callable[[Node], dg.AssetKey]


def model_metadata(
    node: Node, manifest: Mapping[str, Any], lineage: Lineage, key_of: KeyOf, project: Path
) -> dict[str, Any]:
    """Column schema, column lineage and links to the files of a model."""
    relations = {**manifest["nodes"], **manifest["sources"]}
    origins = {
        column: [(key_of(relations[parent]), name) for parent, name in found]
        for column, found in lineage.get(node["unique_id"], {}).items()
        if column in node["columns"]
    }
    dependencies = {
        column: [dg.TableColumnDep(asset_key=key, column_name=name) for key, name in found]
        for column, found in origins.items()
    }
    sql, declared = project / node["original_file_path"], (node.get("patch_path") or "").partition("://")[2]
    return {
        "dagster/column_schema": _schema(node, manifest, lineage, origins),
        **({"dagster/column_lineage": dg.TableColumnLineage(dependencies)} if dependencies else {}),
        **code_references((sql, 1), *([(project / declared, 1)] if declared else [])),
    }


def clear_columns(node: Node, manifest: Mapping[str, Any], lineage: Lineage) -> set[str]:
    """Names of the declared columns that hold no personal data, nor anything made of it.

    A column says so itself by `meta: {pii: true}`; by `pii: false` it says that what it is made of shows no more.
    """
    return {name for name in node["columns"] if not _is_personal(node["unique_id"], name, manifest, lineage)}


def _is_personal(unique_id: str, column: str, manifest: Mapping[str, Any], lineage: Lineage) -> bool:
    node = manifest["nodes"].get(unique_id) or manifest["sources"].get(unique_id, {})
    declared = node.get("columns", {}).get(column, {}).get("meta", {}).get("pii")
    if declared is not None:
        return bool(declared)
    return any(
        _is_personal(parent, name, manifest, lineage)
        for parent, name in lineage.get(unique_id, {}).get(column, ())
        if parent != unique_id
    )


def _schema(
    node: Node, manifest: Mapping[str, Any], lineage: Lineage, origins: Mapping[str, list[tuple[dg.AssetKey, str]]]
) -> dg.TableSchema:
    rules: defaultdict[str | None, list[str]] = defaultdict(list)
    key: list[str] = []
    for test in manifest["nodes"].values():
        if test.get("attached_node") == node["unique_id"] and "test_metadata" in test:
            key = key or _key(test)
            for rule in _rules(test):
                rules[test["column_name"]].append(rule)
    clear = clear_columns(node, manifest, lineage)
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=name,
                type=column["data_type"],
                description=_description(column["description"], origins.get(name, [])),
                constraints=dg.TableColumnConstraints(
                    nullable=name not in key and "not null" not in rules[name],
                    unique=[name] == key or "unique" in rules[name],
                    other=[rule for rule in rules[name] if rule not in ("not null", "unique")],
                ),
                tags=None if name in clear else {"pii": ""},
            )
            for name, column in node["columns"].items()
        ],
        constraints=dg.TableConstraints(
            other=[*([f"key: {', '.join(key)}"] if len(key) > 1 else []), *rules[None]],
        ),
    )


def _key(test: Node) -> list[str]:
    arguments = test["test_metadata"]["kwargs"]
    return arguments["columns"] if test["test_metadata"]["name"] == "primary_key" else []


def _rules(test: Node) -> Iterator[str]:
    """A dbt test in the words of a reader; those of a project's own by their names, which are sentences."""
    name, arguments = test["test_metadata"]["name"], test["test_metadata"]["kwargs"]
    if name in ("not_null", "unique"):
        yield name.replace("_", " ")
    elif name == "accepted_values":
        yield f"one of {', '.join(map(str, arguments['values']))}"
    elif name == "relationships":
        yield f"in {_relation(arguments['to'])}.{arguments['field']}"
    elif name == "expression_is_true":
        yield arguments["expression"]
    elif name != "primary_key":
        yield test["name"].replace("_", " ")


def _relation(reference: str) -> str:
    """The table of a `ref('table')` or `source('name', 'table')`."""
    return reference.rstrip("')\" ").replace('"', "'").rpartition("'")[2]


def _description(text: str, origins: list[tuple[dg.AssetKey, str]]) -> str:
    """The column's description, with links to where it comes from: the open-source UI shows no column lineage."""
    tables: defaultdict[dg.AssetKey, list[str]] = defaultdict(list)
    for key, column in origins:
        tables[key].append(column)
    links = [
        f"[{'/'.join(key.path[1:])}](/assets/{'/'.join(key.path)}): {', '.join(columns)}"
        for key, columns in tables.items()
    ]
    return f"{text}  \nFrom {'; '.join(links)}" if links else text
