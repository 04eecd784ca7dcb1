"""The exposures of a domain's dbt project as assets: where lineage ends, with the people who look."""

import re
from importlib.util import find_spec
from pathlib import Path

import dagster as dg

from shopstream_assets.platform.declare.domain import Domain, asset_key
from shopstream_assets.platform.present.code_references import code_references
from shopstream_assets.platform.transform.dbt_manifest import built_manifest
from shopstream_assets.platform.transform.translator import Translator

LAYER = "dashboards"
_OWNER = re.compile(r"team:[\w-]+|[^@\s]+@[^@\s]+\.[^@\s]+")


def exposure_specs(domain: Domain) -> list[dg.AssetSpec]:
    """An asset that nothing materializes for each exposure: domain/dashboards/name, downstream of what it reads.

    Its kinds are the exposure's type and tags. One that is named as a page of the dashboards is that page: its address
    and its code are told. Of what an exposure may say in dbt, metrics are no assets, and an owner that is neither an
    e-mail address nor a team (`team:sales`) is none in Dagster: both are left out.
    """
    manifest, translator = built_manifest(domain), Translator(domain)
    read = {**manifest["nodes"], **manifest["sources"]}
    pages = {page.path: page for page in domain.pages}
    specs = []
    for exposure in manifest["exposures"].values():
        name, page = exposure["name"], pages.get(exposure["name"])
        told: dict[str, object] = {"url": dg.MetadataValue.url(exposure["url"])} if exposure.get("url") else {}
        if page and (found := find_spec(page.module)) and found.origin:
            told |= {"address": f"/{page.address(domain.name)}", **code_references((Path(found.origin), 1))}
        owner = exposure["owner"].get("email") or exposure["owner"].get("name") or ""
        specs.append(
            dg.AssetSpec(
                asset_key(domain.name, LAYER, name),
                deps=[translator.get_asset_key(read[node]) for node in exposure["depends_on"]["nodes"] if node in read],
                description=f"**{exposure.get('label') or name}.** {exposure['description']}",
                group_name=domain.group(LAYER),
                kinds={exposure["type"], *exposure["tags"]},
                owners=[owner] if _OWNER.fullmatch(owner) else [],
                tags={"domain": domain.name, "layer": LAYER},
                metadata=told,
            )
        )
    return specs
