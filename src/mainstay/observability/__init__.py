"""Health and metrics: is the process alive, may it get traffic, and the figures that Prometheus scrapes.

Live is 200 as long as the process answers. Ready is 200 while the database answers with the schema that this code
expects and, in production, no setting is missing that a part in use needs; 503 otherwise, naming what is wrong (C-06,
C-08, C-31, C-33). `unready` answers in place of the API where not even the database is named. `/metrics` and
`/api/v1/metrics` serve one registry; in production they ask for the operators' token unless METRICS_PUBLIC is set
(C-37). `/internal/metrics` shows the figures of each whole database as a job took them in the last minute, with their
time (C-21). `/internal/cache` shows what is cached and clears it.

Table: system_figures (one row a database).
"""

from mainstay.observability.cache_routes import cache_router
from mainstay.observability.cache_routes import shown as cache_shown
from mainstay.observability.routes import router
from mainstay.observability.tasks import schedules, tasks
from mainstay.observability.unready import unready

__all__ = ["cache_router", "cache_shown", "router", "schedules", "tasks", "unready"]
