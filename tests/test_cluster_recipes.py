"""The manifests of recipes/cluster: whole as files, and run with stand-ins for srun, ssh and regard."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from regard.config.tf_config import worker_of

RECIPES = Path(__file__).resolve().parent.parent / "recipes" / "cluster"
# What a worker would be: it writes down what it was told and asked.
REGARD = '[ "$1" = inspect ] && exit ${INSPECTED:-0}; '
REGARD += 'echo "{\\"config\\": $TF_CONFIG, \\"asked\\": \\"$*\\"}" > "$SEEN/$BASHPID"; exit ${CODE:-0}'


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A directory with stand-ins, which is all of PATH but for the system's."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "seen").mkdir()
    add(tmp_path, "regard", REGARD)
    return tmp_path


def add(tools: Path, name: str, body: str) -> None:
    path = tools / "bin" / name
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)


def run(tools: Path, command: list[str], **environment: str) -> int:
    known = {"PATH": f"{tools / 'bin'}:/usr/bin:/bin", "SEEN": str(tools / "seen"), "HOME": str(tools)}
    done = subprocess.run(
        command, cwd=tools, env=known | environment, capture_output=True, timeout=60, preexec_fn=_heed_hang_ups
    )
    return done.returncode


def _heed_hang_ups() -> None:
    """Where the tests run under nohup, a shell could not trap the signal."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def seen(tools: Path) -> list[dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in (tools / "seen").iterdir()]
    for each in found:
        worker_of(json.dumps(each["config"]))
    return sorted(found, key=lambda each: each["config"]["task"]["index"])


def hosts(tools: Path) -> list[list[str]]:
    return [each["config"]["cluster"]["worker"] for each in seen(tools)]


@pytest.mark.parametrize("name", ["slurm.sbatch", "ssh.sh"])
def test_a_script_is_one_that_bash_reads(name: str) -> None:
    assert subprocess.run(["bash", "-n", str(RECIPES / name)], capture_output=True).stderr == b""


