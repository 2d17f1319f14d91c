"""Channels: one message to one address, or a DeliveryError with the reason and no secret in it. Apprise lives here."""

from notifier.channels.urls import Target, inspect, masked, no_files, secret_parts, targets
from notifier.channels.wire import DEADLINE, send

__all__ = ["DEADLINE", "Target", "inspect", "masked", "no_files", "secret_parts", "send", "targets"]
