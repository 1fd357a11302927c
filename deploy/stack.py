"""Start, stop and check the compose stack: `python deploy/stack.py up|down|check`.

- `up` makes .env where there is none, with a password of its own for each that is empty; says which ports
  are taken and what the machine lacks, before anything starts; then `docker compose up`, until all is well.
- `down` stops it; with `--volumes` what it has stored goes, too.
- `check` needs no engine: docker-compose.yml is parsed and filled in, and what it mounts is looked for.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import yaml

Service: TypeAlias = dict[str, Any]
Stack: TypeAlias = dict[str, Any]

PROFILES = ("kibana", "elk", "jaeger", "scale")
ROOT = Path(__file__).resolve().parents[1]
_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def say(text: str) -> None:
    """Tell the user."""
    print(f"· {text}", flush=True)


def read_env(text: str) -> dict[str, str]:
    """Return the variables of an env file."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def with_passwords(text: str) -> str:
    """Return an env file in which every empty password has a value."""
    return re.sub(r"(?m)^(\w+_PASSWORD)=$", lambda m: f"{m[1]}={secrets.token_urlsafe(18)}", text)


def make_env() -> dict[str, str]:
    """Make .env (0600) if it is not there; return its variables."""
    path = ROOT / ".env"
    if not path.exists():
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(with_passwords((ROOT / ".env.example").read_text()))
        say("made .env with passwords of its own (Grafana: admin, GRAFANA_PASSWORD)")
    return read_env(path.read_text())


def filled(text: str, values: dict[str, str]) -> str:
    """Return compose text with its variables filled in. ValueError for one that must be set and is not."""

    def value(match: re.Match[str]) -> str:
        name, how, rest = match.groups()
        given = values.get(name, "")
        if given:
            return given
        if how == "?":
            raise ValueError(f"{name} is not set: {rest}")
        return rest or ""

    return _VARIABLE.sub(value, text)


def compose(values: dict[str, str]) -> Stack:
    """Return docker-compose.yml with its variables filled in."""
    text = (ROOT / "docker-compose.yml").read_text()
    loaded: Stack = yaml.safe_load(filled(text.replace("$$", "\0"), values).replace("\0", "$"))
    return loaded


def services(stack: Stack, profiles: tuple[str, ...] = ()) -> dict[str, Service]:
    """Return the services that start with these profiles."""
    found: dict[str, Service] = stack["services"]
    return {
        name: one
        for name, one in found.items()
        if not one.get("profiles") or {*one["profiles"]} & {*profiles}
    }


def problems(stack: Stack) -> list[str]:
    """Return what is wrong with the stack's files and rules."""
    volumes = {*(stack.get("volumes") or {})}
    every = services(stack, PROFILES)
    return [f"{name}: {wrong}" for name, one in every.items() for wrong in _wrong(one, volumes, every)]


def _wrong(one: Service, volumes: set[str], every: dict[str, Service]) -> Iterator[str]:  # noqa: C901 - a list of rules
    image = str(one.get("image", ""))
    if ":" not in image or image.endswith(":latest"):
        yield f"the image {image!r} is not pinned by a tag"
    if "mem_limit" not in one:
        yield "no mem_limit"
    for port in one.get("ports", []):
        if not str(port).startswith("127.0.0.1:"):
            yield f"the port {port} is not on the loopback"
    for source in (str(mount).partition(":")[0] for mount in one.get("volumes", [])):
        if source.startswith("."):
            if not (ROOT / source).exists():
                yield f"{source} is not there"
        elif source not in volumes:
            yield f"no volume {source}"
    needed = one.get("depends_on", [])
    for other in needed:
        healthy = isinstance(needed, dict) and needed[other]["condition"] == "service_healthy"
        if other not in every:
            yield f"depends on {other}, which is no service"
        elif healthy and "healthcheck" not in every[other]:
            yield f"waits for the health of {other}, which has no check"


def taken(stack: Stack) -> list[str]:
    """Return the published ports that somebody else listens on."""
    found = []
    for name, one in services(stack).items():
        for port in one.get("ports", []):
            number = int(str(port).split(":")[1])
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", number))
                except OSError:
                    found.append(f"{name}: port {number} is taken; set another in .env")
    return found


def engine() -> list[str]:
    """Return the command of the engine; exits where there is none."""
    if shutil.which("docker"):
        return ["docker", "compose"]
    if shutil.which("podman-compose"):
        return ["podman-compose"]
    sys.exit("no docker and no podman-compose on the PATH; `make demo` shows the same without either")


def up() -> int:
    """Start the stack."""
    command = engine()
    stack = compose({**make_env(), **os.environ})
    running = subprocess.run([*command, "ps", "-q"], cwd=ROOT, capture_output=True, text=True, check=False)
    wrong = problems(stack) + ([] if running.stdout.strip() else taken(stack))
    for text in wrong:
        say(text)
    if wrong:
        return 1
    maps = Path("/proc/sys/vm/max_map_count")
    if maps.exists() and int(maps.read_text()) < 262_144:
        say("Elasticsearch wants vm.max_map_count of 262144: sudo sysctl -w vm.max_map_count=262144")
    done = subprocess.run([*command, "up", "-d", "--build", "--wait"], cwd=ROOT, check=False).returncode
    if done == 0:
        values = {**read_env((ROOT / ".env").read_text()), **os.environ}
        say(f"Grafana http://127.0.0.1:{values.get('GRAFANA_PORT', 3000)} (admin, GRAFANA_PASSWORD in .env)")
        say(f"the shop http://127.0.0.1:{values.get('SHOP_PORT', 8080)}/products/1")
    return done


def down() -> int:
    """Stop the stack."""
    more = ["--volumes"] if "--volumes" in sys.argv else []
    every = [part for name in PROFILES for part in ("--profile", name)]
    return subprocess.run([*engine(), *every, "down", *more], cwd=ROOT, check=False).returncode


def check() -> int:
    """Look at the files, without an engine."""
    example = read_env(with_passwords((ROOT / ".env.example").read_text()))
    wrong = problems(compose(example))
    for text in wrong:
        say(text)
    say("docker-compose.yml: " + (f"{len(wrong)} mistakes" if wrong else "as it should be"))
    return 1 if wrong else 0


if __name__ == "__main__":
    actions = {"up": up, "down": down, "check": check}
    if len(sys.argv) < 2 or sys.argv[1] not in actions:
        sys.exit(f"usage: python deploy/stack.py {'|'.join(actions)}")
    sys.exit(actions[sys.argv[1]]())
