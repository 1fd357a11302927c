"""The spool against a model: random histories with kills, power cuts and interruptions at random steps.

A seed that fails is written to `seeds.txt` beside this file; what stands there is played first, every time.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from random import SystemRandom

import pytest
from effort import effort
from spool_history import PROFILES, History, Profile

SEEDS = Path(__file__).with_name("seeds.txt")
ACTIONS = 40


def play(seed: int, directory: Path, profile: Profile, *, forks: bool = True) -> None:
    """Play one history; a failure says the seed and what had happened, and is kept."""
    history = History(seed, directory, profile, forks=forks)
    try:
        history.run(ACTIONS)
    except BaseException as error:
        if not os.environ.get("CI"):
            with SEEDS.open("a", encoding="ascii") as file:
                file.write(f"{seed} {history.profile.name} {'forks' if forks else ''}\n")
        error.add_note(f"seed {seed}, {history.profile.name}:\n" + "\n".join(history.log))
        raise


def seed_of(number: int) -> int:
    """Return a seed: always another one, but in CI's short form, which says the same twice."""
    return number if os.environ.get("CI") and effort(1) == 1 else SystemRandom().getrandbits(48)


def kept() -> list[tuple[int, str, bool]]:
    """Return the seeds that failed once, and whether processes were killed alone in their histories."""
    lines = SEEDS.read_text(encoding="ascii").splitlines() if SEEDS.exists() else []
    found = [line.split() for line in lines if line and line[0] != "#"]
    return [(int(words[0]), words[1], "forks" in words) for words in found]


# An interruption between a call and its `with` leaves what it returned to the collector: here, not in life.
# What is forked here is killed soon.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
    pytest.mark.timeout(3600),
]


@pytest.fixture
def tmp_path(in_memory: Path) -> Path:
    """Return a place for histories: what a disk does to them is up to the history."""
    return in_memory


@pytest.mark.parametrize(("seed", "name", "forks"), kept())
def test_seeds_that_failed_once(tmp_path: Path, seed: int, name: str, forks: bool) -> None:
    """What was wrong once stays right."""
    play(seed, tmp_path, next(profile for profile in PROFILES if profile.name == name), forks=forks)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_random_histories(tmp_path: Path, profile: Profile) -> None:
    """Kills, power cuts and interruptions at any step: what must be there is there, and the books balance."""
    for number in range(effort(3)):
        seed = seed_of(number)
        directory = tmp_path / str(seed)
        directory.mkdir()
        play(seed, directory, profile)
        shutil.rmtree(directory)
