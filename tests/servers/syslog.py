"""Syslog receivers: an own one, stricter than any (`SyslogReceiver`), and Debian's rsyslog (`RsyslogServer`).

Both are processes of their own, so that they can be killed, and keep what they got in a file, one line a
message: its structured data, a tab, APP-NAME, a tab, PRI, a tab, MSG. The own one takes nothing that RFC
5424, RFC 5425 and RFC 6587 (octet counting) do not allow: what is wrong goes to `complaints`, and the
connection ends.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final, Self

__all__ = ["Problem", "RsyslogServer", "SyslogReceiver", "frames", "parse"]

LARGEST: Final = 8192
MESSAGE: Final = re.compile(
    rb"<(?P<pri>0|[1-9]\d{0,2})>1 "
    rb"(?P<stamp>-|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)) "
    rb"(?P<host>[!-~]{1,255}) (?P<app>[!-~]{1,48}) (?P<proc>[!-~]{1,128}) (?P<msgid>[!-~]{1,32}) "
    rb'(?P<sd>-|(?:\[[!#-<>-\\^-~]{1,32}(?: [!#-<>-\\^-~]{1,32}="(?:[^"\\\]]|\\["\\\]])*")*\])+)'
    rb"(?: (?P<msg>.*))?",
    re.DOTALL,
)


class Problem(Exception):  # noqa: N818 - it is what the receiver complains of
    """What arrived is not what the RFCs allow."""


def parse(message: bytes) -> dict[str, bytes]:
    """Return a message's parts."""
    found = MESSAGE.fullmatch(message)
    if found is None or int(found["pri"]) > 191:
        raise Problem(f"not RFC 5424: {message[:300]!r}")
    found["sd"].decode()  # UTF-8, as the RFC demands
    return {name: value or b"" for name, value in found.groupdict().items()}


def frames(buffer: bytes) -> tuple[list[bytes], bytes]:
    """Split what was read into whole messages and the rest."""
    whole = []
    while buffer:
        head, space, _ = buffer[:12].partition(b" ")
        if not space:
            if not head.isdigit() or len(head) > 6:
                raise Problem(f"no octet count: {buffer[:40]!r}")
            break
        if not head.isdigit() or head[:1] == b"0" or int(head) > LARGEST:
            raise Problem(f"no octet count: {head!r}")
        start, size = len(head) + 1, int(head)
        if len(buffer) < start + size:
            break
        whole.append(buffer[start : start + size])
        buffer = buffer[start + size :]
    return whole, buffer


def serve(port: int, out: Path, certificate: str) -> None:  # noqa: C901 - a program
    """Be the receiver until killed."""
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{certificate}.pem", f"{certificate}.key")
    kept = os.open(out, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def complain(text: str) -> None:
        with out.with_suffix(".complaints").open("a") as file:
            file.write(text + "\n")

    def read(sock: socket.socket) -> None:
        rest = b""
        # Stored before it is read, where that can be: what a kill leaves unread is sent again.
        peek = 0 if isinstance(sock, ssl.SSLSocket) else socket.MSG_PEEK
        while data := sock.recv(65536, peek):
            whole, rest = frames(rest + data)
            lines = []
            for message in whole:
                parts = parse(message)
                lines.append(b"\t".join((parts["sd"], parts["app"], parts["pri"], parts["msg"])) + b"\n")
            os.write(kept, b"".join(lines))
            if peek:
                sock.recv(len(data))
        if rest:
            complain(f"ended within a message: {rest[:80]!r}")

    def handle(sock: socket.socket) -> None:
        try:
            with context.wrap_socket(sock, server_side=True) if context else sock as served:
                read(served)
        except (Problem, UnicodeDecodeError) as problem:
            complain(str(problem))
        except OSError:
            pass  # the client was killed, or cut the connection

    listener = socket.create_server(("127.0.0.1", port))
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=handle, args=(sock,), daemon=True).start()


class _Server:
    """A receiver's process; `start` again after `kill` brings it back at its port."""

    def __init__(self, directory: Path, certificate: Path | None = None) -> None:
        self.directory, self.certificate = directory, certificate
        self.out = directory / "messages"
        self._process: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        directory.mkdir(parents=True, exist_ok=True)

    def command(self) -> tuple[list[str], dict[str, str]]:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> Self:
        command, environ = self.command()
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    self.kill()
                    raise RuntimeError((self.directory / "log").read_text()[-2000:]) from None
                time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def lines(self) -> list[bytes]:
        """Return what it holds: whole lines only."""
        return self.out.read_bytes().split(b"\n")[:-1] if self.out.exists() else []

    def count(self) -> int:
        return len(self.lines())

    @property
    def complaints(self) -> str:
        path = self.out.with_suffix(".complaints")
        return path.read_text() if path.exists() else ""


class SyslogReceiver(_Server):
    """The own one."""

    def command(self) -> tuple[list[str], dict[str, str]]:
        certificate = str(self.certificate or "")
        return [sys.executable, __file__, str(self.port), str(self.out), certificate], dict(os.environ)


class RsyslogServer(_Server):
    """Debian's rsyslog, unpacked into the cache. Nothing waits in it: what it has read it has written."""

    def __init__(self, root: Path, directory: Path, certificate: Path | None = None) -> None:
        super().__init__(directory, certificate)
        self._root = root

    def command(self) -> tuple[list[str], dict[str, str]]:
        (libraries,) = (self._root / "usr/lib").glob("*-linux-gnu*")
        driver, options = "", ""
        if self.certificate:
            driver = (
                f'DefaultNetstreamDriver="gtls" DefaultNetstreamDriverCAFile="{self.certificate}.pem" '
                f'DefaultNetstreamDriverCertFile="{self.certificate}.pem" '
                f'DefaultNetstreamDriverKeyFile="{self.certificate}.key"'
            )
            options = 'StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="anon"'
        config = self.directory / "rsyslog.conf"
        config.write_text(f"""
global(workDirectory="{self.directory}" maxMessageSize="8k" net.enableDNS="off" {driver})
main_queue(queue.type="Direct")
module(load="imtcp" {options})
input(type="imtcp" port="{self.port}" address="127.0.0.1")
template(name="kept" type="string" string="%structured-data%\\t%app-name%\\t%pri%\\t%msg%\\n")
action(type="omfile" file="{self.out}" template="kept" asyncWriting="off" flushOnTXEnd="on")
""")
        pid = self.directory / "pid"
        pid.unlink(missing_ok=True)
        command = [str(self._root / "usr/sbin/rsyslogd"), "-n", "-f", str(config), "-i", str(pid)]
        command += ["-M", f"{libraries}/rsyslog"]
        return command, {**os.environ, "LD_LIBRARY_PATH": str(libraries)}


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
