"""Starts the shop: nginx, two services, a worker, a consumer and logferry's agent. Ctrl-C ends them all.

    python run.py

SHOP_POSTGRES, SHOP_REDIS and SHOP_KAFKA say where the servers are (places.py), SHOP_POSTGRES_LOG where
PostgreSQL writes its jsonlog, SHOP_STATE where everything is kept (./state), SHOP_PORT where nginx listens
(8080), SHOP_NGINX which program it is. Each program's own words are in state/<name>.out.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEPLOY = HERE.parents[1] / "deploy/nginx"
PATIENCE = 120.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


class Shop:
    """The programs, in the order in which they were started."""

    def __init__(self, state: Path, port: int) -> None:
        self.state = state
        self.ports = {"edge": port, "shop": free_port(), "stock": free_port()}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.environ = os.environ | {
            "SHOP_STATE": str(state),
            "SHOP_STOCK": f"http://127.0.0.1:{self.ports['stock']}",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
        }

    def start(self, name: str, *command: str) -> None:
        environ = self.environ | {"SHOP_SERVICE": name}
        with self.out(name).open("ab") as out:
            self.running[name] = subprocess.Popen(  # noqa: S603 - our own programs
                command, cwd=HERE, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    def out(self, name: str) -> Path:
        return self.state / f"{name}.out"

    def python(self, name: str, *arguments: str) -> None:
        self.start(name, sys.executable, "-m", *arguments)

    def start_all(self) -> None:
        """Start them; back when orders are taken. Worker and consumer find what came before them."""
        shop, stock = self.ports["shop"], self.ports["stock"]
        listens = ("--bind", f"127.0.0.1:{stock}", "--backlog", "2048")
        # Longer than the shop keeps its connections: none is closed at the moment of its next request.
        works = ("--workers", "2", "--threads", "8", "--keep-alive", "75")
        self.python("stock", "gunicorn", "stock:app", *listens, *works)
        self.python("mailer", "celery", "-A", "mailer", "worker", "--concurrency", "2", "--loglevel", "INFO")
        self.python("billing", "billing")
        self.python("shop", "uvicorn", "front:app", "--port", str(shop), "--no-access-log")
        self.start_nginx()
        self.python("agent", "logferry", "run", "-c", "agent.yaml")
        for name in ("stock", "shop", "edge"):
            self.wait_for(name)

    def start_nginx(self) -> None:
        place = self.state / "nginx"
        place.mkdir(exist_ok=True)
        own = (DEPLOY / "logferry.conf").read_text().replace("/var/log/nginx", str(place))
        (place / "logferry.conf").write_text(own)
        shutil.copy(DEPLOY / "logferry-proxy.conf", place)
        config = (HERE / "nginx.conf").read_text()
        given = {"DEPLOY": place, "PORT": self.ports["edge"], "SHOP": self.ports["shop"]}
        for name, value in given.items():
            config = config.replace(f"{{{name}}}", str(value))
        (place / "nginx.conf").write_text(config)
        program = os.environ.get("SHOP_NGINX", "nginx")
        self.start("edge", program, "-p", str(place), "-e", "error.log", "-c", str(place / "nginx.conf"))

    def wait_for(self, name: str) -> None:
        """Wait until /health answers."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}/health", timeout=10).close()
            except OSError:
                self.check(name, deadline)
            else:
                return

    def check(self, name: str, deadline: float) -> None:
        if self.running[name].poll() is not None or time.monotonic() > deadline:
            words = self.out(name).read_text(errors="replace")[-3000:]
            raise RuntimeError(f"{name} does not start:\n{words}")
        time.sleep(0.05)

    def stop(self) -> None:
        """End them, who is asked first; the agent last."""
        for name in ("edge", "shop", "stock", "mailer", "billing", "agent"):
            process = self.running.get(name)
            if process is not None and process.poll() is None:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def main() -> None:
    wanted, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(wanted, min(most, 8192)), most))
    state = Path(os.environ.get("SHOP_STATE", "./state")).resolve()
    state.mkdir(parents=True, exist_ok=True)
    shop = Shop(state, int(os.environ.get("SHOP_PORT", "8080")))
    stopped: list[int] = []
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda number, _: stopped.append(number))
    try:
        shop.start_all()
        print(f"the shop is open: http://127.0.0.1:{shop.ports['edge']}/orders/A000001 (POST)", flush=True)
        while not stopped and all(process.poll() is None for process in shop.running.values()):
            time.sleep(0.1)
    finally:
        shop.stop()


if __name__ == "__main__":
    main()
