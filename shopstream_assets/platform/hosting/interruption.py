"""Stopping what this process has others do for it, as soon as it is told to end.

Python runs its handler of a signal in the main thread, between two steps of its own: while that thread waits inside a
driver written in C, nothing happens until the statement is over. And Dagster only notes an interruption that comes
while it stores a step's events. So a thread waits for the signal itself, and stops what is under way.
"""

from __future__ import annotations

import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

SIGNALS = {signal.SIGTERM, signal.SIGINT}
# Seconds: a statement that was about to begin when the signal came is met by the next attempt.
STOP_EVERY = 0.25
# Seconds that a slot is kept for a writer that does not end. Longer than any statement may run.
WRITER_TIMEOUT = 3700

_lock = threading.RLock()
_stops: list[Callable[[], None]] = []
_writers: set[threading.Thread] = set()
_watch: _Watch | None = None


@contextmanager
def interruptible(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` when SIGTERM or SIGINT reaches the process, and again until the block has ended.

    It is called in a thread of its own, never after the block, and must return soon. Only the main thread is
    interrupted by signals, so in any other this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _add(stop)
    try:
        yield
    finally:
        _remove(stop)


@contextmanager
def writing(thread: threading.Thread) -> Iterator[None]:
    """Count a thread among those that `wait_for_writers` waits for, until it has ended: also after the block."""
    with _lock:
        _writers.add(thread)
    try:
        yield
    finally:
        if not thread.is_alive():
            with _lock:
                _writers.discard(thread)


def wait_for_writers() -> None:
    """Return when no thread of this process writes for a step any more.

    Dagster drops a step that was interrupted while its events were stored, without waiting for what it had begun.
    """
    with _lock:
        writers = list(_writers)
    for thread in writers:
        if thread is not threading.current_thread():
            thread.join(WRITER_TIMEOUT)
    with _lock:
        _writers.difference_update(thread for thread in writers if not thread.is_alive())


class _Watch:
    """A thread that is woken by signals, while the main thread may be anywhere."""

    def __init__(self) -> None:
        self._woken, self._wakes = socket.socketpair()
        self._wakes.setblocking(False)
        self._done = threading.Event()
        self._before = signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._run, name="interruptions", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Give the signals back to whoever was woken before."""
        signal.set_wakeup_fd(self._before, warn_on_full_buffer=False)
        self._done.set()
        self._wakes.close()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        self._woken.close()

    def _run(self) -> None:
        while received := self._woken.recv(64):
            if SIGNALS.intersection(received):
                while not self._done.is_set():
                    _stop_all()
                    self._done.wait(STOP_EVERY)


def _stop_all() -> None:
    with _lock:
        for stop in reversed(_stops):
            try:
                stop()
            except Exception:
                # The others must be stopped as well; the next attempt may succeed.
                logger.warning("Stopping what an interrupted step had begun failed; trying again", exc_info=True)


def _add(stop: Callable[[], None]) -> None:
    global _watch
    with _lock:
        _stops.append(stop)
        if _watch is None:
            _watch = _Watch()


def _remove(stop: Callable[[], None]) -> None:
    global _watch
    closing = None
    with _lock:
        _stops.remove(stop)
        if not _stops:
            closing, _watch = _watch, None
    # Not under the lock, which the thread may be waiting for.
    if closing:
        closing.close()
