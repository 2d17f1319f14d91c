"""The program with shorter waits where no setting of the configuration shortens them.

    python -m tests.standins.hasty run -c config.yaml

Failed polls back off for a second at most, and an account in trouble is probed after a second, then every other.
"""

from __future__ import annotations

from notifier.cli import main
from notifier.schedule import account, table, waits

waits.LONGEST_BACKOFF = 1.0
account.LONGEST_PROBE = 2.0
vars(table)["FIRST_PROBE"] = 1.0  # what it has imported
table.DueTable.probe.__defaults__ = (1.0,)

if __name__ == "__main__":
    main()
