"""What a service of the local stack is: each module of one fulfils this protocol, and nothing else knows them apart."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Protocol

from shopstream_assets.embedded.process import Running
from shopstream_assets.embedded.state import Home, Memory


class Service(Protocol):
    """One process that answers on one port of 127.0.0.1.

    `NAME` names its record, log and port. `STOP_SIGNAL` ends it gently. `FORGETS`: killed, it may have lost what
    `bootstrap` created, so each start creates what is missing.
    """

    NAME: str
    STOP_SIGNAL: signal.Signals
    FORGETS: bool

    def prepare(self, home: Home, memory: Memory) -> None:
        """Make what it needs on disk; it does not run."""
        ...

    def command(self, home: Home, memory: Memory) -> list[str]:
        """Its program and arguments, without secrets."""
        ...

    def env(self, home: Home, memory: Memory) -> Mapping[str, str]:
        """Its environment, beyond what every process inherits; secrets are here."""
        ...

    def user(self, home: Home) -> tuple[int, int] | None:
        """Whom it runs as (uid, gid), where not as us."""
        ...

    def preload(self) -> None:
        """Import what `bootstrap` needs, while the process starts."""
        ...

    def answers(self, home: Home, memory: Memory, process: Running) -> bool:
        """Whether that process is the one that answers by its protocol; asks no longer than two seconds."""
        ...

    def bootstrap(self, home: Home, memory: Memory) -> None:
        """Create what an administrator creates once, where it is missing."""
        ...
