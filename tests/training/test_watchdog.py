"""A process that hangs is ended from outside, one that does not is left alone."""

import signal
import subprocess
from collections.abc import Callable

SLEEPS = """
import signal, sys, time
from regard.training.watchdog import ended_after
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])  # as where Python's lock is held
with ended_after({seconds}, "it hung: start it again"):
    time.sleep({hangs})
time.sleep(0.5)
print("went on")
"""
Fresh = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_process_that_hangs_is_killed_and_it_is_said_why(fresh_python: Fresh) -> None:
    found = fresh_python(SLEEPS.format(seconds=0.5, hangs=60))
    assert (found.returncode, found.stdout) == (-signal.SIGKILL, "")
    assert found.stderr.splitlines()[-1] == "it hung: start it again"


def test_signals_that_are_meant_for_the_process_do_not_end_the_watch(fresh_python: Fresh) -> None:
    to_all = (
        'import os; os.setpgid(0, 0); os.killpg(0, signal.SIGTERM); os.system("pkill -TERM -P " + str(os.getpid()))'
    )
    hangs = SLEEPS.format(seconds=2, hangs=60).replace(
        "    time.sleep(60)", f"    time.sleep(0.5); {to_all}; time.sleep(60)"
    )
    found = fresh_python(hangs)
    assert (found.returncode, found.stderr.splitlines()[-1]) == (-signal.SIGKILL, "it hung: start it again")


def test_who_is_through_in_time_is_left_alone(fresh_python: Fresh) -> None:
    found = fresh_python(SLEEPS.format(seconds=0.3, hangs=0))
    assert (found.returncode, found.stdout) == (0, "went on\n"), found.stderr
