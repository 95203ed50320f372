"""Our API for the load generator to call."""

from mainstay import main
from mainstay.kernel import logs
from mainstay.kernel.settings import load
from mainstay.web.front import Front


def build() -> Front:
    """The application as `mainstay api` serves it."""
    settings = load()
    logs.configure(service=settings.service_name, level=settings.log_level)
    return main.build_api(settings)
