"""The first tables: what is known of each watch, the outbox, open incidents, how each channel fares."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create them."""
    op.create_table("store", sa.Column("id", sa.String, primary_key=True))
    _create_watches()
    op.create_table(
        "notices",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("notice", sa.String, nullable=False),
        sa.Column("event", sa.String, nullable=False),
        sa.Column("time", sa.Float, nullable=False),
        sa.Column("api", sa.String),
        sa.Column("id", sa.String),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("before", sa.String),
        sa.Column("status", sa.String),
        sa.Column("error", sa.Text),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("facts", sa.Text, nullable=False),
    )
    op.create_index("notices_id", "notices", ["id", "number"])
    op.create_index("notices_time", "notices", ["time"])
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(
            "notice_number", sa.Integer, sa.ForeignKey("notices.number", name="deliveries_notice"), nullable=False
        ),
        sa.Column("channel", sa.String, nullable=False),
        sa.Column("recipient", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("due_at", sa.Float, nullable=False),
        sa.Column("ended_at", sa.Float),
        sa.Column("last_error", sa.Text),
    )
    op.create_index("deliveries_state", "deliveries", ["state", "channel", "recipient", "id"])
    op.create_index("deliveries_notice_number", "deliveries", ["notice_number"])
    op.create_index("deliveries_ended_at", "deliveries", ["ended_at"])
    op.create_table(
        "incidents",
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("subject", sa.String, primary_key=True),
        sa.Column("since", sa.Float, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
    )
    op.create_table(
        "channels",
        sa.Column("channel", sa.String, primary_key=True),
        sa.Column("recipient", sa.String, primary_key=True),
        sa.Column("last_sent", sa.Float),
        sa.Column("failing_since", sa.Float),
    )


def _create_watches() -> None:
    op.create_table(
        "watches",
        sa.Column("api", sa.String, primary_key=True),
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("watched_since", sa.Float, nullable=False),
        sa.Column("status", sa.String),
        sa.Column("status_since", sa.Float),
        sa.Column("final_at", sa.Float),
        sa.Column("error", sa.Text),
        sa.Column("has_output", sa.Boolean, nullable=False),
        sa.Column("output", sa.Text),
        sa.Column("done", sa.Boolean, nullable=False),
        sa.Column("let_go", sa.Boolean, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("failing_since", sa.Float),
        sa.Column("failure", sa.Text),
        sa.Column("not_found", sa.Integer, nullable=False),
        sa.Column("not_found_since", sa.Float),
        sa.Column("troubles", sa.Text),
        sa.Column("trouble_since", sa.Float),
        sa.Column("unknown", sa.Text),
        sa.Column("notices", sa.Integer, nullable=False),
        sa.Column("last_polled", sa.Float),
        sa.Column("next_poll", sa.Float),
        sa.Column("removed_at", sa.Float),
    )
    op.create_index("watches_removed_at", "watches", ["removed_at"])
