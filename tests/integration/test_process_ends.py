"""How a process ends, and what becomes of what it logged at its very end: nothing lost, each record once.

A process that ends by itself has no death notice; one that was cut off (SIGKILL, `os._exit`) has exactly one.
What a process logs after its pipeline was shut down waits in the spool: the next start delivers it.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from evidence import Evidence
from programs.fate import accounts, assert_whole, deliver_rest, fate, finish, run, start

from logferry.shipper.spool import list_spools

pytestmark = pytest.mark.integration

UNCAUGHT = ("uncaught exception: LookupError", "uncaught exception in thread late: LookupError")
UNRAISABLE = ("exception ignored in", "Exception ignored in")


@dataclass(frozen=True)
class End:
    """A program that logs, and its end. `deaths`: notices; `left`: something may wait in the spool."""

    body: str
    code: int = 0
    deaths: int = 0
    left: bool = False
    others: tuple[str, ...] = ()
    cut: int = 0
    least: int = 100  # records


ENDS = {
    "falls off its end": End("configure(directory); Voice(directory, 'a').many(100)"),
    "shutdown, then the end": End(
        "configure(directory); Voice(directory, 'a').many(100); assert logferry.shutdown()"
    ),
    "shutdown in a thread": End("""
configure(directory)
Voice(directory, 'a').many(100)
thread = threading.Thread(target=logferry.shutdown)
thread.start()
thread.join()
"""),
    "shutdown twice at once, and by atexit": End("""
configure(directory)
Voice(directory, 'a').many(100)
for _ in range(2): threading.Thread(target=logferry.shutdown, daemon=True).start()
"""),
    "a thread that logs after the main thread's end": End("""
configure(directory)
def late():
    voice = Voice(directory, 'a')
    while threading.main_thread().is_alive(): voice()
    voice.many(100)
threading.Thread(target=late).start()
"""),
    "daemon threads that never stop": End(
        "configure(directory); load(directory, 4); time.sleep(0.3)", left=True
    ),
    "daemon threads that log without a rest": End(
        "configure(directory); load(directory, 4, rest=0); time.sleep(0.3)", left=True
    ),
    "atexit, registered before configure": End(
        "voice = Voice(directory, 'a'); atexit.register(voice.many, 100)\n"
        "configure(directory); voice.many(100)",
        left=True,
        least=200,
    ),
    "atexit, registered after configure": End(
        "configure(directory); voice = Voice(directory, 'a')\n"
        "atexit.register(voice.many, 100); voice.many(100)",
        least=200,
    ),
    "os._exit": End(
        "configure(directory); Voice(directory, 'a').many(100); os._exit(0)", deaths=1, left=True
    ),
    "os._exit while threads log": End(
        "configure(directory); load(directory, 4); time.sleep(0.3); os._exit(3)", 3, deaths=1, left=True
    ),
    "os.abort": End(
        "configure(directory); Voice(directory, 'a').many(100); os.abort()", -6, deaths=1, left=True
    ),
    "sys.exit": End("configure(directory); Voice(directory, 'a').many(100); sys.exit(4)", 4),
    "sys.exit in a thread": End(
        """
configure(directory)
def work():
    Voice(directory, 'a').many(100)
    sys.exit(5)
thread = threading.Thread(target=work)
thread.start()
thread.join()
Voice(directory, 'b').many(100)
""",
        least=200,
    ),
    "an exception": End(
        "configure(directory); Voice(directory, 'a').many(100); raise LookupError", 1, others=UNCAUGHT
    ),
    "an exception in a thread, at the end": End(
        """
configure(directory)
def work():
    threading.main_thread().join()
    Voice(directory, 'a').many(100)
    raise LookupError
threading.Thread(target=work, name='late').start()
""",
        others=UNCAUGHT,
    ),
    "SIGTERM": End(
        "configure(directory); Voice(directory, 'a').many(100); os.kill(os.getpid(), 15); time.sleep(60)", -15
    ),
    "SIGTERM while threads log": End(
        "configure(directory); load(directory, 4); time.sleep(0.3); os.kill(os.getpid(), 15); time.sleep(60)",
        -15,
        left=True,
    ),
    "SIGTERM, with a handler that logs and exits": End(
        """
voice, handled = Voice(directory, 'a'), Voice(directory, 'handler')
def handler(*_):
    handled.many(100)
    sys.exit(6)
signal.signal(signal.SIGTERM, handler)
configure(directory)
voice.many(100)
os.kill(os.getpid(), 15)
""",
        6,
        least=200,
    ),
    "SIGTERM, with a handler that is set after configure": End(
        """
configure(directory)
voice, handled, stop = Voice(directory, 'a'), Voice(directory, 'handler'), []
def handler(*_):
    handled.many(100)
    stop.append(1)
signal.signal(signal.SIGTERM, handler)
threading.Timer(0.2, os.kill, (os.getpid(), 15)).start()
while not stop: voice()
""",
        least=101,
    ),
    "SIGTERM to a program that ignores it": End("""
signal.signal(signal.SIGTERM, signal.SIG_IGN)
configure(directory)
os.kill(os.getpid(), 15)
Voice(directory, 'a').many(100)
"""),
    "SIGINT": End(
        """
