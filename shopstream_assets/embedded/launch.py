"""Starts one service so that it can always be found again: `python -I -S launch.py …`, standard library only.

The service inherits an open file that carries an exclusive lock and holds its process id. The lock dies with the
service (and with every process it forked), so neither a kill -9 of the command that started it nor a crash at any
point can leave two servers on one data folder, or a server that nobody knows of.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

LOCKED = 75  # EX_TEMPFAIL: the previous service, or a child of it, still lives


def birth(pid: int) -> str | None:
    """What tells this process from a later one with the same id, or None where there is no living one.

    A zombie counts as dead. Boot id and clock ticks on Linux, as wall-clock times move when the clock is set.
    """
    if not sys.platform.startswith("linux"):
        found = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True).stdout
        state, _, started = found.strip().partition(" ")
        return started.strip() if state and not state.startswith("Z") else None
    try:
        # The name in parentheses may contain anything, so fields are counted from its end.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else f"{boot}:{fields[19]}"


def become(uid: int, gid: int) -> None:
    """Give up root for good, keeping at most the right to pass through and read folders of others.

    PostgreSQL refuses root, and the repository may lie below a folder that only root may enter (/root). Opening that
    folder to everyone would be the other way.
    """
    keeps = _keep_capabilities_over_setuid() if sys.platform.startswith("linux") else False
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if keeps:
        _drop_all_capabilities_but_search()


def _keep_capabilities_over_setuid() -> bool:
    import ctypes

    set_securebits, no_setuid_fixup = 28, 1 << 2
    # With this bit access(2) honours capabilities as well, which PostgreSQL uses to find its own files.
    return ctypes.CDLL(None, use_errno=True).prctl(set_securebits, no_setuid_fixup, 0, 0, 0) == 0


def _drop_all_capabilities_but_search() -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable of the low 32 capabilities, then of the high
    if libc.capget(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    # CAP_DAC_READ_SEARCH suffices; containers often grant root CAP_DAC_OVERRIDE only.
    kept = next((bit for bit in (2, 1) if sets[1] & 1 << bit), None)
    mask = 0 if kept is None else 1 << kept
    if libc.capset(header, (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    if kept is not None:
        ambient, ambient_raise = 47, 2
        # Not fatal: a repository outside /root needs no capability at all.
        libc.prctl(ambient, ambient_raise, kept, 0, 0)


def _locked(path: str, patience: float) -> int:
    deadline = time.monotonic() + patience
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            if time.monotonic() > deadline:
                sys.exit(LOCKED)
            time.sleep(0.05)


def main() -> None:
    """Lock, fork, note the id, change the user, replace the process by the service; report what fails on the way."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--once", action="store_true", help="a command that ends: only change the user")
    parser.add_argument("--record", help="file to lock, and to write the process id to")
    parser.add_argument("--port", type=int)
    parser.add_argument("--patience", type=float, default=10)
    parser.add_argument("--as", dest="user", help="uid:gid")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()

    if options.once:
        if options.user:
            become(*map(int, options.user.split(":")))
        os.execv(options.command[0], options.command)
    record = _locked(options.record, options.patience)
    report, failure = os.pipe()  # closed by a successful exec, which tells the launcher that the service runs
    if os.fork():
        os.close(failure)
        message = os.read(report, 4096).decode()
        sys.exit(message or 0)
    try:
        os.setsid()
        me = {"pid": os.getpid(), "birth": birth(os.getpid()), "port": options.port}
        os.ftruncate(record, 0)
        os.pwrite(record, json.dumps(me).encode(), 0)
        os.set_inheritable(record, True)
        if options.user:
            become(*map(int, options.user.split(":")))
        os.execv(options.command[0], options.command)
    except OSError as error:
        os.write(failure, f"{options.command[0]}: {error}".encode())
        os._exit(1)


if __name__ == "__main__":
    main()