def test_each_pod_of_the_jobset_is_the_worker_that_its_index_says(tools: Path) -> None:
    manifest = yaml.safe_load((RECIPES / "jobset.yaml").read_text("utf-8"))
    assert (manifest["apiVersion"], manifest["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    (group,) = manifest["spec"]["replicatedJobs"]
    (rule,) = group["template"]["spec"]["podFailurePolicy"]["rules"]
    assert rule == {"action": "FailJob", "onExitCodes": {"containerName": "regard", "operator": "In", "values": [64]}}
    (last,) = manifest["spec"]["failurePolicy"]["rules"]
    assert last == {"action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}
    job = group["template"]["spec"]
    assert job["completionMode"] == "Indexed"
    assert job["completions"] == job["parallelism"] == 4
    (container,) = job["template"]["spec"]["containers"]
    given = {each["name"]: each["value"] for each in container["env"]}
    for index in range(job["completions"]):
        assert run(tools, [*container["command"], *container["args"]], JOB_COMPLETION_INDEX=str(index), **given) == 0
    name, port = f"{manifest['metadata']['name']}-{group['name']}", container["ports"][0]["containerPort"]
    assert hosts(tools) == [[f"{name}-0-{index}.{manifest['metadata']['name']}:{port}" for index in range(4)]] * 4
    assert [each["config"]["task"]["index"] for each in seen(tools)] == [0, 1, 2, 3]
    assert seen(tools)[0]["asked"] == "train run.toml -o run"
    asked = [*container["command"], *container["args"]]
    assert run(tools, asked, JOB_COMPLETION_INDEX="0", INSPECTED="2", **given) == 64  # the code of the rule


SRUN = """while [[ "$1" = --* ]]; do echo "$1" >> "$HOME/srun"; shift; done; codes=($CODES); code=0; for i in 0 1; do
    CODE=${codes[i]} SLURM_PROCID=$i "$@"; own=$?; [ $own -gt $code ] && code=$own; done; exit $code"""


@pytest.mark.parametrize(
    ("codes", "restarts", "queued_again"),
    [
        ("0 0", "0", False),
        ("75 75", "0", True),
        ("69 137", "99", True),  # one was killed, and the other saw it
        ("69 137", "100", False),
        ("2 2", "0", False),
        ("1 69", "0", True),
    ],
)
def test_slurm_starts_a_worker_a_node_and_queues_again_what_was_stopped(
    tools: Path, codes: str, restarts: str, queued_again: bool
) -> None:
    add(tools, "srun", SRUN)
    add(tools, "scontrol", 'if [ "$1" = show ]; then printf "n1\\nn2\\n"; else echo "$*" > "$HOME/requeued"; fi')
    script = ["bash", str(RECIPES / "slurm.sbatch"), "run.toml", "-o", "a run"]
    asked = {"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": restarts, "CODES": codes}
    limits = {"SLURM_CPUS_PER_TASK": "6"} if restarts == "0" else {}
    assert run(tools, script, **asked, **limits) == max(map(int, codes.split()))
    assert hosts(tools) == [["n1:2222", "n2:2222"]] * 2
    assert {each["asked"] for each in seen(tools)} == {"train run.toml -o a run"}
    assert (tools / "srun").read_text().split() == ["--wait=300", *(["--cpus-per-task=6"] if limits else [])]
    assert (tools / "requeued").exists() == queued_again
    if queued_again:
        assert (tools / "requeued").read_text() == "requeue 7\n"


def test_ssh_starts_a_worker_a_machine(tools: Path) -> None:
    add(tools, "ssh", 'shift 2; exec bash -c "$1"')
    assert run(tools, ["bash", str(RECIPES / "ssh.sh"), "run.toml", "-o", "a run"], HOSTS="n1 n2") == 0
    assert hosts(tools) == [["n1:2222", "n2:2222"]] * 2
    assert {each["asked"] for each in seen(tools)} == {"train run.toml -o a run"}
    assert (tools / "worker-1.log").exists()


def test_a_machine_that_fails_ends_those_that_wait_for_it_forever(tools: Path) -> None:
    add(tools, "ssh", '[ "$2" = n1 ] && exec sleep 600; exit 9')
    assert run(tools, ["bash", str(RECIPES / "ssh.sh"), "run.toml"], HOSTS="n1 n2", GRACE="0.2") == 9


def test_a_signal_to_the_script_is_no_failure_of_a_worker(tools: Path) -> None:
    """Nor does it wait for those that are to notice one, which would take GRACE."""
    saves = "trap 'sleep 0.3; touch \"$HOME/saved-$2\"; exit 75' TERM"
    add(tools, "ssh", f'{saves}; touch "$HOME/up-$2"; for ((;;)); do sleep 0.05; done')
    script = f"bash {RECIPES / 'ssh.sh'} run.toml & "
    script += 'until [ -e "$HOME/up-n1" ] && [ -e "$HOME/up-n2" ]; do sleep 0.05; done; kill -TERM $!; wait $!'
    assert run(tools, ["bash", "-c", script], HOSTS="n1 n2", GRACE="600") == 75
    assert {path.name for path in tools.glob("saved-*")} == {"saved-n1", "saved-n2"}


def test_a_hang_up_asks_the_worker_to_save_and_waits_for_it(tools: Path) -> None:
    saves = "trap 'sleep 0.3; touch \"$HOME/saved\"; exit 75' TERM"
    add(tools, "regard", f'{saves}; touch "$HOME/up"; for ((;;)); do sleep 0.05; done')
    hang_up = 'bash -c "$1" & while [ ! -e "$HOME/up" ]; do sleep 0.05; done; kill -HUP $!; wait $!'
    add(tools, "ssh", f"shift 2; {hang_up}; sleep 1; exit 0")
    run(tools, ["bash", str(RECIPES / "ssh.sh"), "run.toml"], HOSTS="n1")
    assert (tools / "saved").exists()
