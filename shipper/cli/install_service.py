"""`logferry install-service`: systemd's unit for an agent, made for its configuration.

Rules:
- `Type=notify`: READY when sinks and sources have started, RELOADING and READY on SIGHUP, STOPPING on
  SIGTERM.
- A stop may take `shutdown_timeout` and some more, so that it is never cut short.
- The service may write where its configuration says that it writes (spools, sinks that are files), and
  nowhere else. What it may read is left to its user, its groups and `--capability`.
- Nothing is started, no user is made: what is left to do is said.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from .codes import OK, UNAVAILABLE, USAGE
from .common import config_option, fail, load_config
from .output import warn

if TYPE_CHECKING:
    from ..config import Config

__all__ = ["install_service"]

_STATE: Final = Path("/var/lib")
_GRACE: Final = 25  # seconds beyond `shutdown_timeout`: the sources' chunk at hand, a sink's time-out
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.@-]{0,100}")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:@+=,-]+")
_UNIT: Final = """\
# Made by `logferry install-service` for {config}: make it again when paths in there change.
[Unit]
Description=logferry: ships logs, and accounts for every record ({service})
Documentation=man:systemd.exec(5)
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
ExecStartPre={command} check -c {config}
ExecStart={command} run -c {config}
ExecReload=/bin/kill -HUP $MAINPID
{user}# What was appended is in the spool: a kill loses nothing; an orderly stop makes the next start quicker.
Restart=always
RestartSec=1s
TimeoutStartSec=90s
TimeoutStopSec={stop:.0f}s
{places}UMask=0077
LimitNOFILE=65536

# It reads logs, writes what is named above, and talks to the sinks.
ProtectSystem=strict
ProtectHome={home}
PrivateTmp={tmp}
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
NoNewPrivileges=yes
CapabilityBoundingSet={capabilities}
AmbientCapabilities={capabilities}
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True, slots=True)
class _Wishes:
    """What the command line asks for."""

    name: str
    user: str
    groups: Sequence[str]
    capabilities: Sequence[str]


@click.command(short_help="Write systemd's unit for the agent.")
@config_option
@click.option("--name", default="logferry", show_default=True, help="The unit's name.")
@click.option("--user", default="logferry", show_default=True, help="Whose service it is.")
@click.option(
    "--group", "groups", multiple=True, help="A further group, to read logs (adm); may be repeated."
)
@click.option(
    "--capability",
    "capabilities",
    multiple=True,
    help="A capability: CAP_DAC_READ_SEARCH reads every file, CAP_NET_BIND_SERVICE listens below port 1024.",
)
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("/etc/systemd/system"),
    show_default=True,
    help="Where units are.",
)
@click.option("--dry-run", is_flag=True, help="Only print the unit.")
@click.option("--force", is_flag=True, help="Replace a unit that is there and differs.")
def install_service(  # click's signature
    config_path: str | None,
    name: str,
    user: str,
    groups: tuple[str, ...],
    capabilities: tuple[str, ...],
    directory: Path,
    dry_run: bool,  # noqa: FBT001
    force: bool,  # noqa: FBT001
) -> None:
    """Write a unit that runs the agent with this configuration under systemd.

    It is told when the agent is ready, reloads it with `systemctl reload`, gives it the time that it needs to
    stop, and lets it write only where the configuration says. With --dry-run the unit is printed.
    """
    from ..config.loading import find_file

    config = load_config(config_path)
    for text, what in ((name, "unit"), (user, "user"), *((group, "group") for group in groups)):
        if not _NAME.fullmatch(text):
            fail(f"{text!r} is no name of a {what}", USAGE)
    for capability in capabilities:
        if not re.fullmatch(r"CAP_[A-Z_]+", capability):
            fail(f"{capability!r} is no capability: they are called CAP_…", USAGE)
    file = Path(config_path).expanduser() if config_path is not None else find_file()
    unit = _unit(config, file.absolute(), _Wishes(name, user, groups, capabilities))
    if dry_run:
        click.echo(unit, nl=False)
        return
    path = directory / f"{name}.service"
    try:
        _write(path, unit, force=force)
    except OSError as error:
        fail(f"{path}: {error.strerror}; --dry-run prints the unit", UNAVAILABLE)
    warn("\n".join([f"wrote {path}", *_next(config, file.absolute(), name, user)]))
    raise SystemExit(OK)


