"""What is known of every watch and what is owed to whom, in one SQLite file: see `Store`.

    core.py     the Store: its methods, each one transaction
    opening.py  which file, may it be used
    files.py    who holds it, and what becomes of it meanwhile
    watches.py, outbox.py, kept.py, upkeep.py   the statements
    rows.py     values in and out
    tables.py   the tables; migrations/ how they came to be
    sqlite.py   what another kind of database would need differently

The SQLAlchemy, SQLite and Alembic of this program stay behind this package.
"""

from notifier.store.core import Store
from notifier.store.opening import database_path, is_running
from notifier.store.rows import (
    AccountRow,
    Change,
    ChannelRow,
    DeliveryRow,
    Health,
    HistoryRow,
    Owed,
    Polled,
    Pruned,
    Resent,
    WatchRow,
)

__all__ = [
    "AccountRow",
    "Change",
    "ChannelRow",
    "DeliveryRow",
    "Health",
    "HistoryRow",
    "Owed",
    "Polled",
    "Pruned",
    "Resent",
    "Store",
    "WatchRow",
    "database_path",
    "is_running",
]
