"""The page itself: the only file that knows viser."""

from __future__ import annotations

import io
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from types import ModuleType
from typing import Any

import numpy as np

from purify3d.base.errors import PurifyError, require
from purify3d.viewing.authentication import OWN, answer_instead
from purify3d.viewing.client import Client


def check_installed() -> ModuleType:
    """viser itself.

    Raises:
        MissingPackageError: it is not installed.
    """
    return require("viser", "view")


class Page:
    """A served scene, until `stop`.

    Attributes:
        clients: by the number of their connection.
        port: the one that was free, from the wanted one up.
        token: what a client must know; None where only this machine is served.
    """

    def __init__(
        self,
        up: np.ndarray,
        visit: Callable[[Any], Client],
        *,
        host: str = "localhost",
        port: int = 8080,
    ) -> None:
        """
        Args:
            up: (3,) of the scene.
            visit: makes the client of a connection, viser's handle of which it is given.
            host: another than this machine's own names makes a token.
            port: 0: any.

        Raises:
            MissingPackageError: viser is not installed.
            PurifyError: the host is no address of this machine, or this viser cannot be guarded.
        """
        viser = check_installed()
        self.clients: dict[int, Client] = {}
        self.host = host
        self.token = None if host in OWN else secrets.token_urlsafe(24)
        _check_host(host)

        class Server(viser.ViserServer):  # type: ignore[name-defined]
            def request_share_url(self, verbose: bool = True) -> str | None:
                """A client could ask for it; a scan is never published."""
                return None

        guarded: list[bool] = []
        with _quiet(), _guard(lambda: self.token, lambda: self.port, guarded):
            self._server = Server(host=host, port=port, verbose=False, label="purify3d")
        if not guarded:
            self._server.stop()
            raise PurifyError(
                f"found viser {viser.__version__}, whose requests cannot be looked at; expected viser 1.1. "
                "Install it: pip install 'viser>=1.1,<1.2'"
            )
        self.port: int = self._server.get_port()
        self._server.scene.set_up_direction(tuple(up.tolist()))
        self._server.gui.configure_theme(control_width="large", show_logo=False, show_share_button=False)
        self._server.gui.main_panel.dock_right()

        @self._server.on_client_connect
        def _(client: Any) -> None:
            self.clients[client.client_id] = visit(client)

        @self._server.on_client_disconnect
        def _(client: Any) -> None:
            if (gone := self.clients.pop(client.client_id, None)) is not None:
                gone.leave()

    @property
    def address(self) -> str:
        """What a browser opens, with the token where there is one."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        if self.host in ("0.0.0.0", "::"):
            shown = socket.gethostname()
        return f"http://{shown}:{self.port}/" + (f"?token={self.token}" if self.token else "")

    def wait(self) -> None:
        """Until the process is interrupted."""
        threading.Event().wait()

    def stop(self) -> None:
        """Close all connections and leave no thread."""
        for client in list(self.clients.values()):
            client.leave()
        with _quiet():
            self._server.stop()


def _quiet() -> redirect_stdout[io.StringIO]:
    """viser prints a banner, and that it has stopped; what is printed here is for the command line to say."""
    return redirect_stdout(io.StringIO())


def _check_host(host: str) -> None:
    """
    Raises:
        PurifyError: nothing can be served under this name.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        raise PurifyError(
            f"found --host {host!r}, which is no address of this machine ({error}); expected localhost, "
            "0.0.0.0 for all of them, or one of them"
        ) from error


@contextmanager
def _guard(token: Callable[[], str | None], port: Callable[[], int], guarded: list[bool]) -> Iterator[None]:
    """Let every request of a server that starts inside be looked at before viser answers it.

    viser has no such hook, so the function that it serves with is wrapped while it starts.

    Args:
        guarded: gets an entry when that has worked.
    """
    from http import HTTPStatus

    import websockets.asyncio.server as sockets
    from websockets.datastructures import Headers
    from websockets.http11 import Response

    original = sockets.serve

    def serve(*args: Any, process_request: Callable[..., Any], **rest: Any) -> Any:
        def look_first(connection: Any, request: Any) -> Any:
            given = answer_instead(
                request.path, list(request.headers.raw_items()), token=token(), port=port()
            )
            if given is None:
                return process_request(connection, request)
            status, body = HTTPStatus(given.status), given.text.encode()
            headers = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body))}
            return Response(status, status.phrase, Headers(**headers, **given.headers), body)

        guarded.append(True)
        return original(*args, process_request=look_first, **rest)

    sockets.serve = serve  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        sockets.serve = original  # type: ignore[misc]
