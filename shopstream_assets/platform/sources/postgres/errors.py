"""What to tell the user about an error of the source Postgres."""

from __future__ import annotations

import re
from dataclasses import dataclass

from shopstream_assets.platform.errors import ServiceError

# A connection that fails has no SQLSTATE, only words.
_LOGIN = re.compile(r"authentication failed|no password supplied|role \".*\" (does not exist|is not permitted)|pg_hba")
_NO_DATABASE = re.compile(r"database \".*\" does not exist")
# In the middle of a result the error is Arrow's, and the SQLSTATE a part of its text.
_STATE = re.compile(r"SQLSTATE: (\w{5})")
_READ = re.compile(r"from (\"(?:[^\"]|\"\")+\"\.\"(?:[^\"]|\"\")+\")")
_POLICY = re.compile(r"row-level security policy for table \"(.+?)\"")
_SCHEMA = re.compile(r"permission denied for schema (\S+)")


@dataclass(frozen=True)
class Limit:
    """A limit that ends a statement or a session: how to know it, what it is called, what to do.

    A session that is ended while it is idle, or never begins, has no SQLSTATE: then `words` tell it.
    """

    state: str
    words: str
    found: str
    next_step: str
    retry: bool


LIMITS = (
    Limit(
        "57014",
        "due to statement timeout",
        "a statement ran into statement_timeout and was cancelled",
        "take fewer days at a time, see that the cursor has an index, or raise the limit: "
        "`?options=-c%20statement_timeout=4h` in the DSN.",
        False,
    ),
    Limit(
        "55P03",
        "due to lock timeout",
        "another session holds a lock that keeps readers out (ALTER TABLE, TRUNCATE, VACUUM FULL...) and lock_timeout "
        "ended the wait",
        "wait until that session has committed, or end it (`select pid, pg_blocking_pids(pid), query from "
        "pg_stat_activity` shows who waits for whom); or raise the limit: `?options=-c%20lock_timeout=10min` in the "
        "DSN.",
        True,
    ),
    Limit(
        "25P03",
        "due to idle-in-transaction timeout",
        "the session was ended by idle_in_transaction_session_timeout: nothing was read for that long, because the "
        "rows that were read could not be written to the lake as fast",
        "see why writing to the lake is slow; or raise the limit: "
        "`?options=-c%20idle_in_transaction_session_timeout=2h` in the DSN.",
        True,
    ),
    Limit(
        "25P04",
        "due to transaction timeout",
        "the session was ended by transaction_timeout",
        "let nobody set it for this session (the platform turns it off at connect; a pooler may set it again).",
        True,
    ),
    Limit(
        "57P05",
        "due to idle-session timeout",
        "the session was ended by idle_session_timeout",
        "let nobody set it for this session (the platform turns it off at connect; a pooler may set it again).",
        True,
    ),
    Limit(
        "40001",
        "due to conflict with recovery",
        "the replica ended the statement, for it would have held up the replay of the primary's changes too long "
        "(conflict with recovery)",
        "nothing, if it passes by itself; else set hot_standby_feedback = on, or raise max_standby_streaming_delay, on "
        "the replica, or take fewer days at a time.",
        True,
    ),
    Limit(
        "40P01",
        "deadlock detected",
        "Postgres ended a deadlock by cancelling this statement",
        "nothing, if it passes by itself; else see which session locks several tables in another order.",
        True,
    ),
    Limit(
        "57P01",
        "due to administrator command",
        "the session was ended by an administrator (a shutdown, a fail-over or pg_terminate_backend)",
        "see that the server is up again (`shopstream doctor`).",
        True,
    ),
    Limit(
        "57014",
        "due to user request",
        "somebody cancelled the statement (pg_cancel_backend)",
        "ask who did; the platform tries again.",
        True,
    ),
    Limit(
        "53300",
        "too many connections for role",
        "the role has as many connections open as it may (connection limit)",
        "raise it: `alter role <role> connection limit 16`; or let fewer runs go at once (max_concurrent_runs).",
        True,
    ),
    Limit(
        "53300",
        "too many connections for database",
        "the database has as many connections open as it may (connection limit)",
        "raise it: `alter database <database> connection limit <n>`; or let fewer runs go at once.",
        True,
    ),
    Limit(
        "53300",
        "too many clients already|connection slots are reserved",
        "the server has as many connections open as it may (max_connections)",
        "raise max_connections, close idle sessions, or let fewer runs go at once.",
        True,
    ),
    Limit(
        "57P03",
        "the database system is ",
        "the server does not take connections now",
        "wait until it has started, or see its log.",
        True,
    ),
    Limit(
        "08P01",
        "unsupported startup parameter",
        "a pooler stands before Postgres, and does not pass the settings of a session on",
        "let the DSN lead to Postgres itself: a snapshot needs one session from its beginning to its end.",
        False,
    ),
    Limit(
        "42704",
        "unrecognized configuration parameter|cannot be changed|permission denied to set parameter",
        "Postgres refused a setting of the session",
        "correct `options` in the DSN (or PGOPTIONS).",
        False,
    ),
)


