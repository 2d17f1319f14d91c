"""How a stand-in that runs on asyncio ends, so that no socket outlives it."""

from __future__ import annotations

import asyncio
import gc
from asyncio.selector_events import _SelectorSocketTransport  # type: ignore[attr-defined]
from typing import Any


async def end_connections() -> None:
    """End all other tasks of the loop, and every connection, also one that nobody knows of yet: it is being accepted,
    or still shakes hands.
    """
    loop: Any = asyncio.get_running_loop()
    for _ in range(3):
        await asyncio.sleep(0)  # what was accepted becomes a task, and what was ended tells its protocol
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # asyncio has a register of them, from which some are missing.
        for transport in gc.get_objects():
            if type(transport) is _SelectorSocketTransport and transport._loop is loop:
                transport.abort()
    for _ in range(3):
        await asyncio.sleep(0)
