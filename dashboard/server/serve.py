"""Starts the dashboard: one process on the loopback address, without telemetry.

Settings are given here and not in a configuration file, so that they apply wherever the package is
installed and override the user's own Streamlit settings.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.web.server.starlette import starlette_server

from dashboard.charts.theme import streamlit_theme
from dashboard.data.context import WORKSPACE_VARIABLE
from dashboard.server import cache_warmup, failures
from dashboard.server.guard import allowed_hosts, guard_middleware
from dashboard.server.routes import ROUTES
from scoring.errors import InputError

APP = Path(__file__).with_name("app.py")
WARM_UP_SECONDS = 1.5  # longest delay of the server's start for it
LOOPBACK = ("127.0.0.1", "localhost", "::1")


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
        APP,
        routes=ROUTES,
        middleware=guard_middleware(host),
        on_script_error=failures.show_failure,
    )
    cache_warmup.freeze_imported_objects()
    warm_up = threading.Thread(target=cache_warmup.warm_up_caches, name="warm-up", daemon=True)
    warm_up.start()
    # A first visit during the warm-up would take about that much longer.
    warm_up.join(WARM_UP_SECONDS)
    try:
        app.run(config=server_settings(port, host))
    finally:
        # DuckDB reports objects that are still frozen when Python exits as leaked.
        gc.unfreeze()


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
