"""Starts the dashboard: one process on the loopback address, with nothing switched on that talks.

Settings are given here and not in a configuration file, so that they hold wherever the package is
installed and whatever the user's own Streamlit settings say.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.middleware import Middleware
from streamlit import config as streamlit_config
from streamlit.web.server.starlette import starlette_server

from dashboard.charts.theme import streamlit_theme
from dashboard.data.context import WORKSPACE_VARIABLE
from dashboard.server import cache_warmup, failures
from dashboard.server.guard import GuardMiddleware, allowed_hosts
from dashboard.server.routes import ROUTES
from scoring.errors import InputError

APP = Path(__file__).parent.parent / "app.py"
# What later versions of Streamlit can be asked for beside pages; earlier ones refuse the word.
_SWITCHED_OFF = ("server.enableAgentApi",)
WARM_SECONDS = 1.5  # that the server opens later for it, at the most
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(workspace_root: Path, port: int, host: str = "127.0.0.1") -> None:
    """Serves the workspace at ``workspace_root`` until interrupted.

    Raises InputError for an address beyond loopback: the pages have no login yet.
    """
    if host not in LOOPBACK:
        raise InputError(
            f"the dashboard has no login and therefore listens on this machine only, not on "
            f"{host}; use --host 127.0.0.1, and an SSH tunnel from elsewhere"
        )
    os.environ[WORKSPACE_VARIABLE] = str(workspace_root.resolve())
    _send_at_once()
    # Streamlit takes the folder of the started script for its own settings; ours has none.
    sys.argv = [str(APP)]
    app = st.App(
        APP,
        routes=ROUTES,
        middleware=[Middleware(GuardMiddleware, hosts=allowed_hosts(host))],
        on_script_error=failures.show_failure,
    )
    cache_warmup.freeze_imported_objects()
    warm_up = threading.Thread(target=cache_warmup.warm_up, name="warm-up", daemon=True)
    warm_up.start()
    # A first visit in the midst of it would take about as much longer as is waited here.
    warm_up.join(WARM_SECONDS)
    try:
        app.run(config=server_settings(port, host))
    finally:
        # What is still frozen when Python ends, DuckDB reports as leaked.
        gc.unfreeze()


def server_settings(port: int, host: str) -> dict[str, Any]:
    """Streamlit's settings: local, quiet, checked, without telemetry and without tracebacks."""
    return {
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
        **{
            name: False
            for name in _SWITCHED_OFF
            if name in streamlit_config._config_options_template
        },
        **streamlit_theme(),
    }


def _known_settings() -> Collection[str]:
    """Names of the settings of this version of Streamlit. Asking for their values would read the
    user's files now, and the server would then warn that settings have changed."""
    return streamlit_config._config_options_template.keys()


def _send_at_once() -> None:
    """Sets TCP_NODELAY on the listening socket, which accepted connections inherit.

    Streamlit binds the socket itself, with a protocol number from which asyncio does not see that
    it is TCP; without this every answer on a kept connection waits 40 ms.
    """
    bind = starlette_server._bind_socket

    def bind_without_delay(address: str, port: int, backlog: int) -> socket.socket:
        bound = bind(address, port, backlog)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return bound

    if getattr(bind, "__name__", "") != bind_without_delay.__name__:
        starlette_server._bind_socket = bind_without_delay
