"""What the soak does to its programs and their servers: chosen at random, from a seed that is printed."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from servers.proxy import FaultProxy
from servers.wire import FAULTS, LONG, PASSING

from .stores import Server

__all__ = ["Mischief"]


class Mischief(threading.Thread):
    """Does one thing after another until told to end, with calm in between. `now` tells what it does."""

    def __init__(self, name: str, seed: int, calm: tuple[float, float]) -> None:
        super().__init__(name=name, daemon=True)
        self._chance = random.Random(f"{seed}-{name}")
        self._calm = calm
        self._over = threading.Event()
        self._deeds: list[tuple[str, Callable[[float], None]]] = []
        self.now = ""
        self.done: Counter[str] = Counter()
        self.error: Exception | None = None

    def add(self, name: str, deed: Callable[[float], None], weight: int = 1) -> None:
        """Know one more thing to do. It is given the seconds that it shall last."""
        self._deeds += [(name, deed)] * weight

    def wait(self, seconds: float) -> None:
        self._over.wait(seconds)

    def end(self) -> None:
        """Let the last deed end, and do no more."""
        self._over.set()
        self.join(360)
        self.look()

    def look(self) -> None:
        """Raise what it died of: what it did last was not undone, and the rest would be for nothing."""
        if self.error is not None:
            raise RuntimeError(f"{self.name}: {self.error}") from self.error

    def run(self) -> None:
        try:
            while not self._over.wait(self._chance.uniform(*self._calm)):
                self.now, deed = self._chance.choice(self._deeds)
                deed(self._chance.uniform(2, 8))
                self.done[self.now] += 1
                self.now = ""
        except Exception as error:
            self.error = error

    # ── deeds ──

    def know_the_wire(self, proxy: FaultProxy, server: Server) -> None:
        """Everything that can happen between the programs and Loki, and to Loki itself."""

        def strike(name: str) -> Callable[[float], None]:
            def deed(seconds: float) -> None:
                proxy.strike(FAULTS[name])
                self.wait(seconds)
                proxy.heal()

            return deed

        def refuse(seconds: float) -> None:
            proxy.refuse()
            self.wait(seconds)
            proxy.heal()

        def kill(seconds: float) -> None:
            server.kill()
            self.wait(seconds / 2)
            server.start()

        for name in FAULTS.keys() - LONG - PASSING:
            self.add(f"wire: {name}", strike(name))
        self._deeds.sort(key=lambda known: known[0])  # sets have no order: the seed decides
        self.add("wire: connections refused", refuse, 6)
        self.add("server killed (SIGKILL)", kill, 6)

    def know_the_disk(self, store: Path) -> None:
        """`store` is a link to the store: for a while it leads to a file, and then to the store again."""
        real, nothing = store.readlink(), store.with_name("nothing")
        nothing.touch()

        def lead(to: Path) -> None:
            link = store.with_name("link")
            link.symlink_to(to)
            link.replace(store)  # in one step: nobody may find no store, and make one

        def taken(seconds: float) -> None:
            lead(nothing)
            self.wait(seconds)
            lead(real)

        self.add("disk: the store's place is taken", taken)
