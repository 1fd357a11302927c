"""The end of the demo: the account, the last words of the killed service, the slowest trace, three errors."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..model import Account
from ..spool import AuditReport
from ..store import Store

__all__ = ["Killed", "report"]


@dataclass(frozen=True, slots=True)
class Killed:
    """The service killed on the way: what it logged last, and how many records waited in its spool then."""

    words: str
    waited: int


SECRETS = ("correct horse", "4111 1111 1111 1111")  # what the customers typed and nobody may find


def report(directory: Path, config: Path, store: Store, books: AuditReport, killed: Killed) -> int:
    """Print what the run showed; return 0 when all of it is as promised, else 1."""
    say = _speaker()
    accounts = {service: account for (service, sink), account in books.accounts.items() if sink == "here"}
    total = Account()
    for account in accounts.values():
        total.add(account)
    stored = int(store.sql("SELECT count(DISTINCT event_id) FROM events").rows[0][0])
    say("")
    say("The account (logferry audit)", "bold")
    for service, account in sorted(accounts.items()):
        say(f"  {service:<8} {_line(account)}")
    say(f"  {'all':<8} {_line(total)}")
    settled = total.balance == 0 and total.pending == 0 and stored == total.delivered
    say(f"  {stored:,} different events lie in {directory / 'logs'}", "green" if settled else "red")
    good = _last_words(say, store, killed) & _no_secrets(say, directory) & settled
    _slowest(say, store)
    say("\nThree errors", "bold")
    for event in store.query("level=ERROR error.type=*", limit=3, order="desc"):
        error: Mapping[str, Any] = event["error"]
        say(f"  {event['timestamp']}  {event['service']}  {event['message'].strip()}", "red")
        say(f"    {error['type']}: {error['message']}")
        for cause in error.get("causes", ()):
            say(f"    caused by {cause['type']}: {cause['message']}")
    say("\nTry next", "bold")
    for command in (
        "ui {config}",
        "query {config} level=ERROR",
        "query {config} 'service=shop duration_ms>500' --limit 20",
        "query {config} --sql 'FROM events SELECT level, count(*) GROUP BY 1'",
        "audit {config}",
    ):
        say(f"  {_program()} {command.format(config=f'-c {config}')}", "cyan")
    return 0 if good else 1


def _program() -> str:
    """Return how `logferry` can be called from here: by its name, or by its path when that is not on PATH."""
    ours = Path(sys.executable).parent / "logferry"
    if shutil.which("logferry") == str(ours) or not ours.exists():
        return "logferry"
    return os.path.relpath(ours) if ours.is_relative_to(Path.cwd()) else str(ours)


def _line(account: Account) -> str:
    lost = sum(account.dropped.values())
    return (
        f"accepted {account.accepted:>8,} = delivered {account.delivered:>8,} + pending {account.pending:,}"
        f" + dead-lettered {account.dead_lettered:,} + filtered {sum(account.filtered.values()):,}"
        f" + dropped {lost:,}   unaccounted {account.balance:,}"
    )


def _last_words(say: Callable[..., None], store: Store, killed: Killed) -> bool:
    """Show that the killed service's last line arrived, and the notice of its death."""
    found = list(store.query(f'"{killed.words}"', limit=5))
    deaths = list(store.query("kind=death", limit=5))
    say("\nThe service killed with SIGKILL", "bold")
    arrived = any(event.get("service") == "stock" for event in found)
    text = f"its last line, logged right before the kill, {'arrived' if arrived else 'IS MISSING'}"
    say(f"  {text}; {killed.waited} records had waited in its spool", "green" if arrived else "red")
    for event in deaths:
        say(f"  {event['timestamp']}  {event['message']}", "yellow")
    return arrived and bool(deaths)


def _no_secrets(say: Callable[..., None], directory: Path) -> bool:
    """Search every byte that was written for what must not be there."""
    needles = [secret.encode() for secret in SECRETS]
    files = [path for path in directory.rglob("*") if path.is_file()]
    leaks = [path for path in files if any(needle in path.read_bytes() for needle in needles)]
    say("\nPasswords and card numbers", "bold")
    if leaks:
        say(f"  FOUND in {', '.join(map(str, leaks))}", "red")
    else:
        say(
            f"  none in the {len(files)} files that were written (spools, store, output of the services)",
            "green",
        )
    return not leaks


def _slowest(say: Callable[..., None], store: Store) -> None:
    """Show the slowest request that several services worked on, with the lines of all of them."""
    found = store.sql(
        "SELECT trace_id FROM events WHERE kind = 'access' AND service = 'shop' AND trace_id IN"
        " (SELECT trace_id FROM events GROUP BY 1 HAVING count(DISTINCT service) > 1)"
        " ORDER BY duration_ms DESC LIMIT 1"
    ).rows
    if not found:
        return
    trace = str(found[0][0])
    say(f"\nThe slowest trace: {trace}", "bold")
    for event in store.trace(trace):
        duration = event.get("duration_ms")
        text = f"  {str(event['timestamp'])[11:23]}  {event['service']:<7} {event['message'][:90]}"
        say(text + (f"  {duration:,.0f} ms" if isinstance(duration, int | float) else ""))


def _speaker() -> Callable[..., None]:
    if sys.stdout.isatty():
        from rich.console import Console

        console = Console()
        return lambda text, style="": console.print(
            text, style=style, markup=False, highlight=False, soft_wrap=True
        )
    return lambda text, _style="": print(text)  # noqa: T201 - the demo's output
