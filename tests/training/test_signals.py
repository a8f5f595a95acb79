import os
import signal
import subprocess
import sys
import threading

import pytest

from regard.training.signals import StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_request_and_is_told_once(number: signal.Signals) -> None:
    told: list[str] = []
    before = signal.getsignal(number)
    with StopRequest(notify=told.append) as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        assert told == [number.name]
        assert signal.getsignal(number) == signal.SIG_DFL
    assert signal.getsignal(number) == before


def test_the_second_signal_ends_the_process_at_once() -> None:
    code = """
import os, signal, time
from regard.training.signals import StopRequest
with StopRequest() as stop:
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop()
    print("asked", flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    print("never reached", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "asked\n"
    assert done.returncode == -signal.SIGINT


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
