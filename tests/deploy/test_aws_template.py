"""The lake's CloudFormation template grants what the platform does in the bucket, and no more."""

from __future__ import annotations

from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from account_sql import DEPLOY

from shopstream_assets.platform.declare.registry import domains

ARN = "arn:${AWS::Partition}:s3:::${BucketName}"


class Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML with CloudFormation's short functions, each as {name: argument}."""


def _function(loader: Any, name: str, node: Any) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    return {name: loader.construct_sequence(node, deep=True)}


Loader.add_multi_constructor("!", _function)


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return yaml.load((DEPLOY / "aws" / "lake.yaml").read_text(encoding="utf-8"), Loader)


def _allowed(document: dict[str, Any]) -> set[tuple[str, str]]:
    def each(found: Any) -> list[Any]:
        return found if isinstance(found, list) else [found]

    return {
        (action, resource["Sub"].removeprefix(ARN))
        for statement in document["Statement"]
        for action in each(statement["Action"])
        for resource in each(statement["Resource"])
    }


def _platform(template: dict[str, Any]) -> dict[str, Any]:
    return template["Resources"]["PlatformPolicy"]["Properties"]["PolicyDocument"]


def _snowflake(template: dict[str, Any]) -> dict[str, Any]:
    [policy] = template["Resources"]["SnowflakeRole"]["Properties"]["Policies"]
    return policy["PolicyDocument"]


def test_the_platform_may_read_write_and_prune_where_tables_and_quarantine_lie_and_delete_nothing_else_but_probes(
    template: dict[str, Any],
) -> None:
    allowed = _allowed(_platform(template))
    assert allowed == {
        ("s3:ListBucket", ""),
        ("s3:GetObject", "/raw/*"),
        ("s3:PutObject", "/raw/*"),
        ("s3:DeleteObject", "/raw/*"),
        ("s3:GetObject", "/quarantine/*"),
        ("s3:PutObject", "/quarantine/*"),
        ("s3:DeleteObject", "/quarantine/*"),
        ("s3:GetObject", "/_compute_logs/*"),
        ("s3:PutObject", "/_compute_logs/*"),
        ("s3:GetObject", "/_doctor/*"),
        ("s3:PutObject", "/_doctor/*"),
        ("s3:DeleteObject", "/_doctor/*"),
    }
    for table in [table for domain in domains() for table in domain.tables]:
        for prefix in (table.lake_prefix, table.quarantine_prefix):
            for action in ("GetObject", "PutObject", "DeleteObject"):
                assert (f"s3:{action}", f"/{prefix.split('/')[0]}/*") in allowed


def test_the_platform_may_list_without_a_prefix_so_that_a_missing_object_is_not_access_denied(
    template: dict[str, Any],
) -> None:
    assert all("Condition" not in statement for statement in _platform(template)["Statement"])


def test_snowflake_only_reads_and_only_raw(template: dict[str, Any]) -> None:
    document = _snowflake(template)
    assert _allowed(document) == {
        ("s3:GetObject", "/raw/*"),
        ("s3:GetObjectVersion", "/raw/*"),
        ("s3:ListBucket", ""),
        ("s3:GetBucketLocation", ""),
    }
    [listing] = [statement for statement in document["Statement"] if statement["Sid"] == "List"]
    assert listing["Condition"] == {"StringLike": {"s3:prefix": ["raw/*", "_doctor/*"]}}


def test_nobody_may_take_snowflakes_role_until_its_identity_and_external_id_are_known(template: dict[str, Any]) -> None:
    role = template["Resources"]["SnowflakeRole"]["Properties"]
    [statement] = role["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Effect"] == {"If": ["SnowflakeIsKnown", "Allow", "Deny"]}
    assert statement["Condition"]["If"][1] == {"StringEquals": {"sts:ExternalId": {"Ref": "SnowflakeExternalId"}}}


def test_the_bucket_is_private_encrypted_versioned_and_outlives_its_stack(template: dict[str, Any]) -> None:
    bucket = template["Resources"]["Bucket"]
    properties = bucket["Properties"]
    assert all(properties["PublicAccessBlockConfiguration"].values())
    assert len(properties["PublicAccessBlockConfiguration"]) == 4
    [encryption] = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption == {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == "Retain"


def test_no_current_object_of_the_lake_expires(template: dict[str, Any]) -> None:
    rules = template["Resources"]["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    expiring = {rule.get("Prefix") for rule in rules if "ExpirationInDays" in rule}
    assert expiring == {"quarantine/", "_compute_logs/", "_doctor/"}


def test_every_name_that_the_template_refers_to_is_in_it(template: dict[str, Any]) -> None:
    known = set(template["Parameters"]) | set(template["Resources"])

    def references(node: Any) -> set[str]:
        if isinstance(node, dict):
            own = {node["Ref"]} if set(node) == {"Ref"} else set()
            own |= {node["GetAtt"].split(".")[0]} if set(node) == {"GetAtt"} else set()
            return own.union(*map(references, node.values()))
        return set().union(*map(references, node)) if isinstance(node, list) else set()

    assert {name for name in references(template) if not name.startswith("AWS::")} <= known


def test_the_template_is_any_domains_and_names_none() -> None:
    text = (DEPLOY / "aws" / "lake.yaml").read_text(encoding="utf-8")
    for domain in domains():
        assert not [name for name in (domain.bucket, domain.variable("LAKE_BUCKET"), domain.database) if name in text]
