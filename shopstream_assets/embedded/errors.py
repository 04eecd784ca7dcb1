"""What the local stack tells its user when it cannot go on."""

from __future__ import annotations


class StackError(Exception):
    """The local stack could not do what was asked. The message: what was being done, what was found, what to do."""
