"""The source tables of StreamVision. Money is EUR, countries are ISO 3166 alpha-2, times are UTC."""

import datetime as dt

from shopstream_assets.platform.declare.tables import (
    BIGINT,
    BOOLEAN,
    DATE,
    INTEGER,
    MONEY,
    SMALLINT,
    TEXT,
    TEXTS,
    TIMESTAMP,
    Column,
    RowRule,
    SourceTable,
    numeric,
)

# Those that are paid for, the cheapest first; and that of everyone else.
PAID_PLANS = ("basic", "standard", "premium")
FREE = "free"
AGE_GROUPS = ("18-24", "25-34", "35-44", "45-54", "55-64", "65+")
DEVICES = ("smart_tv", "mobile", "desktop", "tablet")
RESOLUTIONS = ("SD", "HD", "Full HD", "4K")
CONTENT_TYPES = ("movie", "series", "documentary")
EVENT_TYPES = ("new", "upgrade", "downgrade", "renewal", "cancel")

UPDATED_AT = Column("updated_at", TIMESTAMP, "When the row last changed (UTC); its day is the row's partition.")
USER = Column("user_id", BIGINT, "User concerned.", references="users.id")
TITLE = Column("content_id", BIGINT, "Title concerned.", references="content.id")

USERS = SourceTable(
    name="users",
    grain="One row per user account.",
    description="Accounts with the plan they are on now; it changes only by a subscription event.",
    owner="team:membership",
    columns=(
        Column("id", BIGINT, "Identifier of the user."),
        Column("email", TEXT, "E-mail address, unique in practice.", pii=True),
        Column("username", TEXT, "Public name of the user, unique in practice.", pii=True),
        Column("first_name", TEXT, "Given name.", pii=True),
        Column("last_name", TEXT, "Family name.", pii=True),
        Column("country", TEXT, "Country of residence, ISO 3166 alpha-2."),
        Column("age_group", TEXT, "Age in years.", values=AGE_GROUPS),
        Column("subscription_plan", TEXT, "Plan of the user.", values=(FREE, *PAID_PLANS)),
        Column("subscription_start", DATE, "Day (UTC) the last subscription began; null before any.", nullable=True),
        Column("subscription_end", DATE, "Day (UTC) it was cancelled; null while it runs.", nullable=True),
        Column("created_at", TIMESTAMP, "When the account was opened (UTC)."),
        Column("last_login", TIMESTAMP, "When the user last signed in (UTC); devices stay signed in."),
        Column("is_active", BOOLEAN, "Whether the account is open."),
        Column("payment_method", TEXT, "How the user pays; null before any subscription.", nullable=True),
        Column("device_preference", TEXT, "Device used most.", values=DEVICES),
        UPDATED_AT,
    ),
    rules=(
        RowRule("country is no ISO 3166 alpha-2 code", "country ~ '^[A-Z]{2}$'", ("country",)),
        RowRule(
            "a subscription ends before it begins",
            "subscription_end >= subscription_start",
            ("subscription_start", "subscription_end"),
        ),
    ),
)

CONTENT = SourceTable(
    name="content",
    grain="One row per title of the catalogue.",
    description="Movies, series and documentaries, with the countries they may be shown in.",
    owner="team:content",
    # A title is added on a Friday; in between little changes.
    freshness=dt.timedelta(days=8),
    columns=(
        Column("id", BIGINT, "Identifier of the title."),
        Column("title", TEXT, "Display title."),
        Column("content_type", TEXT, "Kind of title.", values=CONTENT_TYPES),
        Column("genre", TEXT, "Genre."),
        Column("subgenre", TEXT, "Genre within the genre.", nullable=True),
        Column("release_year", SMALLINT, "Year of the first release.", minimum=1888),
        Column("duration_minutes", INTEGER, "Running time; of a series that of all its episodes.", minimum=1),
        Column("director", TEXT, "Director."),
        Column("main_actor", TEXT, "Leading actor; null for documentaries.", nullable=True),
        Column("imdb_rating", numeric(3, 1), "Rating on IMDb, 1 to 10.", nullable=True, minimum=1),
        Column("content_rating", TEXT, "Age that it is rated for.", values=("all", "7+", "12+", "16+", "18+")),
        Column("is_original", BOOLEAN, "Whether StreamVision produced it."),
        Column("added_date", DATE, "Day it came into the catalogue."),
        Column("available_countries", TEXTS, "Where it may be shown; null for everywhere.", nullable=True),
        Column("tags", TEXTS, "Words that describe it; may be empty."),
        Column("description", TEXT, "What it is about.", nullable=True),
        UPDATED_AT,
    ),
)

EPISODES = SourceTable(
    name="episodes",
    grain="One row per episode of a series.",
    description="Episodes with their place in the series and their running time.",
    owner="team:content",
    freshness=dt.timedelta(days=60),
    columns=(
        Column("id", BIGINT, "Identifier of the episode."),
        Column("content_id", BIGINT, "Series it belongs to.", references="content.id"),
        Column("season", SMALLINT, "Season, from 1.", minimum=1),
        Column("episode", SMALLINT, "Episode of the season, from 1.", minimum=1),
        Column("title", TEXT, "Display title."),
        Column("duration_minutes", INTEGER, "Running time.", minimum=1),
        Column("release_date", DATE, "Day it could first be watched."),
        UPDATED_AT,
    ),
)

