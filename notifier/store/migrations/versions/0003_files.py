"""The files of outputs that are kept, and those that are to be."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "files",
        sa.Column("api", sa.String, primary_key=True),
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("url", sa.Text),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("place", sa.Text),
        sa.Column("size", sa.Integer),
        sa.Column("sha256", sa.String),
        sa.Column("content_type", sa.Text),
        sa.Column("validator", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("last_error", sa.Text),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("due_at", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float),
        sa.Column("ended_at", sa.Float),
        sa.Column("told", sa.Boolean, nullable=False),
    )
    op.create_index("files_state", "files", ["state", "due_at"])
    op.create_index("files_ended_at", "files", ["state", "ended_at"])
