"""dbt's models and sources under the names of assets."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator

from shopstream_assets.platform.declare.domain import asset_key
from shopstream_assets.platform.transform.dbt_manifest import PROJECT, parsed_project
from shopstream_assets.platform.transform.model_metadata import model_metadata


class Translator(DagsterDbtTranslator):
    """Keys, groups and kinds of dbt models: domain/layer/table, as for every other asset.

    A model's path gives domain and layer; a source named as the domain is that domain's staging.
    """

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """domain/layer/table."""
        if dbt_resource_props["resource_type"] == "source":
            domain = dbt_resource_props["source_name"]
            return asset_key(domain, "staging", dbt_resource_props["name"].lower().removeprefix("stg_"))
        _, domain, layer, name = dbt_resource_props["fqn"]
        return asset_key(domain, layer, name)

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """domain_layer; sources are grouped where they are made."""
        return None if dbt_resource_props["resource_type"] == "source" else "_".join(dbt_resource_props["fqn"][1:3])

    def get_description(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """The model's description, which begins with its grain; its SQL is one click away in the repository."""
        return dbt_resource_props["description"]

    def get_tags(self, dbt_resource_props: Mapping[str, Any]) -> Mapping[str, str]:
        """The model's own tags, and where it is: domain and layer."""
        domain, layer = self.get_asset_key(dbt_resource_props).path[:2]
        return {**super().get_tags(dbt_resource_props), "domain": domain, "layer": layer}

    def get_metadata(self, dbt_resource_props: Mapping[str, Any]) -> Mapping[str, Any]:
        """Columns with their tests and origins, the table's name, and links to the model's files."""
        given = super().get_metadata(dbt_resource_props)
        if dbt_resource_props["resource_type"] == "source":
            return given
        found = parsed_project()
        described = model_metadata(dbt_resource_props, found.manifest, found.lineage, self.get_asset_key, PROJECT)
        return {**given, **described}