VIEWING_SESSIONS = SourceTable(
    name="viewing_sessions",
    grain="One row per viewing session that has ended.",
    description="One user watching one title without a break, with the quality of the picture; only ever appended.",
    owner="team:playback",
    zone="events",
    cursor="ended_at",
    append_only=True,
    columns=(
        Column("id", BIGINT, "Identifier of the session."),
        USER,
        TITLE,
        Column("started_at", TIMESTAMP, "When it began (UTC)."),
        Column("ended_at", TIMESTAMP, "When it ended (UTC); its day is the row's partition."),
        Column("duration_seconds", INTEGER, "Time watched.", minimum=0),
        Column("completion_rate", numeric(5, 4), "Share watched of the title, or of the episodes begun.", minimum=0),
        Column("device", TEXT, "Device watched on.", values=DEVICES),
        Column("resolution", TEXT, "Resolution of most of it.", values=RESOLUTIONS),
        Column("buffering_events", INTEGER, "Times the picture stood still.", minimum=0),
        Column("bitrate_kbps", INTEGER, "Mean bit rate.", minimum=0),
        Column("country", TEXT, "Country watched in, ISO 3166 alpha-2."),
    ),
    rules=(
        RowRule("ended before it began", "started_at <= ended_at", ("started_at", "ended_at")),
        RowRule("more was watched than there is", "completion_rate <= 1", ("completion_rate",)),
    ),
)

EPISODE_VIEWING = SourceTable(
    name="episode_viewing",
    grain="One row per episode watched in a session.",
    description="What a session with a series consisted of; only ever appended.",
    owner="team:playback",
    zone="events",
    cursor="occurred_at",
    append_only=True,
    columns=(
        Column("id", BIGINT, "Identifier of the viewing."),
        Column("session_id", BIGINT, "Session it was part of.", references="viewing_sessions.id"),
        Column("episode_id", BIGINT, "Episode watched.", references="episodes.id"),
        USER,
        Column("watched_seconds", INTEGER, "Time watched.", minimum=0),
        Column("completed", BOOLEAN, "Whether at least nine tenths were watched."),
        Column("occurred_at", TIMESTAMP, "When it was stopped (UTC); its day is the row's partition."),
    ),
)

RATINGS = SourceTable(
    name="ratings",
    grain="One row per rating given after watching.",
    description="One to five stars, some with a comment in the user's language; may be edited later.",
    owner="team:content",
    columns=(
        Column("id", BIGINT, "Identifier of the rating."),
        USER,
        TITLE,
        Column("rating", SMALLINT, "Stars, 1 to 5.", minimum=1),
        Column("comment", TEXT, "What the user wrote, in any language.", nullable=True, pii=True),
        Column("created_at", TIMESTAMP, "When it was given (UTC)."),
        UPDATED_AT,
    ),
    rules=(RowRule("more than 5 stars", "rating <= 5", ("rating",)),),
)

SUBSCRIPTION_EVENTS = SourceTable(
    name="subscription_events",
    grain="One row per change or renewal of a subscription.",
    description="The only thing that changes a user's plan; only ever appended.",
    owner="team:membership",
    zone="events",
    cursor="occurred_at",
    append_only=True,
    columns=(
        Column("id", BIGINT, "Identifier of the event; of one moment the greater is the later."),
        USER,
        Column("event_type", TEXT, "What happened.", values=EVENT_TYPES),
        Column("from_plan", TEXT, "Plan before; null for a new subscription.", nullable=True, values=PAID_PLANS),
        Column("to_plan", TEXT, "Plan from then on; null after a cancellation.", nullable=True, values=PAID_PLANS),
        Column("amount", MONEY, "What the plan costs a month from then on, in EUR; 0 after a cancellation.", minimum=0),
        Column("occurred_at", TIMESTAMP, "When it happened (UTC); its day is the row's partition."),
    ),
    rules=(
        RowRule(
            "the plans do not fit the event",
            "(event_type = 'new') = (from_plan is null) and (event_type = 'cancel') = (to_plan is null)",
            ("event_type", "from_plan", "to_plan"),
        ),
    ),
)

SEARCH_QUERIES = SourceTable(
    name="search_queries",
    grain="One row per search.",
    description="What users looked for, how much was found and what they opened; only ever appended.",
    owner="team:content",
    zone="events",
    cursor="occurred_at",
    append_only=True,
    columns=(
        Column("id", BIGINT, "Identifier of the search."),
        USER,
        Column("query", TEXT, "What the user typed."),
        Column("results_count", INTEGER, "Titles found.", minimum=0),
        Column("clicked_content_id", BIGINT, "Title opened, if any.", nullable=True, references="content.id"),
        Column("occurred_at", TIMESTAMP, "When it happened (UTC); its day is the row's partition."),
    ),
)

TABLES = (
    USERS,
    CONTENT,
    EPISODES,
    VIEWING_SESSIONS,
    EPISODE_VIEWING,
    RATINGS,
    SUBSCRIPTION_EVENTS,
    SEARCH_QUERIES,
)
