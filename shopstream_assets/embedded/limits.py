"""How many files a process may have open: what it starts inherits that from the shell that started it."""

from __future__ import annotations

import resource

from shopstream_assets.embedded.errors import StackError

# Postgres refuses to start below 48; S3 and the emulator need one for each connection.
NEEDED = 1024
RAISED = 65536


def raise_open_files() -> None:
    """Let this process, and what it starts, open as many files as the services need.

    Raises StackError where the shell's own limit does not permit it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= NEEDED:
        return
    enough = RAISED if hard == resource.RLIM_INFINITY else min(hard, RAISED)
    try:
        # Only root may raise the hard limit too.
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(enough, NEEDED), hard if enough >= NEEDED else NEEDED))
    except (ValueError, OSError):
        raise StackError(
            f"Starting the local stack: this shell lets a process open {hard} files, {NEEDED} are needed, and a limit "
            "that was lowered cannot be raised again there. Run it in a new shell without that `ulimit -n`; nothing "
            "was started."
        ) from None


def lacking(pid: int) -> int | None:
    """The limit of a process that was started with too low a one; None where it is enough, or cannot be told."""
    import psutil

    try:
        soft, _ = psutil.Process(pid).rlimit(psutil.RLIMIT_NOFILE)
    except (psutil.Error, AttributeError):
        # Other systems than Linux do not tell.
        return None
    return soft if 0 <= soft < NEEDED else None
