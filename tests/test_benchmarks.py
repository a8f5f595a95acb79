"""Benchmarks are run by hand, and rarely: what they take from Regard is there all the same, and what they decide by
themselves (which sides, which figures stay, which losses are equal, where a kill fell) is held here."""

import ast
import importlib
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted([*(ROOT / "benchmarks").glob("*.py"), ROOT / "recipes" / "table.py"])


def names_of_regard(script: Path) -> list[tuple[str, str]]:
    """(module, name) of each `from regard... import name`, wherever it stands."""
    imports = (node for node in ast.walk(ast.parse(script.read_text("utf-8"))) if isinstance(node, ast.ImportFrom))
    ours = (node for node in imports if node.module and node.module.split(".")[0] == "regard")
    return [(str(node.module), alias.name) for node in ours for alias in node.names]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_what_a_script_imports_is_there(script):
    for module, name in names_of_regard(script):
        assert hasattr(importlib.import_module(module), name), f"{script.name}: {module} has no {name}"


def test_the_scripts_import_something():
    assert sum(bool(names_of_regard(script)) for script in SCRIPTS) > 10


@pytest.fixture
def script(monkeypatch):
    """`script("train")`: a benchmark, imported as its neighbours import it."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


def test_usually_every_side_is_measured_and_regard_in_the_faster_dtype_is_the_first(script):
    train = script("train")
    sides = train.chosen(None, "bfloat16")
    assert sides[0] == "regard-bfloat16"
    assert sorted(sides) == sorted(train.SIDES)
    kinds = ("regard", "torch-eager", "torch-compiled", "kerashub-tensorflow", "kerashub-torch", "kerashub-jax")
    assert {f"{kind}-{dtype}" for kind in kinds for dtype in ("float32", "bfloat16")} <= set(sides)


def test_the_beginning_of_a_name_means_all_sides_that_begin_so(script):
    train = script("train")
    asked = ["torch-eager", "regard-float32", "torch-eager-float32"]
    assert train.chosen(asked, "float32") == ["torch-eager-float32", "torch-eager-bfloat16", "regard-float32"]
    with pytest.raises(ValueError, match="'tourch' is no side"):
        train.chosen(["tourch"], "float32")


def test_sides_whose_libraries_are_not_there_are_left_out_and_said_in_one_line(script, monkeypatch):
    train = script("train")
    monkeypatch.setattr(train, "lacking", lambda python, modules: tuple(each for each in modules if each == "jax"))
    pythons = {"regard": "r", "torch": "t", "kerashub": "k"}
    asked = ["torch-eager-float32", "kerashub-jax-float32", "kerashub-torch-float32", "kerashub-jax-bfloat16"]
    there, (line,) = train.those_there(asked, pythons)
    assert there == ["torch-eager-float32", "kerashub-torch-float32"]
    assert line == "left out: kerashub-jax-float32, kerashub-jax-bfloat16: k has no jax (--kerashub names another)"


def test_an_interpreter_is_asked_what_it_lacks(script):
    assert script("train").lacking(sys.executable, ("json", "no_such_module")) == ("no_such_module",)
    with pytest.raises(SystemExit, match="does not run"):
        script("train").lacking("/no/such/python", ("json",))


def test_figures_of_sizes_and_sides_that_are_not_measured_again_stay(script):
    kept = {"small": {"regard": {"tokens": 1}, "torch": {"tokens": 2}}, "base": {"torch": {"tokens": 3}}}
    found = {"small": {"regard": {"tokens": 4}}, "gpt2": {"torch": {"tokens": 5}}}
    merged = script("train").merged(kept, found)
    assert merged["small"] == {"regard": {"tokens": 4}, "torch": {"tokens": 2}}
    assert merged["base"] == kept["base"]
    assert merged["gpt2"] == found["gpt2"]


def test_unequal_losses_are_refused_by_what_the_dtypes_explain(script):
    train = script("train")
    train.require_equal("regard-float32", 9.0, "torch-eager-float32", 9.00005)
    train.require_equal("regard-float32", 9.0, "torch-eager-bfloat16", 9.0005)
    for side, loss in (("torch-eager-float32", 9.0005), ("torch-eager-bfloat16", 9.002), ("torch-eager-float32", None)):
        with pytest.raises(SystemExit, match=f"the sides differ.* that of {side}"):
            train.require_equal("regard-float32", 9.0, side, float("nan") if loss is None else loss)


def measured(seconds, peak, loss=9.0):
    facts = {"settings": {}, "versions": {}, "processor": {}, "peak_memory_mib": 1, "first_step_seconds": 1.0}
    return {**facts, "seconds": seconds, "peak_flops": peak, "exact_loss": loss, "last_loss": 8.0}


def test_a_side_with_another_loss_ends_the_comparison_in_its_first_round(script, monkeypatch):
    train, rows = script("train"), {"regard-float32": measured(1, 1), "torch-eager-float32": measured(1, 1, loss=8.9)}
    monkeypatch.setattr(train, "make_model", lambda size, directory: None)
    monkeypatch.setattr(train, "measure", lambda name, *_: rows[name])
    pythons = {"regard": "r", "torch": "t"}
    with pytest.raises(SystemExit, match="the sides differ"):
        train.compare("small", list(rows), 2, None, pythons)
    rows["torch-eager-float32"] = measured(1, 1)
    assert [len(each) for each in train.compare("small", list(rows), 2, None, pythons).values()] == [2, 2]


def test_shares_are_of_the_fastest_product_in_the_same_dtype_and_ratios_go_round_by_round(script):
    train = script("train")
    found = {
        "regard-bfloat16": [measured(1.0, 2e11), measured(2.0, 2e11)],
        "torch-eager-bfloat16": [measured(2.0, 4e11), measured(8.0, 4e11)],
        "kerashub-jax-bfloat16": [measured(0.5, None), measured(0.5, None)],
        "torch-eager-float32": [measured(9.0, 1e11), measured(9.0, 1e11)],
    }
    sides = train.summaries(train.SIZES["small"], found)
    ours, other = sides["regard-bfloat16"], sides["torch-eager-bfloat16"]
    assert (ours["peak_gflops"], ours["machine_peak_gflops"]) == (200, 400)
    assert ours["share_of_peak"] == pytest.approx(train.flops_of_step(train.SIZES["small"]) * 0.75 / 4e11)
    assert (other["ratios"], other["first_side"]) == ([0.5, 0.25], "regard-bfloat16")
    assert sides["kerashub-jax-bfloat16"]["peak_gflops"] is None
    said = train.verdict("small", sides)  # JAX's side is faster, but no rival
    assert said.startswith("small: regard-bfloat16 is 3.00 times as fast as torch-eager-bfloat16,")


def test_kerashub_finds_gpt2s_rates_of_dropout_in_its_config(script):
    config = script("train_sizes").SIZES["gpt2"].config
    assert [config[key] for key in ("resid_pdrop", "embd_pdrop", "attn_pdrop")] == [0.1] * 3


def test_kills_are_counted_by_phase_and_a_phase_without_one_is_seen(script):
    kill = script("kill")
    tally = kill.Tally()
    tally.add(kill.VALIDATING, [])
    tally.add(kill.CHECKPOINT, ["a checkpoint"])
    tally.add(kill.CHECKPOINT, [])
    record = tally.record()
    assert record["where"] == {**dict.fromkeys(kill.PHASES, 0), kill.VALIDATING: 1, kill.CHECKPOINT: 2}
    assert record["half_written"] == {"a checkpoint": 1}


def test_what_a_kill_leaves_half_written_is_seen(script, tmp_path):
    kill = script("kill")
    whole = tmp_path / "checkpoints" / "step-00000003"
    whole.mkdir(parents=True)
    (whole / "manifest.json").touch()
    assert kill.half_written(tmp_path) == []
    (tmp_path / "checkpoints" / "step-00000006.tmp").mkdir()
    (tmp_path / ".model-abc").mkdir()
    assert kill.half_written(tmp_path) == ["a checkpoint", "the model"]


def test_a_process_tells_its_phase(script, monkeypatch):
    kill = script("kill")
    seen = []

    class Work:
        def advance(self):
            seen.append(watch.phase)

        def validate(self):
            seen.append(watch.phase)

        def write(self):
            self.validate()

    watch = kill.Watch()
    watch._after(Work, "advance", kill.TRAINING)
    watch._during(Work, "validate", kill.VALIDATING)
    watch._during(Work, "write", kill.CHECKPOINT, byte=1)
    Work().advance()
    Work().advance()
    Work().validate()
    Work().write()
    assert seen == [kill.STARTING, kill.TRAINING, kill.VALIDATING, kill.CHECKPOINT]
    assert watch.phase == kill.TRAINING
    for owner, name in ((kill.trainer, "_find_start"), (kill.trainer, "_finish"), (kill.Saver, "_write")):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # put back at the end
    for name in ("_advance", "_validate"):
        monkeypatch.setattr(kill.Loop, name, getattr(kill.Loop, name))
    watch.set_up()  # AttributeError where the trainer has other names


def test_the_run_that_is_killed_has_every_part_of_the_state(script, tmp_path):
    run = script("kill").small_run(tmp_path, 45)
    training = run.training
    assert (len(run.data.train), run.data.temperature, run.model.dropout) == (2, 2.0, 0.2)
    assert (training.accumulation, training.average, training.patience) == (2, "ema", 3)


def test_a_pause_is_measured_beside_its_steps(script):
    found = script("pause").measure("tiny", 64, 6, "float32")
    assert 0 < found["pause_seconds"] <= found["longest_step_with_save_seconds"]
    assert found["pause_in_steps"] == pytest.approx(found["pause_seconds"] / found["step_seconds"])
    assert found["checkpoint_mb"] > 1


def test_the_scaling_model_is_its_formula(script):
    scaling = script("scaling")
    measured, network = scaling.Measured(1.0, 0.2, 0.01, 10**9, 1), scaling.Network(8.0, 1e-3)  # 1 GB a second
    assert scaling.step_seconds(measured, network, 1, weak=True) == 1.0
    ring = 2 * 3 / 4 * 1.0 + 2 * 3 * 1e-3
    assert network.all_reduce(10**9, 4) == pytest.approx(ring)
    assert scaling.step_seconds(measured, network, 4, weak=True) == pytest.approx(1.0 + ring + 6e-3)
    assert scaling.step_seconds(measured, network, 4, weak=False) == pytest.approx(0.2 + 0.8 / 4 + ring + 6e-3)
    assert scaling.efficiency(measured, network, 4, weak=False) == pytest.approx(0.25 / (0.4 + ring + 6e-3))
    slow = measured._replace(batch=3.0)  # each worker makes the rows of all
    assert scaling.step_seconds(slow, network, 4, weak=True) == 12.0


def test_workers_may_not_differ_by_more_than_additions_explain(script):
    workers = script("workers")
    good = {("train", 1): {"loss": 5.0, "gradient_norm": 1.0}, ("validation", 1): {"loss": 4.0}}
    near = {("train", 1): {"loss": 5.000009, "gradient_norm": 2.0}, ("validation", 1): {"loss": 4.0}}
    far = {("train", 1): {"loss": 5.0, "gradient_norm": 1.0}, ("validation", 1): {"loss": 4.00002}}
    workers.refuse_other_losses(workers.differences(good, near), "float32")
    workers.refuse_other_losses(workers.differences(good, far), "mixed_bfloat16")
    with pytest.raises(SystemExit, match=r"the validation loss in float32 differs by 2.0e-05"):
        workers.refuse_other_losses(workers.differences(good, far), "float32")
    with pytest.raises(SystemExit, match="first of all validation of step 1"):
        workers.differences(good, {("train", 1): good["train", 1]})
    run = workers.the_run(Path("corpus"), 50, "float32")
    assert (run.model.dropout, run.training.patience, run.training.log_every) == (0.0, None, 1)
    assert run.training.dtype == "float32"


def test_each_launcher_has_results_of_its_own(script):
    assert {name: path.name for name, path in script("workers").RESULTS.items()} == {
        "local": "workers.json",
        "ray": "workers-ray.json",
    }


def test_the_pipelines_examples_have_what_its_recipes_ask_for(script, tmp_path):
    pipeline = script("pipeline")
    listing = pipeline.write_examples(tmp_path / "examples", 3)
    lines = [json.loads(line) for line in listing.read_text("utf-8").splitlines()]
    assert [line["label"] for line in lines] == ["0", "1", "2"]
    for line in lines:
        assert (listing.parent / line["image"]).exists()
        assert (listing.parent / line["audio"]).exists()
    for recipe in pipeline.RECIPES.values():
        run = pipeline.recipe_on(listing, recipe).run
        assert (run.data.builder, run.data.train[0].jsonl) == (None, str(listing))
        assert run.augmentation.changed(*type(run.augmentation).model_fields)
