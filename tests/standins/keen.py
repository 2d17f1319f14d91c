"""The program whose saver waits less, where no setting of the configuration shortens that.

    python -m tests.standins.keen run -c config.yaml

A file that failed is tried again after a fraction of a second, a place that failed after half a second, and a host that
is silent is given up after two.
"""

from __future__ import annotations

from notifier.cli import main
from notifier.outputs import retries, saver
from notifier.transport import Limits

STALL = 2.0


def shorten() -> None:
    """Do so for this process."""
    retries.WAITS = (0.2, 0.4, 0.6)  # type: ignore[assignment]
    vars(retries)["PLACE_WAIT"] = vars(saver)["PLACE_WAIT"] = 0.5
    Limits.__init__.__defaults__ = (STALL, *Limits.__init__.__defaults__[1:])  # type: ignore[index]


if __name__ == "__main__":
    shorten()
    main()
