import subprocess
import sys

import pytest

from shopstream_assets.embedded.snowflake import versions


def test_the_pinned_versions_are_installed() -> None:
    versions.require_versions()


@pytest.mark.parametrize("found", ["0.12.2", None])
def test_another_fakesnow_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch, found: str | None) -> None:
    installed = versions.REQUIRED | {"fakesnow": found}
    monkeypatch.setattr(versions, "_installed", installed.get)
    with pytest.raises(versions.UnsupportedVersion) as refusal:
        versions.require_versions()
    assert f"fakesnow {found or 'missing'}" in str(refusal.value)
    assert "'fakesnow==0.12.1'" in str(refusal.value)
    assert "duckdb==" not in str(refusal.value)


def test_the_server_does_not_start_on_another_fakesnow(tmp_path: object) -> None:
    program = (
        "from shopstream_assets.embedded.snowflake import versions, __main__ as server\n"
        "versions.REQUIRED['fakesnow'] = '9.9.9'\n"
        f"raise SystemExit(server.main(['--port', '1', '--state-dir', {str(tmp_path)!r}]))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 2
    assert "cannot start" in run.stderr
    assert "Traceback" not in run.stderr


def test_importing_the_package_loads_neither_duckdb_nor_the_connector() -> None:
    program = (
        "import sys, shopstream_assets.embedded.snowflake\n"
        "raise SystemExit(bool({'duckdb', 'fakesnow', 'snowflake.connector'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
