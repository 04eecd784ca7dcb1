"""The CRM: sales contacts on their way from subscriber to customer."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from shopstream_assets.domains.shopstream.simulator.people import People, emails
from shopstream_assets.domains.shopstream.tables import CRM_CONTACTS
from shopstream_assets.simulation import arrow
from shopstream_assets.simulation.names import (
    COUNTRY_SHARES,
    MAIL_DOMAINS,
    company_indices,
    name_indices,
    pools,
)
from shopstream_assets.simulation.world import (
    DAY,
    HOUR,
    MINUTE,
    NEVER,
    OFFICE_WEEK,
    Cohorts,
    Columns,
    Volume,
    World,
    after,
    choose,
    choose_evenly,
    clock,
    latest,
)

CONTACTS_PER_90_DAYS = 500
STAGES = ("subscriber", "lead", "mql", "sql", "opportunity", "customer")
FIRST_STAGE_SHARES = (0.50, 0.38, 0.12)
# Chance to reach the next stage, and the mean wait for it.
ADVANCE, ADVANCE_AS_USER, ADVANCE_MEAN = 0.50, 0.70, 8 * DAY
LEAD_SOURCES = ("web_form", "content_download", "webinar", "referral", "trade_show", "partner", "cold_outreach")
LEAD_SOURCE_SHARES = (0.34, 0.20, 0.14, 0.12, 0.08, 0.07, 0.05)
OWNERS = ("Camille Laurent", "Jonas Weber", "Lucía Ortega", "Emma Clarke", "Hugo Moreau", "Giulia Conti")
NO_COMPANY = 0.25


class Contacts:
    """The CRM contacts of a world.

    Half of a day's contacts are synchronised from customers who signed up that day, minutes after they did and under
    the same e-mail address; a customer is at most one contact. The others are prospects with no user: they advance no
    further than `opportunity`.
    """

    def __init__(self, world: World, people: People) -> None:
        self._world = world
        self._people = people
        self._volume = Volume(world, "crm_contacts", CONTACTS_PER_90_DAYS * world.scale, OFFICE_WEEK)
        self.cohorts = Cohorts(self._make)

    def _make(self, day: int) -> Columns:
        rng = self._world.rng("crm_contacts", day)
        n = self._volume.on(day)
        country = choose(rng, COUNTRY_SHARES, n)
        made: Columns = {
            "created": self._world.midnight(day) + clock(rng, n, 7 * HOUR, 18 * HOUR),
            "user_id": np.zeros(n, dtype=np.int64),
            "first": name_indices(rng, country),
            "last": name_indices(rng, country),
            "domain": rng.integers(len(MAIL_DOMAINS), size=n),
            "company": np.where(rng.random(n) < NO_COMPANY, -1, company_indices(rng, country)),
            "source": choose(rng, LEAD_SOURCE_SHARES, n),
            "owner": rng.integers(len(OWNERS), size=n),
        }
        users = self._people.cohorts.until(day)
        known = self._people.cohorts.count(day - 1)
        signups = len(users["id"]) - known
        linked = np.flatnonzero(choose_evenly(rng, (0.5, 0.5), n))[:signups]
        who = known + rng.permutation(signups)[: len(linked)]
        made["created"][linked] = users["created"][who] + rng.integers(MINUTE, 30 * MINUTE, size=len(linked))
        made["user_id"][linked] = users["id"][who]
        for name in ("first", "last", "domain"):
            made[name][linked] = users[name][who]
        made["stages"] = self._stages(rng, made["created"], made["user_id"] != 0)
        by_time = np.argsort(made["created"], kind="stable")
        return {"id": self._world.ids(day, n)} | {name: values[by_time] for name, values in made.items()}

    @staticmethod
    def _stages(rng: np.random.Generator, created: np.ndarray, is_user: np.ndarray) -> np.ndarray:
        """When each stage is reached, as a (contacts, stages) matrix; a contact may start beyond the first."""
        start = choose(rng, FIRST_STAGE_SHARES, len(created))
        reached = np.full((len(created), len(STAGES)), NEVER, dtype=np.int64)
        for stage in range(len(STAGES)):
            if stage:
                share = np.where(is_user, ADVANCE_AS_USER, 0.0 if STAGES[stage] == "customer" else ADVANCE)
                advanced = after(rng, reached[:, stage - 1], 1.0, HOUR, ADVANCE_MEAN)
                reached[:, stage] = np.where(rng.random(len(created)) < share, advanced, NEVER)
            reached[start == stage, stage] = created[start == stage]
        return reached

    def changes(self, first: int, last: int) -> pa.Table:
        """Contacts created or advanced on days `first` to `last` excluded, as they stood at the end."""
        contacts = self.cohorts.until(last - 1)
        updated = latest(contacts["stages"], self._world.midnight(last))
        chosen = np.flatnonzero(updated >= self._world.midnight(first))
        chosen = chosen[arrow.order(updated[chosen], contacts["id"][chosen])]
        rows = {name: values[chosen] for name, values in contacts.items()}
        stage = np.argmax(rows["stages"] == updated[chosen, None], axis=1)
        own, mirrored = emails(self._world.seed, rows, mark="c"), self._user_emails(rows)
        company = pa.array(rows["company"], mask=rows["company"] < 0)
        return arrow.table(
            CRM_CONTACTS,
            {
                "id": rows["id"],
                "user_id": arrow.nullable(rows["user_id"]),
                "email": arrow.either(rows["user_id"] != 0, mirrored, own),
                "company": pools(self._world.seed).companies.take(company),
                "lead_source": arrow.picked(LEAD_SOURCES, rows["source"]),
                "lifecycle_stage": arrow.picked(STAGES, stage),
                "owner": arrow.picked(OWNERS, rows["owner"]),
                "created_at": arrow.timestamps(rows["created"]),
                "updated_at": arrow.timestamps(updated[chosen]),
            },
        )

    def _user_emails(self, rows: Columns) -> pa.Array:
        """The address each contact's user signed up with; meaningless where there is no user."""
        return emails(self._world.seed, rows | {"id": rows["user_id"]})
