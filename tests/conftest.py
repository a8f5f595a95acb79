"""What every test process needs before TensorFlow is imported: its backend, its share of the cores, quiet logs."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_threads = str(max((os.cpu_count() or 1) // _workers, 1))
os.environ |= {
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_NUM_INTRAOP_THREADS": _threads,
    "TF_NUM_INTEROP_THREADS": "1",
    "OMP_NUM_THREADS": _threads,
    "OPENBLAS_NUM_THREADS": _threads,
    "HF_HUB_OFFLINE": "1",
    "NO_COLOR": "1",
}

settings.register_profile("fast", max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("fast"), derandomize=True, database=None, print_blob=True)
settings.register_profile("full", settings.get_profile("fast"), max_examples=100)
settings.load_profile("ci" if os.environ.get("CI") else "fast")


@pytest.fixture(scope="module", autouse=True)
def seeded() -> None:
    """The networks that a file makes have the same weights in every run: a bound holds always, or never."""
    if keras := sys.modules.get("keras"):
        keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def fresh_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`fresh_python(code, {"NAME": "value"})` runs code in a new interpreter; a value of None removes the variable."""

    def run(code: str, environment: Mapping[str, str | None] = {}) -> subprocess.CompletedProcess[str]:
        merged = os.environ | dict(environment)
        variables = {name: value for name, value in merged.items() if value is not None}
        return subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=120)

    return run
