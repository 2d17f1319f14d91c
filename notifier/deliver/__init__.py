"""From due outbox rows to sent, due again later, or given up: one lane per address, so that none holds up another."""

from notifier.deliver.lane import Lane
from notifier.deliver.lanes import Lanes, Route
from notifier.deliver.needs import Files, Incidents, Outbox, Outcome, Words
from notifier.deliver.pacer import Pacer
from notifier.deliver.plan import Form, Parcel, is_message_at_fault, next_parcel, probe_wait

__all__ = [
    "Files",
    "Form",
    "Incidents",
    "Lane",
    "Lanes",
    "Outbox",
    "Outcome",
    "Pacer",
    "Parcel",
    "Route",
    "Words",
    "is_message_at_fault",
    "next_parcel",
    "probe_wait",
]
