"""A page in the browser that follows a session while it runs; an observer, so that the session is the same without it.

The server is optional (``pip install 'organoid[live]'``: starlette and uvicorn) and imported when a page is opened.
"""

from organoid.live.activity import LiveActivity, StoppedByPage
from organoid.live.pace import Pace
from organoid.live.server import LivePage

__all__ = ["LiveActivity", "LivePage", "Pace", "StoppedByPage"]
