"""`logferry init`: a commented starter file that works as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import click

from .codes import USAGE
from .common import fail
from .output import warn

__all__ = ["STARTER", "init"]

STARTER = """\
# yaml-language-server: $schema={schema}
#
# logferry's configuration. Every key: docs/configuration.md. Check it with: logferry check

service: {service}
environment: ${{APP_ENV:-dev}}      # dev logs from DEBUG on, test from INFO, prod from WARNING

logging:
  # level: INFO                  # wins over the environment
  access: INFO                   # access, job and span events have their own level
  # loggers: {{sqlalchemy.engine: WARNING}}
  console: pretty                # pretty | json | off

# schema:
#   fields: {{order_id: integer, amount: number}}

# Passwords, tokens, cards, phone numbers and the like are removed anyway; add your own:
# redact:
#   keys: [loyalty_number]
#   patterns: {{employee_id: 'E-\\d{{6}}'}}

# Records wait here, crash-safe, until every sink has them (default: your user's state directory).
# spool:
#   path: /var/lib/logferry
#   max_bytes: 1GiB

sinks:
  here:
    type: local
    path: ./logs
  # loki:
  #   type: loki
  #   url: ${{LOKI_URL:-http://localhost:3100}}

# Files of programs that do not use logferry: `logferry run` reads them.
# sources:
#   app: {{type: file, include: [/srv/app/log/*.log], multiline: python}}
"""


@click.command(short_help="Write a commented starter configuration.")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False), default=Path("logferry.yaml"))
@click.option("--service", help="The name that the events carry (default: the directory's).")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def init(path: Path, service: str | None, force: bool) -> None:  # noqa: FBT001 - click's signature
    """Write a commented starter configuration to PATH (default: logferry.yaml)."""
    from ..config.json_schema import SCHEMA_FILE

    name = service or re.sub(r"[^A-Za-z0-9._-]+", "-", path.absolute().parent.name).strip("-._") or "app"
    text = STARTER.format(schema=SCHEMA_FILE.resolve().as_uri(), service=name)
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        fail(f"{path} is there already; --force replaces it", USAGE)
    except OSError as error:
        fail(f"{path}: {error.strerror}", USAGE)
    warn(f"wrote {path}\nnext: logferry check -c {path}")