def _write(path: Path, unit: str, *, force: bool) -> None:
    if not force and path.exists() and path.read_text(encoding="utf-8") != unit:
        fail(f"{path} is there already and differs; --force replaces it", USAGE)
    path.write_text(unit, encoding="utf-8")
    path.chmod(0o644)


def _unit(config: Config, file: Path, wishes: _Wishes) -> str:
    written = _written(config)
    places = []
    if any(path.is_relative_to(_STATE / wishes.name) for path in written):
        places += [f"StateDirectory={wishes.name}", "StateDirectoryMode=0700"]
    places += [
        f"ReadWritePaths=-{_word(str(path), variables=False)}" for path in _others(written, wishes.name)
    ]
    if not _names_its_spool(config):  # then it is below the state directory
        places += ["Environment=XDG_STATE_HOME=%S"]
        places += [] if "StateDirectory=logferry" in places else ["StateDirectory=logferry"]
    user = [f"User={wishes.user}"]
    user += [f"SupplementaryGroups={' '.join(wishes.groups)}"] if wishes.groups else []
    seen = [*written, *_read(config), file]
    return _UNIT.format(
        config=_word(str(file)),
        service=config.service,
        command=_command(),
        user="".join(f"{line}\n" for line in user),
        stop=config.shutdown_timeout + _GRACE,
        places="".join(f"{line}\n" for line in places),
        home="no" if any(_is_below(path, "/home", "/root", "/run/user") for path in written) else "read-only",
        tmp="no" if any(_is_below(path, "/tmp", "/var/tmp") for path in seen) else "yes",  # noqa: S108 - not used
        capabilities=" ".join(wishes.capabilities),
    )


def _command() -> str:
    """Return how this very program is called."""
    program = Path(sys.argv[0])
    if program.name == "logferry" and program.is_file():
        return _word(str(program.absolute()))
    return f"{_word(sys.executable)} -m logferry"


def _written(config: Config) -> list[Path]:
    """Return where the configuration says that something is written."""
    from ..config.plan import plan, spool_path

    found = []
    spool = spool_path(config)
    if spool is not None and _names_its_spool(config):
        found.append(spool)
    found += [source.options.path for source in config.sources.values() if source.common.type == "spool"]
    kinds = [(spec.kind.writes, spec.options) for spec in plan(config).sinks]
    found += [writes(options) for writes, options in kinds if writes is not None]
    return [path.absolute() for path in found]


def _read(config: Config) -> list[Path]:
    """Return the paths that sources read."""
    found = []
    for source in config.sources.values():
        for name in ("include", "path"):
            value = getattr(source.options, name, ())
            values = [value] if isinstance(value, Path) else value
            found += [path for path in values if isinstance(path, Path)]
    return found


def _names_its_spool(config: Config) -> bool:
    from ..config.plan import spool_path

    return spool_path(config) is None or getattr(config.spool, "path", None) is not None


def _others(written: Sequence[Path], name: str) -> list[Path]:
    return [path for path in dict.fromkeys(written) if not path.is_relative_to(_STATE / name)]


def _is_below(path: Path, *roots: str) -> bool:
    return any(path.is_relative_to(root) for root in roots)


def _word(text: str, *, variables: bool = True) -> str:
    """Return a word of a unit file; `variables`: of a command, in which `$` would begin one."""
    text = text.replace("%", "%%")
    text = text.replace("$", "$$") if variables else text
    if _PLAIN.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _next(config: Config, file: Path, name: str, user: str) -> list[str]:
    """Return what is left to do."""
    import pwd

    steps = []
    try:
        pwd.getpwnam(user)
    except KeyError:
        steps.append(f"useradd --system --no-create-home --shell /usr/sbin/nologin {user}")
    missing = [path for path in _others(_written(config), name) if not path.exists()]
    steps += [f"install -d -o {user} -m 0700 {path}" for path in missing]
    steps += [f"# {file} must be readable for {user}"]
    steps += ["systemctl daemon-reload", f"systemctl enable --now {name}"]
    return ["next:", *(f"  {step}" for step in steps)]
