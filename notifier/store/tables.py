"""The tables, as SQLAlchemy Core knows them. How they came to be, step by step, stands in `migrations/versions`.

Columns are called like the fields of `notifier.model` that they hold. Times are Unix seconds, texts that hold a list
are JSON. No column ever holds a secret: channels stand here by their names, never by their URLs.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text

SCHEMA_VERSION = 3
"""The number of the newest step in `migrations/versions`; also the database's `user_version`."""

metadata = MetaData()

store = Table(
    "store",
    metadata,
    Column("id", String, primary_key=True),
    comment="One row: the random id that the marker beside the database repeats.",
)

watches = Table(
    "watches",
    metadata,
    Column("api", String, primary_key=True),
    Column("id", String, primary_key=True),
    # What is known: the fields of model.State.
    Column("watched_since", Float, nullable=False),
    Column("status", String),
    Column("status_since", Float),
    Column("final_at", Float),
    Column("error", Text),
    Column("has_output", Boolean, nullable=False),
    Column("output", Text),
    Column("done", Boolean, nullable=False),
    Column("let_go", Boolean, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("failing_since", Float),
    Column("failure", Text),
    Column("not_found", Integer, nullable=False),
    Column("not_found_since", Float),
    Column("troubles", Text),
    Column("trouble_since", Float),
    Column("unknown", Text),
    Column("notices", Integer, nullable=False),
    # What `status` shows of it, written now and then.
    Column("last_polled", Float),
    Column("next_poll", Float),
    # When it left the watchlist; NULL while it stands there.
    Column("removed_at", Float),
    Index("watches_removed_at", "removed_at"),
)

notices = Table(
    "notices",
    metadata,
    Column("number", Integer, primary_key=True),
    # The short notice id. Not unique by force: it is short, and nothing may be lost because two happen to be alike.
    Column("notice", String, nullable=False),
    Column("event", String, nullable=False),
    Column("time", Float, nullable=False),
    # The prediction; both NULL for an incident.
    Column("api", String),
    Column("id", String),
    Column("name", Text, nullable=False),
    Column("before", String),
    Column("status", String),
    Column("error", Text),
    Column("why", Text, nullable=False),
    # The other fields of model.Notice that are not as by default, as a JSON object.
    Column("facts", Text, nullable=False),
    Index("notices_id", "id", "number"),
    Index("notices_time", "time"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("notice_number", Integer, ForeignKey("notices.number", name="deliveries_notice"), nullable=False),
    Column("channel", String, nullable=False),
    Column("recipient", String, nullable=False),
    # model.DeliveryState
    Column("state", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("due_at", Float, nullable=False),
    # When it was sent or given up; NULL while it waits.
    Column("ended_at", Float),
    Column("last_error", Text),
    # One index for the three questions asked often: what waits for this address, for whom does anything wait, and
    # how many were given up.
    Index("deliveries_state", "state", "channel", "recipient", "id"),
    Index("deliveries_notice_number", "notice_number"),
    Index("deliveries_ended_at", "ended_at"),
)

incidents = Table(
    "incidents",
    metadata,
    Column("kind", String, primary_key=True),
    Column("subject", String, primary_key=True),
    Column("since", Float, nullable=False),
    Column("detail", Text, nullable=False),
    Column("count", Integer, nullable=False),
    comment="The open ones.",
)

channels = Table(
    "channels",
    metadata,
    Column("channel", String, primary_key=True),
    Column("recipient", String, primary_key=True),
    Column("last_sent", Float),
    Column("failing_since", Float),
    comment="How each address fares.",
)

accounts = Table(
    "accounts",
    metadata,
    Column("name", String, primary_key=True),
    # Polls per second that its watches ask for, and that may start.
    Column("asked", Float, nullable=False),
    Column("allowed", Float, nullable=False),
    # Seconds that a poll takes.
    Column("latency", Float),
    comment="How busy each account is; written now and then.",
)

files = Table(
    "files",
    metadata,
    Column("api", String, primary_key=True),
    Column("id", String, primary_key=True),
    # The other fields of model.File.
    Column("number", Integer, primary_key=True),
    Column("source", Text, nullable=False),
    # NULL once the file is kept. A `data:` URI stands here whole until then: no provider has it any longer than this.
    Column("url", Text),
    Column("state", String, nullable=False),
    Column("name", Text),
    Column("place", Text),
    Column("size", Integer),
    Column("sha256", String),
    Column("content_type", Text),
    Column("validator", Text),
    Column("attempts", Integer, nullable=False),
    Column("last_error", Text),
    Column("created_at", Float, nullable=False),
    Column("due_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("ended_at", Float),
    Column("told", Boolean, nullable=False),
    # One index for what is to be fetched next, and one for what has been kept for long enough.
    Index("files_state", "state", "due_at"),
    Index("files_ended_at", "state", "ended_at"),
    comment="The files of outputs: those that are kept, and those that are to be.",
)
