"""An end for a process that hangs in a call which holds Python's lock: no signal's handler, no thread of its own runs
then, so another process watches it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_WATCH = """
import os, signal, sys, time
for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # which are meant for the one that is watched
    signal.signal(each, signal.SIG_IGN)
words, watched, end = sys.argv[1], int(sys.argv[2]), time.monotonic() + float(sys.argv[3])
while os.getppid() == watched and time.monotonic() < end:
    time.sleep(0.05)
if os.getppid() == watched:
    print(words, file=sys.stderr, flush=True)
    os.kill(watched, signal.SIGKILL)
"""


@contextmanager
def ended_after(seconds: float, words: str) -> Iterator[None]:
    """Inside, this process has so many seconds; then it is killed (SIGKILL), and stderr has `words`."""
    command = [sys.executable, "-ISc", _WATCH, words, str(os.getpid()), str(seconds)]
    watch = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        watch.kill()
        watch.wait()
