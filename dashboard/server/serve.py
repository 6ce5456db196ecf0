"""Starts the dashboard: one process on the loopback address, without telemetry.

Settings are given here and not in a configuration file, so that they apply wherever the package is
installed and override the user's own Streamlit settings.
"""

from __future__ import annotations

import gc
import logging
import os
import socket
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.web.server.starlette import starlette_server

from dashboard.charts.theme import streamlit_theme
from dashboard.data.context import WORKSPACE_VARIABLE, open_view_context
from dashboard.server import pages  # noqa: F401 - importing them here speeds up the first visit
from dashboard.server.guard import allowed_hosts, guard_middleware
from dashboard.server.routes import ROUTES
from dashboard.view.state import View
from dashboard.widgets.notices import show_fault, show_problem
from dashboard.widgets.prefetch import run_page_queries
from scoring.errors import InputError, VisnecError

APP = Path(__file__).with_name("app.py")
WARM_UP_SECONDS = 1.5  # longest delay of the server's start for it
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LOG = logging.getLogger("visnec.dashboard")


def serve(workspace_root: Path, port: int, host: str = "127.0.0.1") -> None:
    """Serve the workspace at ``workspace_root`` until interrupted.

    Raises:
        InputError: For an address beyond loopback, because the pages have no login.
    """
    if host not in LOOPBACK:
        raise InputError(
            f"the dashboard has no login and therefore listens on this machine only, not on "
            f"{host}; use --host 127.0.0.1, and an SSH tunnel from elsewhere"
        )
    os.environ[WORKSPACE_VARIABLE] = str(workspace_root.resolve())
    _set_tcp_nodelay()
    # Streamlit looks for settings in the folder of the script that was started; ours has none.
    sys.argv = [str(APP)]
    app = st.App(
        APP, routes=ROUTES, middleware=guard_middleware(host), on_script_error=show_failure
    )
    _freeze_imported_objects()
    warm_up = threading.Thread(target=_warm_up_caches, name="warm-up", daemon=True)
    warm_up.start()
    # A first visit during the warm-up would take about that much longer.
    warm_up.join(WARM_UP_SECONDS)
    try:
        app.run(config=server_settings(port, host))
    finally:
        # DuckDB reports objects that are still frozen when Python exits as leaked.
        gc.unfreeze()


def show_failure(error: Exception) -> bool:
    """Show an uncaught error; True keeps Streamlit from showing its own message.

    Explained errors are shown with their remedy. Anything else is a bug: the details go to the
    terminal under a short number, and the page shows the number, never a traceback.
    """
    if isinstance(error, VisnecError):
        show_problem(error)
        return True
    number = uuid.uuid4().hex[:8]
    _LOG.error("failure %s while rendering a page", number, exc_info=error)
    with st.container(key=f"failure-{number}"):
        show_fault(number)
    return True


def _warm_up_caches() -> None:
    """Run the queries of the first page; if one fails, the page itself reports it.

    The first query on a million samples or more reads all their scores once.
    """
    try:
        context = open_view_context(View()).context
        if context is not None:
            run_page_queries(context, View())
    except VisnecError:
        return
    _freeze_imported_objects()


def _freeze_imported_objects() -> None:
    """Exclude everything imported and cached so far from garbage collection.

    A full collection over the objects of pandas, DuckDB and plotly alone takes 90 ms of CPU time,
    during which nothing is sent. For the same reason Streamlit's collection after every rerun is
    off, which still took 13 ms each time; Python collects when necessary.
    """
    gc.collect()
    gc.freeze()


def server_settings(port: int, host: str) -> dict[str, Any]:
    """Return Streamlit's settings: local, quiet, without telemetry and without tracebacks."""
    settings = {
        "server.address": host,
        "server.port": port,
        "server.headless": True,
        "server.allowedHosts": list(allowed_hosts(host)),
        "server.enableXsrfProtection": True,
        "server.enableCORS": True,
        "server.enableStaticServing": False,
        "server.fileWatcherType": "none",
        "server.runOnSave": False,
        "server.disconnectedSessionTTL": 900,
        "browser.gatherUsageStats": False,
        "browser.serverAddress": host,
        "client.toolbarMode": "viewer",
        "client.showErrorDetails": "none",
        "client.showErrorLinks": False,
        "runner.magicEnabled": False,
        "runner.fastReruns": True,
        "runner.postScriptGC": False,
        "global.developmentMode": False,
        "logger.level": "warning",
        **streamlit_theme(),
    }
    if tuple(map(int, st.__version__.split(".")[:2])) >= (1, 67):  # earlier ones lack the option
        settings["server.enableAgentApi"] = False
    return settings


def _set_tcp_nodelay() -> None:
    """Set TCP_NODELAY on the listening socket, so that accepted connections inherit it.

    Streamlit creates the socket in a way that keeps asyncio from recognising it as TCP; without
    this option, every response on a kept-alive connection waits 40 ms. Streamlit offers no setting
    for it, so its private function is wrapped; a version without it is served with the delay.
    """
    bind = getattr(starlette_server, "_bind_socket", None)
    if bind is None:
        return

    def bind_without_delay(address: str, port: int, backlog: int) -> socket.socket:
        bound: socket.socket = bind(address, port, backlog)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return bound

    starlette_server._bind_socket = bind_without_delay
