"""What to make of what a poll saw: pure functions that open nothing and read no clock.

`decide_watch` is about one watch, `decide_account` about the account that its polls share, `decide_network` about
this machine, `files_owed` and `files_notice` about the files of an output, `passes` about who hears.
"""

from notifier.decide.account import AccountDecision, AccountState, decide_account, unreached
from notifier.decide.files import files_notice, files_owed, source_of
from notifier.decide.means import shortfall
from notifier.decide.network import NetworkDecision, decide_network
from notifier.decide.notices import given_up_notice, incident_notice, incident_over_notice, notice_id, passes
from notifier.decide.watch import Decision, Surroundings, decide_watch, is_over

__all__ = [
    "AccountDecision",
    "AccountState",
    "Decision",
    "NetworkDecision",
    "Surroundings",
    "decide_account",
    "decide_network",
    "decide_watch",
    "files_notice",
    "files_owed",
    "given_up_notice",
    "incident_notice",
    "incident_over_notice",
    "is_over",
    "notice_id",
    "passes",
    "shortfall",
    "source_of",
    "unreached",
]