configure(directory)
threading.Timer(0.2, os.kill, (os.getpid(), 2)).start()
voice = Voice(directory, 'a')
try:
    while True: voice()
except KeyboardInterrupt:
    Voice(directory, 'b').many(100)
    raise
""",
        -2,
        cut=1,
    ),
    "SIGTERM during the shutdown at the end": End(
        """
import logferry.shipper.sinks.local as local
before = local.LocalSink.send
def send(self, batch):
    os.kill(os.getpid(), 15)
    time.sleep(0.3)
    return before(self, batch)
configure(directory)
logferry.flush()
local.LocalSink.send = send
Voice(directory, 'a').many(100)
logferry.shutdown()
time.sleep(60)
""",
        -15,
    ),
    "SIGINT during the shutdown at the end": End(
        """
import logferry.shipper.sinks.local as local
before = local.LocalSink.send
def send(self, batch):
    os.kill(os.getpid(), 2)
    time.sleep(0.3)
    return before(self, batch)
configure(directory)
logferry.flush()
local.LocalSink.send = send
Voice(directory, 'a').many(100)
""",
        left=True,
        others=UNRAISABLE,
    ),
    "SIGKILL": End(
        "configure(directory); Voice(directory, 'a').many(100); os.kill(os.getpid(), 9)",
        -9,
        deaths=1,
        left=True,
    ),
    "finalisers at the end": End(
        """
configure(directory)
class Late:
    def __init__(self, name): self.voice = Voice(directory, name)
    def __del__(self): self.voice.many(100)
late = Late('module')          # goes with the module, after atexit
cycle = Late('cycle')
cycle.me = cycle
kept = Late('kept')
sys.kept = kept
weakref.finalize(Late, Voice(directory, 'finalize').many, 100)
del cycle
""",
        left=True,
        least=200,
    ),
    "weakref.finalize, made before configure": End(
        """
class Held: pass
voice = Voice(directory, 'a')
weakref.finalize(Held, voice.many, 100)
configure(directory)
voice.many(100)
""",
        left=True,
        least=200,
    ),
    "logging during import": End(
        """
(directory / 'part.py').write_text('''
import threading
from programs.voice import Voice, configure
import pathlib, sys
directory = pathlib.Path(sys.argv[1])
configure(directory)
Voice(directory, 'import').many(100)
def work():
    import json.tool
    Voice(directory, 'thread').many(100)
thread = threading.Thread(target=work)
thread.start()
thread.join()
''')
sys.path.insert(0, str(directory))
import part
""",
        least=200,
    ),
    "logging from a signal handler, under load": End("""
configure(directory)
voice = Voice(directory, 'timer')
depth = [0]
def handler(*_):  # within one another, three deep: a record from deeper than four has no extras to tell it by
    depth[0] += 1
    if depth[0] <= 3: voice.many(3)
    depth[0] -= 1
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.001)
main = Voice(directory, 'main')
main.many(20000)
signal.setitimer(signal.ITIMER_REAL, 0)
assert voice.n > 30, voice.n
"""),
    "finalisers under load": End(
        """
configure(directory)
voice = Voice(directory, 'finaliser')
class Late:
    def __del__(self): voice()
main = Voice(directory, 'main')
gc.set_threshold(50, 2, 2)
for _ in range(3000):
    late = Late()
    late.me = late
    main()
del late
gc.collect()
assert voice.n == 3000
""",
        least=6000,
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_however_a_process_ends_nothing_is_lost(tmp_path: Path, name: str, evidence: Evidence) -> None:
    """What was logged is delivered at the end, or by the next start; deaths are told of those cut off."""
    end = ENDS[name]
    began = time.monotonic()
    code, _, err = run(tmp_path, end.body)
    assert time.monotonic() - began < 20, err
    assert code == end.code, err
    assert "Fatal Python error" not in err or code == -6, err
    if not end.left:
        assert accounts(tmp_path)["here"].pending == 0, "the end itself delivers"
    books = deliver_rest(tmp_path) if list_spools(tmp_path / "spool") else accounts(tmp_path)
    evidence("a process ends (exit, signals, threads, atexit, finalisers)", tried=1, lost=fate(tmp_path).lost)
    cut = end.cut + end.deaths
    result = assert_whole(tmp_path, end.deaths, cut=cut, others=end.others, books=books)
    assert result.records >= end.least
    assert bool(result.others) == bool(end.others)


def test_a_sigterm_from_outside_at_any_moment(tmp_path: Path) -> None:
    """SIGTERM at a random moment, also in the middle of a shutdown: as ever, and no death is told."""
    body = """
configure(directory)
if sys.argv[2] == '1': Voice(directory, 'main').many(2000)
else: load(directory, 2)
print('go', flush=True)
time.sleep(0.15)
if sys.argv[2] == '1': logferry.shutdown()
"""
    for round_ in range(4):
        process = start(tmp_path, body, round_ % 2)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.1 + 0.03 * round_)
        process.send_signal(signal.SIGTERM)
        code, _, err = finish(process)
        assert code in {-signal.SIGTERM, 0}, err
    deliver_rest(tmp_path)
    assert_whole(tmp_path, 0)
