"""The one dial: what it sets, and that what the run file says wins."""

import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest

from regard.cli import main
from regard.config import TaskName, load_run, parse_run, to_toml
from regard.config.sizes import SIZES, SizeName
from regard.config.tasks import batch_key
from regard.errors import ConfigError
from regard.models.catalog import PRESETS as TRANSLATORS
from regard.models.presets import PRESETS

KINDS = {"translate": "tsv", "language-model": "text", "masked-language-model": "text", "span-corruption": "text"}

MEASURES = {"classify-image": {"image_size": 64}, "caption": {"image_size": 64}, "transcribe": {"audio_seconds": 4}}
MEASURES["transcribe-ctc"] = MEASURES["transcribe"]


def run_of(task: str, size: str | None, **tables: Any) -> Any:
    data = {"train": [{KINDS.get(task, "jsonl"): "a"}], **MEASURES.get(task, {})}
    values = {"data": data, "training": {"steps": 9}, **tables}
    return parse_run({"task": task, **({} if size is None else {"size": size}), **values})


@pytest.mark.parametrize("task", SIZES)
@pytest.mark.parametrize("size", get_args(SizeName))
def test_a_size_sets_network_rates_and_batch_together_and_survives_its_own_toml(task: str, size: str) -> None:
    run, wanted = run_of(task, size), SIZES[task][size]
    assert wanted.preset in {*PRESETS, *TRANSLATORS}
    assert run.model.preset == wanted.preset
    assert wanted.unit == batch_key(task)
    assert (getattr(run.training, wanted.unit), run.training.accumulation) == (wanted.batch, wanted.accumulation)
    schedule = run.training.schedule
    assert (schedule.name, schedule.peak, schedule.warmup_steps) == ("inverse_sqrt", wanted.peak, wanted.warmup_steps)
    assert parse_run(tomllib.loads(to_toml(run))) == run


@pytest.mark.parametrize("task", SIZES)
def test_larger_sizes_have_lower_rates_longer_warm_up_and_no_smaller_batches(task: str) -> None:
    sizes = [SIZES[task][name] for name in get_args(SizeName)]
    assert [size.peak for size in sizes] == sorted((size.peak for size in sizes), reverse=True)
    assert [size.warmup_steps for size in sizes] == sorted(size.warmup_steps for size in sizes)
    batches = [size.batch * size.accumulation for size in sizes]
    assert batches == sorted(batches)


def test_what_the_run_file_says_wins_key_by_key() -> None:
    run = run_of(
        "translate", "small", model={"width": 128}, training={"steps": 9, "accumulation": 3, "schedule": {"peak": 0.5}}
    )
    assert (run.model.preset, run.model.width) == ("small", 128)
    assert (run.training.batch_tokens, run.training.accumulation) == (2048, 3)
    assert (run.training.schedule.peak, run.training.schedule.warmup_steps) == (0.5, 500)


def test_another_schedule_brings_its_own_rates() -> None:
    schedule = run_of("translate", "small", training={"steps": 9, "schedule": {"name": "paper"}}).training.schedule
    assert (schedule.name, schedule.peak, schedule.warmup_steps) == ("paper", None, 4000)
    with pytest.raises(ConfigError, match=r"schedule.peak is missing, the highest rate, which cosine needs"):
        run_of("translate", "small", training={"steps": 9, "schedule": {"name": "cosine"}})


def test_an_optimizer_whose_rates_are_others_is_to_be_given_its_peak() -> None:
    for name in ("adafactor", "lion", "sgd"):
        with pytest.raises(ConfigError, match=rf"size sets a peak for adam, .* is '{name}': set training"):
            run_of("translate", "small", training={"steps": 9, "optimizer": {"name": name}})
    given = {"steps": 9, "optimizer": {"name": "lion"}, "schedule": {"peak": 3e-4}}
    schedule = run_of("translate", "small", training=given).training.schedule
    assert (schedule.name, schedule.peak, schedule.warmup_steps) == (
        "inverse_sqrt",
        3e-4,
        SIZES["translate"]["small"][2],
    )
    for name in ("adamw", "muon"):
        run = run_of("translate", "small", training={"steps": 9, "optimizer": {"name": name}})
        assert run.training.schedule.peak == SIZES["translate"]["small"].peak


@pytest.mark.parametrize("task", SIZES)
def test_another_size_sets_its_own_in_a_file_that_spells_the_former_one_out(task: str, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(to_toml(run_of(task, "tiny")), "utf-8")
    assert load_run(file, ["size=big"]) == run_of(task, "big")
    file.write_text(
        to_toml(run_of(task, "tiny", model={"width": 64}, training={"steps": 9, batch_key(task): 77})), "utf-8"
    )
    kept = load_run(file, ["size=big"])
    assert (kept.model.width, getattr(kept.training, batch_key(task))) == (64, 77)
    schedule = {"name": "cosine", "peak": 0.5, "warmup_steps": 3}
    file.write_text(to_toml(run_of(task, "tiny", training={"steps": 9, "schedule": schedule})), "utf-8")
    found = load_run(file, ["size=big"]).training.schedule
    assert (found.name, found.peak, found.warmup_steps) == ("cosine", 0.5, 3)


def test_without_a_size_nothing_changes() -> None:
    run = run_of("translate", None)
    assert (run.model.preset, run.training.batch_tokens, run.training.schedule.name) == ("base", 4096, "paper")


def test_an_unknown_size_and_a_size_beside_a_checkpoint_are_refused() -> None:
    with pytest.raises(ConfigError, match="size: should be 'tiny', 'small', 'base' or 'big'"):
        run_of("translate", "huge")
    with pytest.raises(ConfigError, match=r"size is for a new network, but model.from names a checkpoint"):
        run_of("classify", "small", model={"from": "minilm"})


def test_a_task_without_sizes_says_which_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regard.config.run.SIZES", {"translate": {}})
    with pytest.raises(ConfigError, match="size is for translate, but task is 'classify'"):
        run_of("classify", "small")


def test_every_task_has_sizes() -> None:
    assert set(SIZES) == set(get_args(TaskName))


def test_inspect_shows_what_a_size_sets(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.toml"
    file.write_text('size = "tiny"\n[data]\ntrain = [{ tsv = "a" }]\n[training]\nsteps = 5\n', "utf-8")
    assert main(["inspect", str(file)]) == 0
    shown = tomllib.loads(capsys.readouterr().out)
    assert (shown["model"]["preset"], shown["training"]["schedule"]["peak"]) == ("tiny", 0.002)
