"""The administrator's SQL, statement by statement, and what its grants add up to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlglot
from sqlglot import exp
from sqlglot.tokens import TokenType

DEPLOY = Path(__file__).parents[2] / "deploy"
SHARED = sorted((DEPLOY / "snowflake").glob("*.sql"))
GRANT = re.compile(
    r"grant (?P<privileges>.+?) on (?:(?P<scope>all|future) )?(?P<kind>compute pool|\w+)(?: in schema)? "
    r"(?P<object>\S+) to role (?P<role>\S+)",
    re.IGNORECASE,
)
ROLE = re.compile(r"grant role (?P<granted>\S+) to (?P<kind>role|user) (?P<to>\S+)", re.IGNORECASE)


@dataclass(frozen=True)
class Statement:
    """A statement, the script it is in, and the role that runs it. `text` is on one line, without comments."""

    script: str
    role: str
    parsed: exp.Expr
    text: str


@dataclass(frozen=True)
class Grants:
    """What each role holds: (privilege, object); and which roles it has been granted."""

    held: dict[str, set[tuple[str, str]]]
    roles: dict[str, set[str]]

    def of(self, role: str) -> set[tuple[str, str]]:
        """Everything that a role may do, through the roles granted to it too."""
        return self.held.get(role, set()).union(*(self.of(granted) for granted in self.roles.get(role, set())))


def parse(script: Path) -> list[Statement]:
    """The statements of a script as sqlglot's Snowflake dialect reads them."""
    statements, role = [], ""
    for text in _split(script.read_text(encoding="utf-8")):
        [parsed] = sqlglot.parse(text, dialect="snowflake")
        assert parsed is not None
        if isinstance(parsed, exp.Use):
            role = text.split()[-1]
        statements.append(Statement(script.name, role, parsed, text))
    return statements


def _split(sql: str) -> Iterator[str]:
    """Each statement as it is written, but on one line; sqlglot cannot write back all that it reads."""
    text, end = "", 0
    for token in sqlglot.tokenize(sql, dialect="snowflake"):
        if token.token_type is TokenType.SEMICOLON:
            yield text
            text = ""
        else:
            apart = " " if text and token.start > end + 1 else ""
            text += apart + sql[token.start : token.end + 1]
        end = token.end
    assert not text, f"a statement without a semicolon at its end: {text}"


def scripts(domain: str) -> list[Path]:
    """The scripts that an administrator runs for a domain, in their order."""
    return [*SHARED, *sorted((DEPLOY / "snowflake" / domain).glob("*.sql"))]


def parse_all(domain: str) -> list[Statement]:
    """The statements of those scripts, in their order."""
    return [statement for script in scripts(domain) for statement in parse(script)]


def add_up(statements: list[Statement]) -> Grants:
    """What the scripts' grants give to each role."""
    held: dict[str, set[tuple[str, str]]] = {}
    roles: dict[str, set[str]] = {}
    for statement in statements:
        if match := ROLE.fullmatch(statement.text):
            roles.setdefault(match["to"], set()).add(match["granted"])
        elif statement.text.lower().startswith("grant "):
            match = GRANT.fullmatch(statement.text)
            assert match is not None, f"{statement.script}: no known form of a grant: {statement.text}"
            scope = f"{match['scope']} {match['kind']} in " if match["scope"] else f"{match['kind']} "
            for privilege in match["privileges"].split(","):
                held.setdefault(match["role"], set()).add((privilege.strip(), scope + match["object"]))
    return Grants(held, roles)
