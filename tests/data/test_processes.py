import os
import signal
import subprocess
import sys

from regard.data.processes import interrupts_blocked, process_pool


def test_processes_leave_ctrl_c_to_their_parent() -> None:
    with process_pool(1, os.putenv, "BEGUN", "yes") as pool:
        assert pool.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN
        assert pool.submit(subprocess.check_output, "echo $BEGUN", shell=True).result() == b"yes\n"


def test_ctrl_c_cannot_reach_a_process_that_is_still_starting() -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('alive')"
    with interrupts_blocked():
        started = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (started.stdout, started.stderr) == ("alive\n", "")
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
