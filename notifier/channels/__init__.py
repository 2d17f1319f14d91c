"""Channels: one message to one address, or a DeliveryError with the reason and no secret in it. Apprise lives here."""

from notifier.channels.urls import Target, inspect, masked, secret_parts, targets
from notifier.channels.wire import DEADLINE, send

__all__ = ["DEADLINE", "Target", "inspect", "masked", "secret_parts", "send", "targets"]
