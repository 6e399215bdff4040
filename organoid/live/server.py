"""The server of a live page: this computer only, and only with the token in the address."""

import secrets
import socket
import threading
import time
from types import TracebackType
from typing import Any

from organoid.errors import DeviceError, need
from organoid.live.activity import LiveActivity
from organoid.live.html import PAGE

HOST = "127.0.0.1"
_LINGER_S = 1.0  # after the end, so that open pages still see how it ended
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data: blob:",
}


class LivePage:
    """Serve a page on a session: pass `activity` to ``run_session(observers=...)``; a context manager.

    Parameters
    ----------
    title : str
        What the page says it follows.
    port : int
        0 takes any free one.

    Attributes
    ----------
    activity : LiveActivity
        The observer.
    url : str
        Address of the page, token included; without it the server answers 403.

    Examples
    --------
    >>> with LivePage() as page:  # doctest: +SKIP
    ...     print(page.url)
    ...     run_session(protocol, device, 60.0, observers=[page.activity])
    """

    def __init__(self, title: str = "", port: int = 0) -> None:
        self.activity = LiveActivity(title)
        self._token = secrets.token_urlsafe(18)
        uvicorn = need("uvicorn", "uvicorn", "live")
        app = _application(self.activity, self._token)
        self._socket = socket.socket()
        try:
            self._socket.bind((HOST, port))
            self._socket.listen()  # requests that come before the server runs wait for it
        except OSError as error:
            self._socket.close()
            raise DeviceError(f"the live page cannot be served at port {port}: {error}; choose another") from None
        self.url = f"http://{HOST}:{self._socket.getsockname()[1]}/{self._token}/"
        config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="off", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)

    def __enter__(self) -> "LivePage":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = "completed" if kind is None else "interrupted" if issubclass(kind, KeyboardInterrupt) else "failed"
        self.activity.finish(status)
        time.sleep(_LINGER_S)
        self._server.should_exit = True
        self._thread.join(timeout=5.0)
        self._socket.close()


def _application(activity: LiveActivity, token: str) -> Any:
    """Return the ASGI application."""
    applications = need("starlette.applications", "starlette", "live")
    responses = need("starlette.responses", "starlette", "live")
    routing = need("starlette.routing", "starlette", "live")
    from plotly.offline import get_plotlyjs

    def reply(kind: Any, content: Any, **options: Any) -> Any:
        return kind(content, headers=_HEADERS, **options)

    async def page(request: Any) -> Any:
        return reply(responses.HTMLResponse, PAGE)

    async def plotly(request: Any) -> Any:
        return reply(responses.Response, get_plotlyjs(), media_type="text/javascript")

    async def state(request: Any) -> Any:
        after = request.query_params.get("after", "-1")
        known = int(after) if after.lstrip("-").isdigit() and len(after) < 18 else -1
        return reply(responses.JSONResponse, activity.state(known))

    async def stop(request: Any) -> Any:
        activity.stop()
        return reply(responses.JSONResponse, {"stopping": True})

    routes = [
        routing.Route("/", page),
        routing.Route("/plotly.js", plotly),
        routing.Route("/state", state),
        routing.Route("/stop", stop, methods=["POST"]),
    ]
    app = applications.Starlette(routes=[routing.Mount(f"/{token}", routes=routes)])
    return _Guarded(app, token, reply(responses.PlainTextResponse, "403: the token is missing\n", status_code=403))


class _Guarded:
    """Answer 403 to whatever does not come to this address with the token."""

    def __init__(self, app: Any, token: str, refusal: Any) -> None:
        self._app, self._token, self._refusal = app, token, refusal

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        given = scope.get("path", "").split("/", 2)[1:2] or [""]
        host = dict(scope.get("headers", [])).get(b"host", b"").decode("latin-1").rpartition(":")[0]
        known = secrets.compare_digest(given[0].encode(), self._token.encode()) and host in (HOST, "localhost")
        await (self._app if known else self._refusal)(scope, receive, send)
