"""What a check found, and how secrets are kept out of it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit

CONNECT_SECONDS = 8
LOCAL_HINT = "On a laptop, `shopstream stack up` provides it."
Environment = Mapping[str, str]


@dataclass(frozen=True)
class Finding:
    """One check: what was looked at, what was found, and what to do unless it is ok. Holds no secret."""

    result: Literal["ok", "warn", "FAIL"]
    what: str
    found: str
    advice: str = ""


def words(error: BaseException) -> str:
    """An error's own words on one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def masked(value: str) -> str:
    """A URL with its password, and passwords in its query, replaced by ***; anything else unchanged."""
    value = re.sub(r"(?<=://)([^:/@\s]*):[^/\s]*@", r"\1:***@", value)
    return re.sub(r"((?:password|secret|token)[^=&\s]*=)[^&\s]+", r"\1***", value, flags=re.IGNORECASE)


class Redactor:
    """Removes every secret that the environment holds from what is shown; drivers quote freely in their messages."""

    def __init__(self, environment: Environment) -> None:
        found = {v for n, v in environment.items() if re.search("PASSWORD|PASSPHRASE|SECRET|TOKEN", n)}
        for name in environment:
            if not name.endswith(("_POSTGRES_DSN", "_POSTGRES_URL")):
                continue
            with contextlib.suppress(ValueError):
                if password := urlsplit(environment.get(name, "")).password:
                    found |= {password, unquote(password)}
        # Shorter ones occur in any text, and hiding them would tell where.
        self.secrets = sorted((s for s in found if len(s) >= 4), key=len, reverse=True)

    def __call__(self, finding: Finding) -> Finding:
        """The finding with *** for every secret."""
        return Finding(finding.result, finding.what, self._clean(finding.found), self._clean(finding.advice))

    def _clean(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return masked(text)
