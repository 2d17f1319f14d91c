"""A webhook-style status notifier for AI predictions at CometAPI's Replicate endpoint and at Replicate."""

from importlib.metadata import version

__version__ = version("prediction-notifier")
