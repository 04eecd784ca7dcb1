"""Which files follow from the domains, what each should hold, and which hold something else.

A file is written wholly, and says so in its first line, or has a section between two marked lines. The text around the
domains' names is in deploy/templates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import Template

from shopstream_assets.cli.generate.dbt_sources import LINE_LENGTH, sources_yaml
from shopstream_assets.cli.generate.power_bi.project import power_bi_files
from shopstream_assets.cli.generate.staging_tables import create_statements, tag_statements
from shopstream_assets.platform.declare.domain import REPOSITORY, Domain
from shopstream_assets.platform.errors import Problem

COMMAND = "shopstream generate"
TEMPLATES = REPOSITORY / "deploy" / "templates"
SNOWFLAKE = REPOSITORY / "deploy" / "snowflake"
POWER_BI = REPOSITORY / "powerbi"
VALUES = REPOSITORY / "deploy" / "kubernetes" / "values.yaml"
WORKSPACE = REPOSITORY / "workspace.yaml"
EXAMPLE = REPOSITORY / ".env.example"
# In the example, where a domain declares no first day.
START_DATE = "2026-01-01"
# What .env.example says of a domain's own login to the warehouse.
LOGIN = ("USER", "ROLE", "PRIVATE_KEY_PATH", "PRIVATE_KEY_PASSPHRASE", "PASSWORD")
SECTION = re.compile(rf"^([ ]*# >>> {COMMAND}[^\n]*\n).*?^([ ]*# <<< {COMMAND}\n)", re.MULTILINE | re.DOTALL)


def generated(domains: Sequence[Domain]) -> dict[Path, str]:
    """What each file should hold. Raises Problem where the repository, or a marked section in it, is missing."""
    if not TEMPLATES.is_dir():
        raise Problem(f"{COMMAND}: there is no folder {TEMPLATES}.", "run it in a clone of the repository.")
    return {
        **{path: text for domain in domains for path, text in _of_one(domain)},
        WORKSPACE: _headed("#", "the domains", _workspace(domains)),
        VALUES: _with_section(VALUES, "".join(_filled("code_location.yaml", domain) for domain in domains)),
        EXAMPLE: _with_section(EXAMPLE, "\n".join(map(_environment, domains))),
    }


def reports(domains: Sequence[Domain]) -> dict[Path, str]:
    """The files of the Power BI projects, which follow from dbt's manifests, and so from what `generated` gives."""
    return {POWER_BI / path: text for domain in domains if domain.report for path, text in power_bi_files(domain)}


def differing(expected: dict[Path, str], before: Sequence[Path]) -> list[Path]:
    """The files that do not hold what they should, and those of domains that are gone, in the order of their names.

    `before`: those of the same kind that were written here before.
    """
    changed = {path for path, text in expected.items() if not path.is_file() or path.read_text("utf-8") != text}
    return sorted(changed | {path for path in before if path not in expected})


def write(expected: dict[Path, str], before: Sequence[Path]) -> list[Path]:
    """Make the files what they should be, delete those of domains that are gone; returns what was changed."""
    changed = differing(expected, before)
    for path in changed:
        if path in expected:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(expected[path], encoding="utf-8")
        else:
            path.unlink()
    return changed


def shown(path: Path) -> str:
    """A file's name as it is said: from the repository on, where it is in it."""
    return str(path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path)


def _of_one(domain: Domain) -> Iterator[tuple[Path, str]]:
    yield (
        domain.project() / "models" / "sources.yml",
        _headed("#", f"the tables of {domain.title}", sources_yaml(domain)),
    )
    for template in sorted((TEMPLATES / "snowflake").glob("*.sql")):
        text = _filled(f"snowflake/{template.name}", domain)
        yield (
            SNOWFLAKE / domain.name / template.name,
            _headed("--", f"deploy/templates/snowflake/{template.name}", text),
        )


def _scripts() -> list[Path]:
    """The scripts of domains that were written here before.

    Only the first line is looked at: a file of somebody else's is no concern here.
    """
    return [
        path for path in SNOWFLAKE.glob("*/*.sql") if path.read_text("utf-8").startswith(f"-- Written by `{COMMAND}`")
    ]


def _projects() -> list[Path]:
    """The files of Power BI projects that are here, all of them written."""
    folders = [folder for kind in ("SemanticModel", "Report") for folder in POWER_BI.glob(f"*.{kind}")]
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


# What is made, and what of its kind is here: a report from dbt's manifest, and that from the sources, which come first.
KINDS = ((generated, _scripts), (reports, _projects))


def _headed(comment: str, source: str, text: str) -> str:
    return f"{comment} Written by `{COMMAND}` from {source}; do not edit.\n{text}"


def _with_section(path: Path, text: str) -> str:
    """The file with this text in its marked section. Raises Problem where it has none, or several."""
    found, sections = SECTION.subn(lambda marks: f"{marks[1]}{text}{marks[2]}", path.read_text("utf-8"))
    if sections != 1:
        raise Problem(
            f"{COMMAND}: {shown(path)} has {sections} marked sections, not one.",
            f"let one line `# >>> {COMMAND}` and, below it, one line `# <<< {COMMAND}` stand where the domains belong.",
        )
    return found


def _workspace(domains: Sequence[Domain]) -> str:
    return "# One code location per business.\nload_from:\n" + "".join(
        f"  - python_module:\n      module_name: {domain.module}\n      location_name: {domain.name}\n"
        for domain in domains
    )


def _environment(domain: Domain) -> str:
    head = f"# -- {domain.title} "
    return head.ljust(LINE_LENGTH - 2, "-") + "\n" + _filled("domain.env", domain)


def _filled(template: str, domain: Domain) -> str:
    """A template with the names of a domain."""
    # A domain whose database has the variable without a prefix has its login under those names too.
    shared = domain.database_variable == "SNOWFLAKE_DATABASE"
    login = {name: f"SNOWFLAKE_{name}" if shared else domain.variable(f"SNOWFLAKE_{name}") for name in LOGIN}
    return Template((TEMPLATES / template).read_text("utf-8")).substitute(
        name=domain.name,
        # As Kubernetes takes names, and S3.
        resource=domain.name.replace("_", "-"),
        title=domain.title.replace("'", "''") if template.endswith(".sql") else domain.title,
        prefix=domain.prefix,
        module=domain.module,
        bucket=domain.bucket,
        database=domain.database,
        database_variable=domain.database_variable,
        integration=domain.integration,
        integration_variable=domain.integration_variable,
        source_database=domain.source_database,
        start_date=domain.start_date or START_DATE,
        tables="".join(f"{statement}\n" for statement in create_statements(domain)),
        tags="".join(f"\n{statement}" for statement in tag_statements(domain)),
        **{f"{name.lower()}_variable": variable for name, variable in login.items()},
    )
