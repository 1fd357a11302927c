"""Apache's httpd, and every line of its logs: the access log in Debian's formats, and the error log."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path

import pytest
from programs.understood import one, understood, until
from servers.debian import Apache, required

pytestmark = pytest.mark.integration

TRACE = "0af7651916cd43dd8448eb211c80319c"
NAMES = ("common", "combined", "vhost", "added")
AGENT, REFERER = 'Mozilla/5.0 (X11; "Linux\\" é)', "http://shop.test/?q=a b"
APACHE = r"""
LogLevel info rewrite:trace3 proxy:debug
LogFormat "%h %l %u %t \"%r\" %>s %O" common
LogFormat "%h %l %u %t \"%r\" %>s %O \"%{Referer}i\" \"%{User-Agent}i\"" combined
LogFormat "%v:%p %h %l %u %t \"%r\" %>s %O \"%{Referer}i\" \"%{User-Agent}i\"" vhost_combined
LogFormat "%h %l %u %t \"%r\" %>s %O \"%{Referer}i\" \"%{User-Agent}i\" rt=%{s}T.0 %{X-Request-ID}i" added
CustomLog common.log common
CustomLog combined.log combined
CustomLog vhost.log vhost_combined
CustomLog added.log added
RewriteEngine on
RewriteRule ^/old$ /index.html [PT]
RewriteRule ^/moved$ /index.html [R=301,L]
RewriteRule ^/secret$ - [F]
ProxyPass /away http://127.0.0.1:9/
<Location /till>
  AuthType Basic
  AuthName till
  AuthUserFile users
  Require valid-user
</Location>
"""


def _asked(port: int, method: str, path: str, headers: dict[str, str]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body=b"a=1" if method == "POST" else None, headers=headers)
    connection.getresponse().read()
    connection.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a server that was asked all kinds of things, and ended."""
    required("apache")
    tmp_path = tmp_path_factory.mktemp("apache")
    with Apache(tmp_path, APACHE) as server:
        (tmp_path / "served" / "index.html").write_text("hello")
        (tmp_path / "users").write_text("bob smith:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n")  # password
        logs = {name: tmp_path / f"{name}.log" for name in NAMES}
        number = 0

        def logged() -> None:  # the answer comes before the line, and another thread may be quicker
            nonlocal number
            number += 1
            until(lambda: all(path.read_bytes().count(b"\n") == number for path in logs.values()), logs)

        more = {"User-Agent": AGENT, "Referer": REFERER, "X-Request-ID": TRACE}
        for method, path in (
            ("GET", "/?q=1&token=hunter2"),
            ("GET", "/missing"),
            ("HEAD", "/index.html"),
            ("POST", "/index.html"),
            ("GET", "/old"),
            ("GET", "/moved"),
            ("GET", "/secret"),
            ("GET", "/away/x"),
            ("GET", "/till"),
            ("GET", "/" + "long" * 3000),
        ):
            _asked(server.port, method, path, more)
            logged()
        for login in ("Ym9iIHNtaXRoOnBhc3N3b3Jk", "Ym9iIHNtaXRoOndyb25n"):  # right and wrong
            _asked(server.port, "GET", "/till", {**more, "Authorization": f"Basic {login}"})
            logged()
        for said in (b'\x16\x03\x01 "GET\\ \xff\r\n\r\n', b"GET / HTTP/1.0\r\n\r\n", b"GET /\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", server.port), 20) as raw:
                raw.sendall(said)
                raw.recv(4096)
            logged()
    return tmp_path


def test_access(written: Path) -> None:
    """Debian's formats, and one with more behind, whatever was asked."""
    statuses = [200, 404, 200, 200, 200, 301, 403, 503, 401, 414, 404, 401, 400, 200, 200]
    for name, path in ((name, written / f"{name}.log") for name in NAMES):
        # A line of the common format alone may be anybody's: Apache's has to be named.
        events = understood(path, "apache", guessed=False)
        assert [event["status_code"] for event in events] == statuses, name
        assert {event["kind"] for event in events} == {"access"}
        assert not [event for event in events if event["client_ip"] != "127.0.0.1" or event["bytes"] < 5]
        asked, missing, head, post, *_ = events
        assert (asked["method"], asked["path"], asked["message"]) == ("GET", "/", "GET / 200")
        assert asked["query"] == "q=1&token=hunter2"  # redaction comes later
        assert (missing["failed"], head["method"], post["method"]) == (False, "HEAD", "POST")
        assert (events[7]["failed"], events[7]["level"]) == (True, "ERROR")
        assert events[10]["user_id"] == "bob smith"
        assert events[12]["path"] == "" or events[12]["method"]
        assert (events[14]["method"], events[14]["path"], "protocol" in events[14]) == ("GET", "/", False)
        if name != "common":
            assert asked["user_agent"] == AGENT.encode("latin-1").decode("utf-8", "replace")
            assert asked["referer"].startswith("http://shop.test/")
        if name == "vhost":
            assert {event["server"].partition(":")[0] for event in events} == {"localhost"}
        if name == "added":
            assert asked["duration_ms"] >= 0
            assert asked["request_id"] == TRACE


def test_errors(written: Path) -> None:
    """What several modules say, of a client or not, with the place in their source where it is there."""
    errors = understood(written / "error.log", "apache")
    assert {"apache.mpm_event", "apache.core", "apache.proxy", "apache.rewrite", "apache.auth_basic"} <= {
        event["logger"] for event in errors
    }
    assert {"DEBUG", "INFO", "ERROR"} <= {event["level"] for event in errors}
    away = one(errors, error={"code": "AH00957"})
    assert (away["level"], away["logger"]) == ("ERROR", "apache.proxy")
    wrong = one(errors, error={"code": "AH01617"})
    assert (wrong["client_ip"], wrong["level"]) == ("127.0.0.1", "ERROR")
    assert (
        wrong["message"] == 'AH01617: user bob smith: authentication failure for "/till": Password Mismatch'
    )
    assert (wrong["referer"], type(wrong["process"])) == (REFERER, int)
    assert away["message"].startswith("(111)Connection refused: AH00957: ")
    rules = [event for event in errors if event["logger"] == "apache.rewrite"]
    assert {event["client_ip"] for event in rules} == {"127.0.0.1"}
    assert {event["module"] for event in rules} == {"mod_rewrite.c"}
