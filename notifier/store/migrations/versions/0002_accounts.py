"""How busy each account is, so that `check` and `status` can say when more is asked for than can be done."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "accounts",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("asked", sa.Float, nullable=False),
        sa.Column("allowed", sa.Float, nullable=False),
        sa.Column("latency", sa.Float),
    )
