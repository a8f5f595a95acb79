import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from regard.errors import TrainingInterrupted
from regard.training.signals import StopRequest, stopping_at_once


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_request_and_is_told_once(number: signal.Signals) -> None:
    told: list[str] = []
    before = signal.getsignal(number), signal.set_wakeup_fd(-1)
    with StopRequest(notify=told.append) as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        assert signal.getsignal(number) == signal.SIG_DFL
    assert told == [number.name]
    assert (signal.getsignal(number), signal.set_wakeup_fd(-1)) == before


def ended(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_the_second_signal_ends_the_process_at_once() -> None:
    done = ended("""
import os, signal
from regard.training.signals import StopRequest
with StopRequest() as stop:
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop()
    print("asked", flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    print("never reached", flush=True)
""")
    assert done.stdout == "asked\n"
    assert done.returncode in (-signal.SIGINT, 128 + signal.SIGINT)


# The hashing is one call into C that releases the GIL, as a training step is: no Python handler runs before its end.
IN_A_LONG_CALL = """
import hashlib, os, signal, threading
from regard.training.signals import StopRequest

told = threading.Event()

def send():
    os.kill(os.getpid(), signal.SIGTERM)
    told.wait()
    os.kill(os.getpid(), signal.SIGTERM)

def notify(name):
    print("told of", name, flush=True)
    told.set()

with StopRequest(notify=notify) as stop:
    threading.Timer(0.1, send).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 200_000_000)
    print("never reached", flush=True)
"""


def test_both_signals_are_heard_while_the_main_thread_is_in_a_long_call() -> None:
    done = ended(IN_A_LONG_CALL)
    assert (done.stdout, done.returncode) == ("told of SIGTERM\n", 128 + signal.SIGTERM)


def test_where_nothing_is_to_be_saved_a_signal_ends_the_work_where_it_stands() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def work() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    with (
        pytest.raises(TrainingInterrupted, match="SIGTERM: go on with x") as caught,
        stopping_at_once("{signal}: go on with x"),
    ):
        work()
    assert caught.value.exit_code == 75
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_stop_request_within_work_that_stops_at_once_saves_first_and_gives_the_signals_back() -> None:
    with stopping_at_once("{signal}"):
        outer = signal.getsignal(signal.SIGTERM)
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop()
        assert signal.getsignal(signal.SIGTERM) == outer
        with pytest.raises(TrainingInterrupted):
            os.kill(os.getpid(), signal.SIGTERM)


def test_another_reason_counts_too() -> None:
    reasons = [False, True]
    with StopRequest(also=lambda: reasons.pop(0)) as stop:
        assert [stop(), stop()] == [False, True]


def test_outside_the_main_thread_no_handler_is_touched() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def work() -> None:
        with StopRequest() as stop:
            seen.append((stop(), signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
