"""Every bar of the design, measured side by side with its yardstick; a table at the end.

    python -m tests.bench                    all of it, about forty minutes
    python -m tests.bench --quick            fewer pairs and shorter: some ten minutes
    python -m tests.bench cpu late           only these

Nothing but loopback is used, and all that is started is ended. Times are of this machine in this hour: what counts are
the ratios, and what the rows say of the machine itself. monit, where it is not installed, is left out.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.hanging import hanging
from tests.bench.news import news
from tests.bench.setting import Setting
from tests.bench.small import beside_monit, idle, start
from tests.bench.steady import cpu, growth, large, late
from tests.bench.table import Row, load, table

MEASUREMENTS: dict[str, Callable[[Setting], list[Row]]] = {
    "start": start,
    "cpu": cpu,
    "late": late,
    "monit": beside_monit,
    "hanging": hanging,
    "large": large,
    "news": news,
    "idle": idle,
    "growth": growth,
}


def main() -> None:
    """Measure what was asked for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *MEASUREMENTS], help="which; default: all")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path, help="where the store is written; default: where temporary files go")
    parser.add_argument("--picture", type=Path, help="where the growth curves go; default: tests/bench/growth.svg")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        setting = Setting(Path(name), options.quick, options.picture)
        for each in options.names or MEASUREMENTS:
            began = time.monotonic()
            print(f"{each} (load average {load()})", flush=True)
            rows += MEASUREMENTS[each](setting)
            print(f"  {time.monotonic() - began:.0f} s", flush=True)
    print(f"\n{table(rows)}")


if __name__ == "__main__":
    main()
