"""The semantic model in TMDL: the marts with the columns of their contracts, and a measure for each dbt metric.

TMDL is Microsoft's text form of a tabular model: objects by indentation with tabs, descriptions above them after `///`.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.settings import REPORTING
from shopstream_assets.platform.errors import Problem

# A table of nothing but measures: a measure may not be called as a column of its table is.
METRICS, DATES, DATE = "Metrics", "Date", "Date"
CONTRACT = re.compile(r"(?P<kind>\w+)(\(\d+(,(?P<scale>\d+))?\))?")
COLUMN = re.compile(r"[a-z_]\w*")
BY_FLAG = re.compile(r"\{\{ *Dimension\('\w+__(?P<flag>\w+)'\) *\}\}")


@dataclass(frozen=True)
class Mart:
    """A mart of the manifest: its columns with their types and meanings, and the date that its rows are of."""

    name: str
    description: str
    columns: Mapping[str, tuple[str, str]]
    date: str | None


@dataclass(frozen=True)
class Measure:
    """A metric in DAX, as Power BI calls it."""

    name: str
    title: str
    description: str
    dax: str
    form: str


@dataclass(frozen=True)
class Model:
    """The marts and the metrics over them."""

    marts: Mapping[str, Mart]
    measures: Mapping[str, Measure]

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Model:
        """From the manifest of a dbt project. A metric over what is no mart is left out: a report reads marts only."""
        nodes = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
        keys = {
            node["attached_node"]: node["test_metadata"]["kwargs"]["columns"]
            for node in manifest["nodes"].values()
            if node["resource_type"] == "test" and (node.get("test_metadata") or {}).get("name") == "primary_key"
        }
        marts = {node["name"]: _mart(node, keys[node["unique_id"]]) for node in nodes if node["schema"] == "MARTS"}
        return cls(marts, dict(sorted(_measures(manifest, marts))))

    def files(self, domain: Domain) -> Iterator[tuple[str, str]]:
        """Path in the folder `definition`, and text, of each file."""
        tables = [DATES, METRICS, *sorted(self.marts)]
        yield "database.tmdl", "database\n\tcompatibilityLevel: 1601\n"
        yield "model.tmdl", _model(tables)
        yield "expressions.tmdl", _parameters(domain)
        yield "relationships.tmdl", "\n".join(_relationships(domain, self.marts.values()))
        yield f"tables/{DATES}.tmdl", _dates()
        yield f"tables/{METRICS}.tmdl", _metrics(self.measures.values())
        for mart in self.marts.values():
            yield f"tables/{mart.name}.tmdl", _table(mart)


def _mart(node: Mapping[str, Any], key: list[str]) -> Mart:
    columns = {name: (of["data_type"], of["description"]) for name, of in node["columns"].items()}
    dates = [name for name in key if columns[name][0] == "date"]
    return Mart(node["name"], node["description"], columns, dates[0] if dates else None)


def _measures(manifest: Mapping[str, Any], marts: Mapping[str, Mart]) -> Iterator[tuple[str, Measure]]:
    sums = {
        measure["name"]: (mart, _aggregated(marts[mart], measure))
        for semantic in manifest["semantic_models"].values()
        if (mart := semantic["node_relation"]["alias"]) in marts
        for measure in semantic["measures"]
    }
    metrics = {metric["name"]: metric for metric in manifest["metrics"].values()}

    def dax(metric: Mapping[str, Any], flags: frozenset[str]) -> str | None:
        flags |= _flags(metric)
        parameters = metric["type_params"]
        if metric["type"] == "ratio":
            above, below = (dax(metrics[parameters[part]["name"]], flags) for part in ("numerator", "denominator"))
            return f"DIVIDE({above}, {below})" if above and below else None
        if metric["type"] != "simple":
            raise Problem(
                f"generating the Power BI model: metric {metric['name']} is of type {metric['type']}.",
                "say in cli/generate/power_bi/model.py what it is in DAX, or make it a simple or a ratio metric.",
            )
        name = parameters["measure"]["name"]
        if name not in sums:
            return None
        mart, total = sums[name]
        conditions = "".join(f", KEEPFILTERS('{mart}'[{flag}] = TRUE())" for flag in sorted(flags))
        return f"CALCULATE({total}{conditions})" if conditions else total

    for name, metric in metrics.items():
        if written := dax(metric, frozenset()):
            title = metric["label"]
            usual = "#,0.00" if "(EUR)" in title else "0.0%" if metric["type"] == "ratio" else "#,0"
            form = metric["config"]["meta"].get("format", usual)
            yield name, Measure(name, title, metric["description"], written, form)


def _flags(metric: Mapping[str, Any]) -> frozenset[str]:
    """The columns that must hold for what the metric counts."""
    conditions = [each["where_sql_template"] for each in (metric["filter"] or {}).get("where_filters", ())]
    found = [BY_FLAG.fullmatch(condition.strip()) for condition in conditions]
    if not all(found):
        raise Problem(
            f"generating the Power BI model: metric {metric['name']} has a filter other than a column that holds: "
            f"{'; '.join(conditions)}.",
            "say in cli/generate/power_bi/model.py what it is in DAX.",
        )
    return frozenset(each["flag"] for each in found if each)


def _aggregated(mart: Mart, measure: Mapping[str, Any]) -> str:
    """A measure of a mart in DAX: a sum of a column, of an expression of columns, or the number of rows."""
    written = measure["expr"] or measure["name"]
    if measure["agg"] != "sum":
        raise Problem(
            f"generating the Power BI model: measure {measure['name']} of {mart.name} is aggregated by "
            f"{measure['agg']}, and marts have sums only.",
            "make it a sum, or say in cli/generate/power_bi/model.py what it is in DAX.",
        )
    if written == "1":
        return f"COUNTROWS('{mart.name}')"
    if level := measure.get("non_additive_dimension"):
        # Of the last of the chosen days that there is, whatever else is chosen: not the last with rows of that.
        day = f"'{mart.name}'[{level['name']}]"
        latest = f"CALCULATE(MAX({day}), ALLEXCEPT('{mart.name}', {day}, '{DATES}'[{DATE}], '{DATES}'[Month]))"
        return f"VAR Latest = {latest} RETURN CALCULATE(SUM('{mart.name}'[{written}]), {day} = Latest)"
    if written in mart.columns:
        return f"SUM('{mart.name}'[{written}])"
    if not re.fullmatch(r"[\w +*-]+", written) or set(COLUMN.findall(written)) - mart.columns.keys():
        raise Problem(
            f"generating the Power BI model: measure {measure['name']} of {mart.name} is {written!r}, which is no sum, "
            "difference or product of its columns.",
            "let the mart have it as a column.",
        )
    expression = COLUMN.sub(rf"'{mart.name}'[\g<0>]", written)
    # In SQL a row in which one of them is null adds nothing.
    known = " && ".join(f"NOT ISBLANK('{mart.name}'[{name}])" for name in COLUMN.findall(written))
    return f"SUMX(FILTER('{mart.name}', {known}), {expression})"


def _said(text: str, depth: int = 0) -> str:
    return "".join("\t" * depth + f"/// {line}\n" for line in text.strip().splitlines())


def _model(tables: list[str]) -> str:
    head = (
        "model Model\n\tculture: en-US\n\tdefaultPowerBIDataSourceVersion: powerBI_V3\n\tdiscourageImplicitMeasures\n"
        "\tsourceQueryCulture: en-US\n\n"
    )
    # Dates are those of one table, not hidden ones of each column's own.
    return head + "annotation __PBI_TimeIntelligenceEnabled = 0\n\n" + "".join(f"ref table {name}\n" for name in tables)


def _parameters(domain: Domain) -> str:
    """What differs from one account to the next, asked for by Power BI when the project is opened."""
    given = {
        "Account": ("Host of the Snowflake account.", "your_account.snowflakecomputing.com"),
        "Warehouse": ("Warehouse that reports run on.", REPORTING),
        "Role": ("Role that reads MARTS.", f"{domain.prefix}_REPORTER"),
        "Database": ("Database of the marts.", domain.database),
    }
    return "\n".join(
        f'{_said(meaning)}expression {name} = "{value}" '
        'meta [IsParameterQuery=true, Type="Text", IsParameterQueryRequired=true]\n'
        for name, (meaning, value) in given.items()
    )


def _relationships(domain: Domain, marts: Iterable[Mart]) -> Iterator[str]:
    for mart in marts:
        if mart.date:
            name = uuid.uuid5(uuid.NAMESPACE_URL, f"{domain.name}/{mart.name}/{mart.date}")
            yield f"relationship {name}\n\tfromColumn: {mart.name}.{mart.date}\n\ttoColumn: {DATES}.{DATE}\n"


def _dates() -> str:
    return f"""/// Every day of the marts' dates, whole years.
