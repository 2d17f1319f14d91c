"""A webhook-style status notifier for AI predictions at CometAPI's Replicate endpoint and at Replicate."""

__version__ = "0.1.0"
