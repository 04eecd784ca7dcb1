"""dbt's models and sources under the names of assets."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator

from shopstream_assets.platform.declare.domain import Domain, asset_key
from shopstream_assets.platform.transform.dbt_manifest import parsed_project
from shopstream_assets.platform.transform.model_metadata import model_metadata


class Translator(DagsterDbtTranslator):
    """Keys, groups and kinds of a domain's dbt models: domain/layer/table, as for every other asset.

    A model's path gives its layer; the source named as the domain is its staging. Any other source is what an asset
    leaves between core and marts, and says in its meta which.
    """

    def __init__(self, domain: Domain) -> None:
        super().__init__()
        self.domain = domain

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """domain/layer/table."""
        if dbt_resource_props["resource_type"] == "source":
            if dbt_resource_props["source_name"] != self.domain.name:
                return super().get_asset_key(dbt_resource_props)
            table = dbt_resource_props["name"].lower().removeprefix("stg_")
            return asset_key(self.domain.name, "staging", table)
        _, layer, name = dbt_resource_props["fqn"]
        return asset_key(self.domain.name, layer, name)

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """That of the layer; sources are grouped where they are made."""
        if dbt_resource_props["resource_type"] == "source":
            return None
        return self.domain.group(self.get_asset_key(dbt_resource_props).path[1])

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
        found, project = parsed_project(self.domain), self.domain.project()
        described = model_metadata(dbt_resource_props, found.manifest, found.lineage, self.get_asset_key, project)
        return {**given, **described}
