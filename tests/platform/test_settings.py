import datetime as dt

import pytest

from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.environment import SettingsError, domain_settings

SHOP = Domain("shop", (), simulator=lambda _: pytest.fail("nothing is simulated"))
COMPLETE = {"SHOP_SOURCE_MODE": "live", "SHOP_START_DATE": "2026-01-01"}


def test_settings_are_read_from_variables_that_begin_with_the_domain() -> None:
    settings = domain_settings(SHOP, COMPLETE | {"SHOP_SCALE": "10"})
    assert settings.source_mode == "live"
    assert settings.start_date == dt.date(2026, 1, 1)
    assert settings.scale == 10.0


def test_an_empty_variable_counts_as_unset() -> None:
    assert domain_settings(SHOP, COMPLETE | {"SHOP_SEED": ""}).seed == 42


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, "SHOP_SOURCE_MODE: field required; SHOP_START_DATE: field required"),
        (
            COMPLETE | {"SHOP_SOURCE_MODE": "prod"},
            "SHOP_SOURCE_MODE: input should be 'simulated' or 'live', found 'prod'",
        ),
        (COMPLETE | {"SHOP_START_DATE": "01/02/2026"}, "found '01/02/2026'"),
        (COMPLETE | {"SHOP_SCALE": "0"}, "SHOP_SCALE: input should be greater than 0, found '0'"),
    ],
)
def test_a_missing_or_wrong_variable_is_named_with_what_to_do(variables: dict[str, str], told: str) -> None:
    with pytest.raises(SettingsError) as error:
        domain_settings(SHOP, variables)
    assert told in str(error.value)
    assert "Next: set them as .env.example describes" in str(error.value)
