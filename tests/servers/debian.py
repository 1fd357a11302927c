"""Servers from Debian's packages, unpacked into the cache; nothing is installed on the machine.

`install(name)` fetches the package and what it needs that the machine does not have. Each server is a
class: it listens on a free port of loopback (or nowhere else), keeps its files in a directory of its own,
and ends with its block. Where it must not run as root it runs in a user namespace, in which root is
somebody else.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from .cache import binary, missing

__all__ = [
    "PACKAGES",
    "Apache",
    "Mariadb",
    "Nginx",
    "Postgres",
    "Rabbitmq",
    "Redis",
    "home",
    "install",
    "not_root",
    "required",
]

PACKAGES: Final = {
    "nginx": ["nginx"],
    "apache": ["apache2-bin"],
    "redis": ["redis-server"],
    "postgresql": ["postgresql"],
    "mariadb": ["mariadb-server-core", "mariadb-client-core"],
    "rabbitmq": ["rabbitmq-server"],
    "journal-remote": ["systemd-journal-remote"],
    "prometheus": ["prometheus"],
    # What the agent is measured beside (benchmarks/agent_peers.py).
    "rsyslog-elasticsearch": ["rsyslog", "rsyslog-elasticsearch"],
    "syslog-ng": ["syslog-ng-core", "syslog-ng-mod-http"],
}
PATIENCE: Final = 100.0


def home(name: str) -> Path:
    """Return where the packages of `name` are unpacked, whether they are or not."""
    return binary("rsyslog").with_name(f"{name}-debian")


def install(name: str) -> bool:
    """Unpack the server, unless it is there; False: it could not be had."""
    target = home(name)
    if target.exists():
        print(f"· {name} is there: {target}", flush=True)
        return True
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        print(f"· {name} comes as Debian packages, and this is no Debian", flush=True)
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        archives = Path(scratch) / "archives"
        (archives / "partial").mkdir(parents=True)
        command = [
            "apt-get",
            "install",
            "--download-only",
            "--reinstall",
            "-y",
            "-q",
            "--no-install-recommends",
        ]
        command += ["-o", "Debug::NoLocking=1", "-o", f"Dir::Cache::archives={archives}"]
        done = subprocess.run([*command, *_packages(name)], capture_output=True, text=True, check=False)
        if done.returncode:  # the lists of packages may never have been fetched
            subprocess.run(["apt-get", "update", "-q"], capture_output=True, check=False)
            done = subprocess.run([*command, *_packages(name)], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.stderr.write(f"{name}: {done.stderr.strip()[-500:]}\n")
            return False
        root = Path(scratch) / "root"
        for file in archives.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", file, root], check=True)
        root.replace(target)
    print(f"· {name}: {target}", flush=True)
    return True


def required(name: str) -> None:
    """Skip a test, or fail where servers are required, when the server is not there."""
    if not home(name).exists():
        needs = "unpacks Debian's packages"
        missing(f"{name} is not installed: python tests/servers/install.py {name} ({needs})")


def _packages(name: str) -> list[str]:
    if name != "postgresql":
        return PACKAGES[name]
    # A package that only names the one with the version in its name; with contrib comes what is not asked
    # for.
    shown = subprocess.run(
        ["apt-cache", "depends", "postgresql"], capture_output=True, text=True, check=False
    )
    found = re.search(r"Depends: (postgresql-\d+)", shown.stdout)
    return [found[1]] if found else PACKAGES[name]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def not_root() -> list[str]:
    """Return what makes root somebody else, for servers that refuse it."""
    return ["unshare", "--user", "--map-user=1000"] if os.geteuid() == 0 else []


class _Server:
    """One process; its files are in `directory`."""

    name = ""
    ending = signal.SIGKILL

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.root = home(self.name)
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        libraries = [str(path) for path in self.root.glob("usr/lib/*-linux-gnu*") if path.is_dir()]
        self.environ = {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries), "HOME": str(directory)}

    def prepare(self) -> None:
        """Do what comes before the first start."""

    def command(self) -> list[str]:
        raise NotImplementedError

    def answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def run(self, command: list[str]) -> str:
        """Run a program of the server's to its end."""
        done = subprocess.run(
            command,
            env=self.environ,
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        if done.returncode:
            raise RuntimeError(f"{command}: {(done.stdout + done.stderr)[-2000:]}")
        return done.stdout

    def wait(self, what: Callable[[], bool], name: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not what():
            if time.monotonic() > deadline or (
                self._process is not None and self._process.poll() is not None
            ):
                words = (self.directory / "output").read_text(errors="replace")[-3000:]
                self.stop()
                raise RuntimeError(f"{self.name}: {name}: {words}")
            time.sleep(0.02)

    def __enter__(self) -> Self:
        self.prepare()
        with (self.directory / "output").open("ab") as output:
            self._process = subprocess.Popen(
                self.command(),
                env=self.environ,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # some are started by a shell, which must not be all that ends
            )
        self.wait(self.answers, "does not start")
        return self

    def stop(self) -> None:
        if self._process is not None:
            if self.ending != signal.SIGKILL:
                self._process.send_signal(self.ending)
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(10)
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def __exit__(self, *_: object) -> None:
        self.stop()


class Nginx(_Server):
    """nginx with `http`, lines for its http block ({PORT} is where it listens), and its log at `access`."""

    name = "nginx"

    def __init__(self, directory: Path, http: str) -> None:
        super().__init__(directory)
        self.access = directory / "access.json.log"
        kept = "".join(
            f"{kind}_temp_path {directory}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (directory / "nginx.conf").write_text(
            f"daemon off;\nworker_processes 1;\npid {directory}/pid;\nerror_log {directory}/error.log;\n"
            f"events {{ worker_connections 256; }}\n"
            f"http {{\n{kept}{http.replace('{PORT}', str(self.port))}\n}}\n"
        )

    def command(self) -> list[str]:
        error = str(self.directory / "error.log")
        command = [str(self.root / "usr/sbin/nginx"), "-p", str(self.directory), "-e", error]
        return [*command, "-c", str(self.directory / "nginx.conf")]


class Apache(_Server):
    """Apache's httpd with `lines` of configuration; {PORT} is where it listens, {ROOT} what it serves."""

    name = "apache"
    modules = (
        "mpm_event authz_core authn_core authn_file auth_basic authz_user dir mime alias rewrite proxy "
        "proxy_http"
    )

    def __init__(self, directory: Path, lines: str) -> None:
        super().__init__(directory)
        served = directory / "served"
        served.mkdir(exist_ok=True)
        places = self.root / "usr/lib/apache2/modules"
        loaded = "".join(
            f"LoadModule {module}_module {places}/mod_{module}.so\n" for module in self.modules.split()
        )
        for name, value in {"PORT": str(self.port), "ROOT": str(served)}.items():
            lines = lines.replace("{" + name + "}", value)
        (directory / "httpd.conf").write_text(
            f"ServerRoot {directory}\nServerName localhost\nListen 127.0.0.1:{self.port}\n{loaded}"
            f"PidFile {directory}/pid\nDefaultRuntimeDir {directory}\nMutex file:{directory} default\n"
            f"ErrorLog {directory}/error.log\nTypesConfig /dev/null\nStartServers 1\nThreadsPerChild 8\n"
            f"ServerLimit 1\nMaxRequestWorkers 8\nDocumentRoot {served}\n{lines}\n"
        )

    def command(self) -> list[str]:
        return [
            str(self.root / "usr/sbin/apache2"),
            "-D",
            "FOREGROUND",
            "-f",
            str(self.directory / "httpd.conf"),
        ]


class Redis(_Server):
    """Redis without persistence."""

    name = "redis"

    def command(self) -> list[str]:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        return [str(self.root / "usr/bin/redis-server"), *options]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


class Postgres(_Server):
    """PostgreSQL that logs every statement with its duration."""

    name = "postgresql"
    ending = signal.SIGQUIT  # at once, but what it shares with the system is given back

    @property
    def _bin(self) -> Path:
        return next(self.root.glob("usr/lib/postgresql/*/bin"))

    def prepare(self) -> None:
        if not (self.directory / "data").exists():
            options = [
                "-D",
                str(self.directory / "data"),
                "-U",
                "shop",
                "-A",
                "trust",
                "--no-sync",
                "-E",
                "UTF8",
            ]
            self.run([*not_root(), str(self._bin / "initdb"), *options])

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "log_min_duration_statement": "0",
            "fsync": "off",
            "shared_buffers": "16MB",
            "dynamic_shared_memory_type": "mmap",
        }
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        return [*not_root(), str(self._bin / "postgres"), "-D", str(self.directory / "data"), *options]

    def answers(self) -> bool:
        return "ready to accept connections" in self.log()

    def log(self) -> str:
        """Return what it has logged so far."""
        return (self.directory / "output").read_text(errors="replace")

    @property
    def url(self) -> str:
        return f"postgresql://shop@127.0.0.1:{self.port}/postgres"


class Mariadb(_Server):
    """MariaDB with every statement in its slow-query log."""

    name = "mariadb"

    def prepare(self) -> None:
        if not (self.directory / "data").exists():
            base = f"--basedir={self.root / 'usr'}"
            options = [f"--datadir={self.directory / 'data'}", "--auth-root-authentication-method=normal"]
            script = str(self.root / "usr/bin/mariadb-install-db")
            self.run([*not_root(), script, "--no-defaults", base, *options, "--skip-test-db"])

    def command(self) -> list[str]:
        options = {
            "basedir": self.root / "usr",
            "datadir": self.directory / "data",
            "port": self.port,
            "bind-address": "127.0.0.1",
            "socket": self.directory / "socket",
            "pid-file": self.directory / "pid",
            "slow-query-log": 1,
            "slow-query-log-file": self.directory / "slow.log",
            "long-query-time": 0,
            "innodb-buffer-pool-size": "16M",
            "innodb-flush-log-at-trx-commit": 0,
        }
        given = [f"--{name}={value}" for name, value in options.items()]
        return [*not_root(), str(self.root / "usr/sbin/mariadbd"), "--no-defaults", *given]

    def log(self) -> str:
        """Return the slow-query log so far."""
        return (self.directory / "slow.log").read_text(errors="replace")


class Rabbitmq(_Server):
    """RabbitMQ, with a node name of its own."""

    name = "rabbitmq"
    _names: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        erlang = self.root / "usr/lib/erlang"
        (home_of,) = self.root.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*")
        self._home = home_of
        (erts,) = erlang.glob("erts-*/bin")
        programs = self.directory / "bin"
        programs.mkdir(exist_ok=True)
        start = programs / "erl"  # Debian's knows only the place that it is installed at
        start.write_text(
            f"#!/bin/sh\nexport ROOTDIR='{erlang}' BINDIR='{erts}' EMU=beam PROGNAME=erl\n"
            f"exec '{erts}/erlexec' \"$@\"\n"
        )
        start.chmod(0o755)
        config = self.directory / "rabbitmq.conf"
        config.write_text(f"listeners.tcp.local = 127.0.0.1:{self.port}\n")
        self.environ |= {
            "PATH": f"{programs}:{erlang / 'bin'}:{self.environ['PATH']}",
            "RABBITMQ_HOME": str(home_of),
            "RABBITMQ_NODENAME": f"shop{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(_free_port()),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.directory),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": str(self.directory / "none"),
            "RABBITMQ_SERVER_START_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(_free_port()),  # of our own, which ends with the server
        }
        daemon = [str(erts / "epmd")]
        self._names = subprocess.Popen(
            daemon, env=self.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        (self.directory / "plugins").write_text("[].\n")

    def command(self) -> list[str]:
        return [str(self._home / "sbin/rabbitmq-server")]

    def stop(self) -> None:
        super().stop()
        if self._names is not None:
            self._names.kill()
            self._names.wait()
            self._names = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"


if __name__ == "__main__":
    sys.exit(0 if all(install(name) for name in sys.argv[1:] or PACKAGES) else 1)