def sqlstate(error: Exception) -> str:
    """The error's SQLSTATE; empty where it has none, as that of a connection that failed."""
    if state := getattr(error, "sqlstate", None):
        return str(state)
    found = _STATE.search(str(error))
    return found[1] if found else ""


def service_error(error: Exception) -> ServiceError:
    """What to tell the user about a driver's error, by its SQLSTATE; messages of libpq hold no password."""
    state = sqlstate(error)
    text = " ".join(str(error).split())
    # The driver quotes the whole statement around what Postgres said about it.
    found = re.split(r"(?:ERROR|FATAL): +", text)[-1].removesuffix(f". SQLSTATE: {state}")
    found = found.partition(" Query was: ")[0].partition(" server closed the connection")[0].strip()
    if "FATAL: " in text and "connection to server" in text:
        # Which host and port refused.
        found = text[text.index("connection to server") :]
    if limit := _limit(state, found):
        table = f", reading {read[1]}" if (read := _READ.search(text)) else ""
        return ServiceError(f"{limit.found}{table} ({found}).", limit.next_step, retry=limit.retry)
    if state.startswith("28") or (not state and _LOGIN.search(found)):
        return ServiceError(
            f"Postgres refused the login ({found}).", "correct the user and password in the DSN.", retry=False
        )
    if state == "3D000" or (not state and _NO_DATABASE.search(found)):
        return ServiceError(
            f"the Postgres database is missing ({found}).", "correct the database in the DSN.", retry=False
        )
    if state == "42501":
        return _denied(found)
    if state[:2] in ("08", "57", "53") or (not state and "ERROR: " not in text):
        return ServiceError(
            f"Postgres did not answer or cut the connection ({found}).",
            "check that the server runs and that the DSN's host and port reach it (`shopstream doctor`).",
            retry=True,
        )
    return ServiceError(
        f"Postgres answered {state or 'with an error'}: {found}.",
        "correct what the message names; `shopstream doctor` tests the connection.",
        retry=state.startswith("40"),
    )


def _limit(state: str, found: str) -> Limit | None:
    """The limit that struck. One state may stand for several, and a server may speak another language than English."""
    named = [limit for limit in LIMITS if re.search(limit.words, found) and state in ("", limit.state)]
    alike = [limit for limit in LIMITS if limit.state == state]
    return named[0] if named else alike[0] if len(alike) == 1 and state not in ("42704", "40001", "08P01") else None


def _denied(found: str) -> ServiceError:
    if policy := _POLICY.search(found):
        return hidden_rows(policy[1], "<role>")
    if schema := _SCHEMA.search(found):
        return ServiceError(
            f"Postgres denied access ({found}).",
            f"grant it to the DSN's role: `grant usage on schema {schema[1]} to <role>;`",
            retry=False,
        )
    return ServiceError(
        f"Postgres denied access ({found}).", "grant SELECT on the table to the DSN's role.", retry=False
    )


def hidden_rows(table: str, role: str) -> ServiceError:
    """The error for a table of which row-level security would show the role a part only."""
    return ServiceError(
        f"row-level security of table {table} would hide rows from the role {role}, so that rows were missing in every "
        "layer without a sign; nothing was read.",
        f"let the role see all rows: `alter role {role} bypassrls;` (as a superuser). Where rows are hidden on "
        "purpose, declare a view that selects the others, owned by a role that may bypass the policy. A policy for "
        "this role is not enough: nothing would tell that it lets every row through.",
        retry=False,
    )
