"""A page in a real browser calls Baton: from this machine and from an origin that was named it may, from another not.

Chromium comes from the system (`make outside-setup`); where it is missing, these tests say so and are left out.
"""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest

from tests.conftest import Server, World

SECONDS_MAX = 120  # a browser starts slowly on a busy machine
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP *.example 127.0.0.1",
)

pytestmark = pytest.mark.skipif(
    CHROMIUM is None,
    reason="There is no Chromium, so no page calls. Debian and Ubuntu: apt-get install chromium",
)

PAGE = Path(__file__).with_name("page.html").read_text()


class Site(ThreadingHTTPServer):
    """Serves the page, and is told by it how it went."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Visit)
        self.page = ""
        self.told: Queue[dict[str, Any]] = Queue()  # what JSON holds
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Visit(BaseHTTPRequestHandler):
    server: Site  # pyright: ignore[reportIncompatibleVariableOverride] -- it is made for no other

    def do_GET(self) -> None:
        self._answer(self.server.page.encode() if self.path == "/" else b"")

    def do_POST(self) -> None:
        self.server.told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._answer(b"")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.shutdown()
    site.server_close()


@pytest.fixture(scope="module")
def server(dsn: str, site: Site) -> Iterator[Server]:
    server = Server(dsn, WEB_ORIGINS=f"http://board.example:{site.server_port}")
    yield server
    assert server.stop() == 0, server.stderr()
    server.log.close()


def visited(site: Site, host: str, server: Server, key: str, profile: Path) -> dict[str, Any]:
    """What the page tells that a browser opens under this name."""
    assert CHROMIUM is not None
    site.page = PAGE.replace("BATON_URL", server.url).replace("BATON_KEY", key)
    browser = subprocess.Popen(
        [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", f"http://{host}:{site.server_port}/"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        return site.told.get(timeout=SECONDS_MAX)
    except Empty:
        pytest.fail("the browser came to no end")
    finally:
        browser.kill()
        browser.wait()


@pytest.mark.parametrize("host", ["127.0.0.1", "board.example"])
async def test_a_page_does_the_daily_loop(
    site: Site, server: Server, workspace: World, tmp_path: Path, host: str
) -> None:
    bot = await workspace.agent()
    told = visited(site, host, server, bot.api_key, tmp_path)
    assert told == {
        "healthz": 200,
        "document": True,
        "me": bot.handle,
        "requestIdShown": True,
        "created": "T-1",
        "stale": [409, 1],
        "noKey": [401, "AUTH_MISSING"],
        "session": True,
        "tools": True,
        "called": "T-1",
    }


async def test_a_page_from_elsewhere_gets_nothing(
    site: Site, server: Server, workspace: World, tmp_path: Path
) -> None:
    bot = await workspace.agent()
    told = visited(site, "evil.example", server, bot.api_key, tmp_path)
    assert told == {"failed": "TypeError: Failed to fetch"}
    assert await workspace.rows("SELECT 1 AS one FROM tasks WHERE workspace_id = %(workspace)s::uuid") == []
