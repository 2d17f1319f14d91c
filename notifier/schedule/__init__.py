"""What is due when: intervals, phases, back-off and account budgets; APScheduler fires the one job that drains it.

    waits.py      how long to wait after a poll
    account.py    one account's watches, and when its next poll may start
    table.py      the due table: all accounts, for any thread
    clockwork.py  the APScheduler job

The table lives on the monotonic clock, so that budgets, back-off, fairness and clock steps are one mechanism. A job
per watch would cost several times the CPU of the row, and would go silent when the wall clock steps back.
"""

from notifier.schedule.clockwork import PollScheduler
from notifier.schedule.table import AT_ONCE, DueTable
from notifier.schedule.waits import hold_after, wait_after

__all__ = ["AT_ONCE", "DueTable", "PollScheduler", "hold_after", "wait_after"]
