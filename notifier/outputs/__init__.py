"""Files of outputs, kept before they vanish: what they are called, where they stand, and what is noted beside them."""

from notifier.outputs.data_uri import Inline, decode

__all__ = [
    "Inline",
    "decode",
]
