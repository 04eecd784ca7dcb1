"""The one combination of versions that this package was written for."""

from importlib.metadata import PackageNotFoundError, version

REQUIRED = {"fakesnow": "0.12.1", "duckdb": "2.0.0", "sqlglot": "30.22.0"}


class UnsupportedVersion(RuntimeError):
    """Another version of fakesnow, DuckDB or sqlglot is installed than the one mended here."""


def require_versions() -> None:
    """Refuse to run on other versions: every mend names a defect of one fakesnow, and may harm in the next.

    Raises:
        UnsupportedVersion: with the packages found and what to install.
    """
    found = {package: _installed(package) for package in REQUIRED}
    if wrong := [package for package in REQUIRED if found[package] != REQUIRED[package]]:
        listing = ", ".join(f"{package} {found[package] or 'missing'}" for package in wrong)
        wanted = " ".join(f"'{package}=={REQUIRED[package]}'" for package in wrong)
        raise UnsupportedVersion(
            f"The local Snowflake cannot start: found {listing}. It mends defects of exactly "
            f"fakesnow {REQUIRED['fakesnow']}. Install the pinned versions (pip install {wanted}), or review "
            "every mend in shopstream_assets/embedded/snowflake against the new release."
        )


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
