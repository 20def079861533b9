"""The process ``api``: serve the API and the console.

Until a signal or the supervisor's end stops it. This is the only module of ``tenantry.api`` that
knows the console.
"""

from tenantry.api.app import create_app
from tenantry.base import logs, settings
from tenantry.base.home import Home
from tenantry.services.observations.interpreting import observe
from tenantry.services.requests import http_server
from tenantry.web import app as console


def main() -> None:
    logs.configure("api")
    here = settings.load()
    observe(Home(here.home), "api")
    app = create_app(here)
    console.install(app)
    config = http_server.configured(
        app, here, host=here.api.host, port=here.api.port, tls=here.api_tls
    )
    http_server.run(http_server.serve(config, here), here)
