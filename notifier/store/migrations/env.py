"""Run by Alembic: applies the steps in `versions` to the connection that `notifier.store.opening` hands over.

The caller has begun the transaction and ends it, so a step that fails leaves the database as it was.
"""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