table {DATES}
	dataCategory: Time

	/// Day of the reporting time zone.
	column {DATE}
		dataType: dateTime
		isKey
		isNameInferred
		formatString: yyyy-mm-dd
		summarizeBy: none
		sourceColumn: [Date]

	/// Month of the day, as 2026-11.
	column Month
		dataType: string
		isNameInferred
		summarizeBy: none
		sourceColumn: [Month]

	partition {DATES} = calculated
		mode: import
		source = ADDCOLUMNS(CALENDARAUTO(), "Month", FORMAT([Date], "yyyy-MM"))
"""


def _metrics(measures: Iterable[Measure]) -> str:
    written = "".join(_measure(each) for each in measures)
    return f"""/// The metrics of the dbt project, as its semantic layer defines them.
table {METRICS}
{written}
	column Nothing
		dataType: string
		isHidden
		isNameInferred
		summarizeBy: none
		sourceColumn: [Nothing]

	partition {METRICS} = calculated
		mode: import
		source = ROW("Nothing", BLANK())
"""


def _measure(measure: Measure) -> str:
    title = measure.title.replace("'", "''")
    head = _said(measure.description, 1) + f"\tmeasure '{title}' = {measure.dax}\n"
    return f"\n{head}\t\tformatString: {measure.form}\n"


def _column(name: str, kind: str, meaning: str) -> str:
    form = "\t\tformatString: yyyy-mm-dd\n" if kind == "date" else ""
    head = _said(meaning, 1) + f"\tcolumn {name}\n\t\tdataType: {_type(kind)}\n"
    return f"\n{head}{form}\t\tsummarizeBy: none\n\t\tsourceColumn: {name.upper()}\n"


def _table(mart: Mart) -> str:
    columns = "".join(_column(name, kind, meaning) for name, (kind, meaning) in mart.columns.items())
    return f"""{_said(mart.description)}table {mart.name}
{columns}
	partition {mart.name} = m
		mode: import
		source =
			let
				Source = Snowflake.Databases(Account, Warehouse, [Role = Role]),
				Chosen = Source{{[Name = Database, Kind = "Database"]}}[Data],
				Marts = Chosen{{[Name = "MARTS", Kind = "Schema"]}}[Data],
				Rows = Marts{{[Name = "{mart.name.upper()}", Kind = "Table"]}}[Data]
			in
				Rows
"""


def _type(contract: str) -> str:
    """The type of a column of a contract: money is exact, to four decimals; a share is a double."""
    found = CONTRACT.fullmatch(contract)
    kind, scale = (found["kind"], int(found["scale"] or 0)) if found else (contract, 0)
    if kind == "number":
        return "int64" if scale == 0 else "decimal" if scale <= 4 else "double"
    known = {"varchar": "string", "boolean": "boolean", "date": "dateTime", "timestamp_ntz": "dateTime"}
    known["float"] = known["double"] = "double"
    if kind not in known:
        raise Problem(
            f"generating the Power BI model: no type is known for {contract}.",
            "say in cli/generate/power_bi/model.py which it is in a tabular model.",
        )
    return known[kind]
