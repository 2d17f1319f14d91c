"""The program, in which everybody who can says the secrets: mistakes of ours, libraries, Python itself.

    python -m tests.standins.talkative run -c config.yaml

The secrets are the values of the variables of the environment whose names begin with SECRET. They are said once, when
the first answer is taken; the mistakes in what is sent, each time.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from typing import Any, NoReturn

from notifier import channels
from notifier.cli import main
from notifier.service.keeper import Keeper

SECRETS = [value for name, value in os.environ.items() if name.startswith("SECRET")]
LIBRARIES = ("apprise", "apprise.plugins", "urllib3.connectionpool", "asyncio", "apscheduler.scheduler", "sqlalchemy")


class Broken:
    """Fails where nobody can take the exception."""

    def __del__(self) -> None:
        raise ValueError(f"nobody takes {SECRETS}")


def talk() -> NoReturn:
    """All of it; the last is a mistake in the keeper's thread."""
    for name in LIBRARIES:
        library = logging.getLogger(name)
        library.setLevel(logging.DEBUG)
        library.debug("chatter %s", SECRETS)
        library.info("chatter %s", SECRETS)
        library.warning("%s warns of %s", name, SECRETS)
        library.warning("no number: %d", SECRETS)
    warnings.warn(f"Python warns of {SECRETS}", stacklevel=1)
    Broken()
    thread = threading.Thread(target=fail, name=f"thread of {SECRETS}")
    thread.start()
    thread.join()
    fail()


def fail() -> NoReturn:
    """A mistake, with its causes."""
    error = ValueError(f"what was it: {SECRETS[0]}\n{SECRETS[-1]}")
    error.add_note(f"it was {SECRETS}")
    raise error from KeyError(*SECRETS)


def patch() -> None:
    """Have them talk."""
    decide, send = Keeper._decide, channels.send
    said = threading.Event()

    def decide_or_talk(self: Keeper, answered: Any) -> Any:
        if not said.is_set():
            said.set()
            talk()
        return decide(self, answered)

    def send_or_fail(target: channels.Target, words: Any, **settings: Any) -> None:
        if target.address.channel == "broken":
            raise ValueError(f"not sent to {target.url.reveal()}")
        send(target, words, **settings)

    Keeper._decide = decide_or_talk  # type: ignore[method-assign]
    channels.send = send_or_fail  # type: ignore[assignment]


if __name__ == "__main__":
    patch()
    main()
