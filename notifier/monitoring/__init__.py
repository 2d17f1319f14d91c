"""What looks after the daemon from without: Prometheus, load balancers, scripts and people.

metrics.py  what Prometheus is told; the only module that knows prometheus_client
pages.py    which question gets which answer, and who may ask
site.py     the sockets; the only module that knows waitress
"""

from notifier.monitoring.metrics import CONTENT_TYPE, AccountNow, Metrics, Now, OutboxNow
from notifier.monitoring.pages import OK, UNAVAILABLE, Answer, Page, Pages, as_json
from notifier.monitoring.site import Site

__all__ = [
    "CONTENT_TYPE",
    "OK",
    "UNAVAILABLE",
    "AccountNow",
    "Answer",
    "Metrics",
    "Now",
    "OutboxNow",
    "Page",
    "Pages",
    "Site",
    "as_json",
]
