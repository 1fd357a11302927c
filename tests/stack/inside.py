"""The compose stack without its containers: `python inside.py <directory>`, in namespaces of its own.

What docker-compose.yml says is done by hand: names, mounts, environment and commands are read from it, and
the servers are started from the files that it mounts. Overridden by flags are addresses and where data lies.
Then the customers shop, a service dies, and every query of every dashboard is asked. What was answered goes
to `<directory>/answers.json`, for test_stack.py to judge.
"""

# ruff: noqa: E402 - a script: what it imports lies beside it

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import urllib3

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "stack")]

from names import serve_names
from servers import debian
from servers.boards import Asker, fill, targets
from servers.cache import binary
from servers.elasticsearch import ElasticsearchServer
from servers.kafka import KafkaServer
from servers.zipkin import ZipkinServer

from logferry.shipper.panels.grafana import alert_rules, dashboards

PATIENCE = 120.0
LOAD = 8  # seconds of customers
LOKI, SEARCH, ZIPKIN = "http://loki:3100", "http://elasticsearch:9200", "http://zipkin:9411"
PROMETHEUS, SHOP, INDEX = "http://prometheus:9090", "http://nginx:8080", "logs-*"


class Stack:
    """The services of docker-compose.yml as processes."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        script = _script(ROOT / "deploy" / "stack.py")
        values = script.read_env(script.with_passwords((ROOT / ".env.example").read_text()))
        self.compose = script.services(script.compose(values), script.PROFILES)

    def names(self) -> dict[str, str]:
        """Return an address for each service; those that listen on the same port are apart."""
        own = {"stock": "127.0.1.2", "shop": "127.0.1.3"}
        return {name: own.get(name, "127.0.0.1") for name in self.compose}

    def file(self, service: str, path: str) -> str:
        """Return where a path of the container lies: in the repository, by the service's mounts."""
        for mount in self.compose[service].get("volumes", []):
            source, target = str(mount).split(":")[:2]
            if source.startswith("./") and (path == target or path.startswith(f"{target}/")):
                return str(ROOT / source) + path.removeprefix(target)
        return path

    def command(self, service: str) -> list[str]:
        """Return the service's command as it runs here."""
        ours = {"python": [sys.executable], "logferry": [sys.executable, "-m", "logferry"]}
        words = []
        for word in self.compose[service]["command"]:
            option, is_option, value = str(word).partition("=")
            mapped = f"{option}={self.file(service, value)}" if is_option else self.file(service, option)
            words += ours.get(mapped, [mapped])
        return words

    def environment(self, service: str) -> dict[str, str]:
        """Return the service's environment: what it is given, and what any process needs."""
        given = {name: self.file(service, str(value)) for name, value in self._given(service).items()}
        return {"PATH": os.environ["PATH"], "HOME": str(self.place), "PYTHONUNBUFFERED": "1", **given}

    def _given(self, service: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.compose[service].get("environment", {})
        return found

    def start(
        self, service: str, command: Sequence[str] | None = None, name: str = "", **environment: str
    ) -> None:
        """Start a service; its output goes to a file of its name."""
        with (self.place / f"{name or service}.out").open("ab") as out:
            self.running[name or service] = subprocess.Popen(
                list(command or self.command(service)),
                env=self.environment(service) | environment,
                cwd=self.place,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    def end(self, name: str) -> None:
        """End a service as an engine does."""
        process = self.running.pop(name)
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def until(self, met: Callable[[], Any], words: str) -> Any:
        """Wait until something is so; RuntimeError with the services' last words when it is not."""
        deadline, wrong = time.monotonic() + PATIENCE, ""
        while time.monotonic() < deadline:
            try:
                if found := met():
                    return found
            except (OSError, RuntimeError, urllib3.exceptions.HTTPError) as error:
                wrong = str(error)
            if ended := [name for name, process in self.running.items() if process.poll() is not None]:
                wrong = f"{', '.join(ended)} ended"
                break
            time.sleep(0.1)
        said = "\n".join(f"── {one.name}\n{one.read_text()[-1500:]}" for one in self.place.glob("*.out"))
        raise RuntimeError(f"{words}: {wrong}\n{said}")


def _script(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answers(url: str) -> bool:
    """Say whether somebody answers there, whatever he says."""
    try:
        urllib.request.urlopen(url, timeout=10).close()
    except urllib.error.HTTPError:
        return True
    return True


# ── what an engine does before anything runs ──


def network(stack: Stack) -> None:
    """Switch the loopback on, and give every service its name."""
    with socket.socket() as probe:
        fcntl.ioctl(probe, 0x8914, struct.pack("16sh", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS, up and running
    names = stack.names()
    (stack.place / "hosts").write_text(
        f"127.0.0.1 localhost {socket.gethostname()}\n"
        + "".join(f"{address} {name}\n" for name, address in names.items())
    )
    (stack.place / "resolv.conf").write_text("nameserver 127.0.0.11\n")
    serve_names(names)


def mounts(stack: Stack) -> None:
    """Put directories of our own where the volumes are: nothing of the machine's is written."""
    for name in ("var-lib/logferry", "var-log/nginx", "var-log/postgresql", "var-log/shop"):
        (stack.place / name).mkdir(parents=True)
    for source, target in (("hosts", "/etc/hosts"), ("resolv.conf", "/etc/resolv.conf")):
        mount(stack.place / source, target)
    mount(stack.place / "var-lib", "/var/lib")
    mount(stack.place / "var-log", "/var/log")


def mount(source: Path, target: str) -> None:
    subprocess.run(["mount", "--bind", str(source), target], check=True)


# ── the services ──


def start_loki(stack: Stack) -> None:
    flags = {
        "server.http-listen-address": "127.0.0.1",
        "server.grpc-listen-address": "127.0.0.1",
        "common.path-prefix": str(stack.place / "loki"),
        "common.storage.filesystem.chunk-directory": str(stack.place / "loki" / "chunks"),
        "common.storage.filesystem.rules-directory": str(stack.place / "loki" / "rules"),
        "common.storage.ring.instance-addr": "127.0.0.1",
        "frontend.instance-addr": "127.0.0.1",
        "memberlist.advertise-addr": "127.0.0.1",
        "ingester.wal-dir": str(stack.place / "loki" / "wal"),
        "compactor.working-directory": str(stack.place / "loki" / "compactor"),
    }
    command = [str(binary("loki")), *stack.command("loki"), *(f"-{k}={v}" for k, v in flags.items())]
    stack.start("loki", command)


def start_prometheus(stack: Stack) -> None:
    home = debian.home("prometheus")
    data = [f"--storage.tsdb.path={stack.place / 'prometheus'}", "--web.listen-address=127.0.0.1:9090"]
    given = [word for word in stack.command("prometheus") if not word.startswith("--storage.tsdb.path")]
    stack.start("prometheus", [str(home / "usr/bin/prometheus"), *given, *data])


def start_nginx(stack: Stack) -> None:
    """nginx in mounts of its own: its files have absolute names, and some lie where all write (/tmp)."""
    own = stack.place / "nginx"
    for name in ("etc/nginx/logferry", "tmp"):
        (own / name).mkdir(parents=True)
    for name in ("passwd", "group", "nsswitch.conf"):
        with suppress(FileNotFoundError):
            shutil.copy(f"/etc/{name}", own / "etc" / name)
    shutil.copytree(debian.home("nginx"), own / "root", symlinks=True)
    (own / "etc" / "nginx" / "nginx.conf").touch()
    mount(Path(stack.file("nginx", "/etc/nginx/nginx.conf")), str(own / "etc/nginx/nginx.conf"))
    mount(Path(stack.file("nginx", "/etc/nginx/logferry")), str(own / "etc/nginx/logferry"))
    libraries = ":".join(str(path) for path in (own / "root").glob("usr/lib/*-linux-gnu*"))
    script = (
        f"mount --rbind {own} /mnt && mount --rbind /mnt/etc /etc && mount --bind /mnt/tmp /tmp && cd / &&"
        " exec /mnt/root/usr/sbin/nginx -e stderr -c /etc/nginx/nginx.conf -g 'daemon off; user root;'"
    )
    command = ["unshare", "--mount", "sh", "-c", script]
    stack.start("nginx", command, LD_LIBRARY_PATH=libraries.replace(str(own), "/mnt"))


def start_search(stack: Stack) -> ElasticsearchServer:
    (stack.place / "elasticsearch").mkdir()
    server = ElasticsearchServer(stack.place / "elasticsearch")
    server.port, server.url = 9200, SEARCH
    config = stack.place / "elasticsearch" / "config" / "elasticsearch.yml"
    given = stack.compose["elasticsearch"]["environment"]
    own = {name: given[name] for name in ("discovery.type", "cluster.name")}
    config.write_text(json.dumps({**json.loads(config.read_text()), **own, "http.port": 9200}))
    return server


def start_postgres(stack: Stack) -> None:
    """PostgreSQL under the settings of its command; as no root, as in its image."""
    bin_ = next(debian.home("postgresql").glob("usr/lib/postgresql/*/bin"))
    data = stack.place / "postgres"
    # Libraries of Debian's packages, beside the server's own.
    found = debian.home("postgresql").glob("usr/lib/*-linux-gnu*")
    libraries = ":".join(str(path) for path in found if path.is_dir())
    options = ["-D", str(data), "-U", "shop", "-A", "trust", "--no-sync", "-E", "UTF8"]
    subprocess.run(
        [*debian.not_root(), str(bin_ / "initdb"), *options],
        env={**os.environ, "LD_LIBRARY_PATH": libraries},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    own = ["-D", str(data), "-c", "unix_socket_directories=", "-c", "dynamic_shared_memory_type=mmap"]
    given = shlex.split(stack.compose["postgres"]["command"])[1:]
    command = [*debian.not_root(), str(bin_ / "postgres"), *given, *own, "-c", "listen_addresses=127.0.0.1"]
    stack.start("postgres", command, LD_LIBRARY_PATH=libraries)


def listens(name: str, port: int) -> bool:
    """Say whether somebody takes connections there."""
    socket.create_connection((name, port), timeout=10).close()
    return True


def start_kafka(stack: Stack) -> KafkaServer:
    """The image makes settings of its environment: KAFKA_NODE_ID is node.id."""
    given = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): str(value)
        for name, value in stack.compose["kafka"]["environment"].items()
        if name != "KAFKA_HEAP_OPTS"
    }
    server = KafkaServer(stack.place / "kafka")
    # As in the image, one node has what its environment says and defaults for the rest.
    own = {"log.dirs": str(stack.place / "kafka" / "stack"), "group.initial.rebalance.delay.ms": "0"}
    settings = {**given, **own}
    server._config.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    cluster = "AAAAAAAAAAAAAAAAAAAAAA"
    server._java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(server._config))
    server._inner = server.bootstrap = "kafka:9092"
    return server


# ── the scene ──


def shop(stack: Stack) -> None:
    """Customers, a service that dies, customers who meet that, and a deployment."""
    load = [*stack.command("load")[:-1], str(LOAD)]
    stack.start("load", load)
    stack.running.pop("load").wait(LOAD + 120)
    urllib.request.urlopen(
        f"{SHOP}/products/97", timeout=60
    ).close()  # the one that the database is slow with
    with suppress(OSError):
        urllib.request.urlopen("http://stock:8000/last-words/over", data=b"", timeout=60).close()
    if stack.running.pop("stock").wait(60) != -signal.SIGKILL:
        raise RuntimeError("stock was to die of SIGKILL")
    for number in range(10):
        order = {"id": number, "user": "u", "product": 1, "card": "4111 1111 1111 1111", "amount": 1.5}
        request = urllib.request.Request(f"{SHOP}/checkout", json.dumps(order).encode())
        with suppress(urllib.error.HTTPError):
            urllib.request.urlopen(request, timeout=60).close()
    script = (
        "import logging, logferry; logferry.configure();"
        "logging.getLogger('deploy').warning('deployed', extra={'kind': 'deployment'}); logferry.shutdown()"
    )
    stack.start("shop", [sys.executable, "-c", script], name="deploying", SHOP_SERVICE="shop")
    if stack.running.pop("deploying").wait(120):
        raise RuntimeError((stack.place / "deploying.out").read_text())


def values_of(asker: Asker, board: Mapping[str, Any], store: str) -> dict[str, str]:
    """Return the variables of a dashboard, filled with all that their own queries find."""
    filled = {"$__auto": "1m", "$__range": "10m", "$__rate_interval": "20s"}
    for variable in board["templating"]["list"]:
        name = variable["name"]
        if variable["type"] != "query":
            filled[f"${name}"] = variable["query"]
            continue
        if store == "loki":
            found = asker.get(f"{LOKI}/loki/api/v1/label/{variable['query']['label']}/values")["data"]
            filled[f"${name}"] = "(" + "|".join(found) + ")"
        else:
            field = json.loads(variable["query"])["field"]
            body = {"size": 0, "aggs": {"1": {"terms": {"field": field, "size": 500}}}}
            rows = asker._answer("POST", f"{SEARCH}/{INDEX}/_search", body)["aggregations"]["1"]["buckets"]
            found = [row["key"] for row in rows]
            filled[f"${name}"] = "(" + " OR ".join(json.dumps(value) for value in found) + ")"
        if not found:
            raise RuntimeError(f"the variable {name} finds nothing")
    return filled


def ask(asker: Asker, target: Mapping[str, Any], filled: Mapping[str, str]) -> list[Any]:
    """Ask one query of a panel."""
    source = target["datasource"]["uid"]
    if source == "loki":
        return asker.loki(LOKI, fill(target["expr"], filled), target["queryType"])
    if source == "prometheus":
        return asker.prometheus(PROMETHEUS, fill(target["expr"], filled))
    if source == "zipkin":
        return asker.zipkin(ZIPKIN, fill(target["query"], filled))
    query = fill(target["query"], filled)
    return asker.elasticsearch(SEARCH, INDEX, {**target, "query": query})


def ask_all(asker: Asker, trace_id: str) -> list[dict[str, Any]]:
    """Ask every query of every dashboard; one row each."""
    boards = dashboards()
    told = []
    for path, title, target in targets():
        store = path.partition("/")[0]
        row: dict[str, Any] = {"board": path, "title": title, "ref": target["refId"], "rows": 0, "error": ""}
        try:
            filled = {**values_of(asker, boards[path], store), "$trace_id": trace_id}
            row["rows"] = len(ask(asker, target, filled))
        except Exception as error:
            row["error"] = f"{type(error).__name__}: {error}"
        told.append(row)
    for store in ("loki", "elasticsearch"):
        board = boards[f"{store}/overview.json"]
        (note,) = board["annotations"]["list"]
        row = {
            "board": f"{store}/overview.json",
            "title": note["name"],
            "ref": "note",
            "rows": 0,
            "error": "",
        }
        try:
            filled = values_of(asker, board, store)
            if store == "loki":
                row["rows"] = len(asker.loki(LOKI, fill(note["expr"], filled)))
            else:
                lines = {"query": fill(note["target"]["query"], filled), "metrics": [{"type": "logs"}]}
                row["rows"] = len(asker.elasticsearch(SEARCH, INDEX, lines))
        except Exception as error:
            row["error"] = f"{type(error).__name__}: {error}"
        told.append(row)
    return told


def ask_alerts(asker: Asker) -> dict[str, str]:
    """Ask what the alerts ask; return what went wrong, by rule."""
    wrong = {}
    for rule in alert_rules()["groups"][0]["rules"]:
        query = rule["data"][0]
        try:
            if query["datasourceUid"] == "loki":
                asker.loki(LOKI, query["model"]["expr"], "instant")
            else:
                asker.prometheus(PROMETHEUS, query["model"]["expr"])
        except RuntimeError as error:
            wrong[rule["uid"]] = str(error)
    return wrong


def lines(asker: Asker, selector: str) -> list[Any]:
    return asker.loki(LOKI, selector)


def run(stack: Stack) -> dict[str, Any]:
    """Start all of it, shop, and ask."""
    begin = time.time() - 60
    http = urllib3.PoolManager(retries=False, timeout=30)

    def now() -> Asker:
        return Asker(begin, time.time() + 1, http)

    start_loki(stack)
    start_prometheus(stack)
    stack.start("cloudwatch", [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "5000"])
    search, zipkin = start_search(stack), ZipkinServer(stack.place)
    zipkin.port, zipkin.url = 9411, ZIPKIN
    try:
        start_postgres(stack)
        stack.until(lambda: listens("postgres", 5432), "PostgreSQL does not start")
        # The image makes the database that its user is named after; here it is the one that is always there.
        database = stack.environment("stock")["SHOP_DATABASE"].removesuffix("shop") + "postgres"
        for service in ("stock", "shop", "mailer"):
            stack.start(service, SHOP_HOST=stack.names()[service], SHOP_DATABASE=database)
        start_nginx(stack)
        search.start(PATIENCE)
        zipkin.start(PATIENCE)
        stack.until(lambda: answers(f"{LOKI}/ready"), "Loki does not start")
        stack.until(lambda: answers("http://cloudwatch:5000/moto-api/"), "moto does not start")
        stack.start("agent")
        stack.until(lambda: answers("http://agent:9108/readyz"), "the agent does not start")
        stack.until(lambda: answers(f"{SHOP}/products/1"), "the shop does not answer through nginx")
        stack.until(lambda: answers(f"{PROMETHEUS}/-/ready"), "Prometheus does not start")
        shop(stack)
        return judge(stack, now, search)
    finally:
        search.kill()
        zipkin.kill()
        for name in list(stack.running):
            with suppress(Exception):
                stack.end(name)


def judge(stack: Stack, now: Callable[[], Asker], search: ElasticsearchServer) -> dict[str, Any]:
    """Wait until what was logged is everywhere, then ask."""

    def delivered() -> bool:
        """Say whether every sink has had something."""
        with urllib.request.urlopen("http://agent:9108/metrics", timeout=30) as answer:
            text = answer.read().decode()
        books = [one.split()[-1] for one in text.splitlines() if one.startswith("logferry_delivered_total{")]
        return len(books) == 4 and "0" not in books

    # The last thing that was logged.
    last = {"query": "kind:deployment", "metrics": [{"type": "logs"}]}

    def searched() -> list[Any]:
        search.ask("POST", f"/{INDEX}/_refresh")
        return now().elasticsearch(SEARCH, INDEX, last)

    stack.until(lambda: lines(now(), '{service="shop"} |= `"kind":"deployment"`'), "no deployment in Loki")
    stack.until(searched, "no deployment in Elasticsearch")
    stack.until(delivered, "a sink has had nothing")
    access = '{service="edge",kind="access"} | status_code="200" | trace_id!=""'
    found = stack.until(lambda: lines(now(), access), "no line of nginx")
    # One that nginx has seen, and all behind it.
    trace_id = found[0]["stream"]["trace_id"]
    slow = stack.until(
        lambda: lines(now(), '{service="postgres"} | trace_id!=""'), "no statement of PostgreSQL's log"
    )
    statement = slow[0]["stream"]["trace_id"]
    way = stack.until(lambda: lines(now(), f'{{service="edge"}} | trace_id="{statement}"'), "no way to it")
    stack.until(lambda: now().zipkin(ZIPKIN, trace_id), "no spans of a request through nginx")
    rate = "sum by (sink) (rate(logferry_delivered_total[20s]))"
    stack.until(lambda: now().prometheus(PROMETHEUS, rate), "Prometheus has not scraped twice")
    told: dict[str, Any] = {"panels": ask_all(now(), trace_id), "alerts": ask_alerts(now())}
    told["slow"] = {"statement": slow[0]["values"][0][1], "request": way[0]["values"][0][1]}
    told["services"] = sorted(now().get(f"{LOKI}/loki/api/v1/label/service/values")["data"])
    with urllib.request.urlopen("http://agent:9108/metrics", timeout=30) as answer:
        told["metrics"] = answer.read().decode()
    told["kafka"] = through_kafka(stack, now)
    return told


def through_kafka(stack: Stack, now: Callable[[], Asker]) -> dict[str, Any]:
    """The profile `scale`: another agent's configuration, Kafka between it and the stores."""
    stack.end("agent")
    kafka = start_kafka(stack)
    kafka.start(PATIENCE)
    try:
        stack.start("kafka-setup")
        setup = stack.running.pop("kafka-setup").wait(120)
        other = stack.file("agent", "/etc/logferry/agent-kafka.yaml")
        stack.start("agent", [*stack.command("agent")[:-1], other])
        # A spool of its own, as its volume is.
        config = Path(stack.file("consumer", "/etc/logferry/consumer.yaml")).read_text()
        own = config.replace("/var/lib/logferry", str(stack.place / "consumer"))
        (stack.place / "consumer.yaml").write_text(own)
        consume = [sys.executable, "-m", "logferry", "run", "-c", str(stack.place / "consumer.yaml")]
        stack.start("consumer", consume)
        urllib.request.urlopen(f"{SHOP}/jobs?through=kafka", timeout=60).close()
        path = '{service="edge",kind="access"} |= `"path":"/jobs"`'
        found = stack.until(lambda: lines(now(), path), "nothing arrives through Kafka")
        return {"setup": setup, "arrived": sum(len(stream["values"]) for stream in found)}
    finally:
        for name in ("agent", "consumer"):
            if name in stack.running:
                stack.end(name)
        kafka.kill()


def main(place: Path) -> int:
    """Run it; the exit code says whether there are answers."""
    stack = Stack(place)
    try:
        network(stack)
        mounts(stack)
        told = run(stack)
    except Exception:
        (place / "failed").write_text(traceback.format_exc())
        return 1
    (place / "answers.json").write_text(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
