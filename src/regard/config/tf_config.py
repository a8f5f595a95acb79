"""`TF_CONFIG`, the contract between the processes of a run: who the workers are, and which of them this one is."""

import json
from typing import NamedTuple

from regard.errors import ConfigError

_TASKS = ("chief", "worker")


class Place(NamedTuple):
    """Of a process among the workers; the first, or the only "chief", writes and decides."""

    worker: int
    workers: int
    jobs: tuple[tuple[str, int], ...] = ()  # as of `Cluster`
    hosts: tuple[str, ...] = ()  # of the workers, host:port


def worker_of(text: str) -> Place:
    """What a `TF_CONFIG` says: a chief is the first worker. Raises ConfigError."""
    try:
        config = json.loads(text)
        cluster, task = config.get("cluster", {}), config.get("task", {})
        hosts = {kind: list(cluster.get(kind, ())) for kind in _TASKS}
        kind, index = task.get("type", "worker"), int(task.get("index", 0))
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"TF_CONFIG is not what TensorFlow's workers take, but {text[:100]!r}: {error}") from error
    odd = sorted(cluster.keys() - set(_TASKS))
    if odd or kind not in _TASKS:
        raise ConfigError(f"TF_CONFIG: training knows the tasks chief and worker, but not {(odd or [kind])[0]!r}")
    workers = len(hosts["chief"]) + len(hosts["worker"])
    if workers and not 0 <= index < len(hosts[kind]):
        raise ConfigError(f"TF_CONFIG: task.index of a {kind} must be below {len(hosts[kind])}, but is {index}")
    if len(hosts["chief"]) > 1:
        raise ConfigError(f"TF_CONFIG: there must be one chief, but there are {len(hosts['chief'])}")
    jobs = tuple((name, len(listed)) for name, listed in hosts.items() if listed)
    worker = index + (len(hosts["chief"]) if kind == "worker" else 0)
    return Place(worker, max(1, workers), jobs, tuple(map(str, hosts["chief"] + hosts["worker"])))
