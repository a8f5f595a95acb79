"""Run files: every resolved run survives its own TOML, and every complaint names the key's whole path."""

import string
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.config import RunConfig, load_run, parse_run, to_toml
from regard.errors import ConfigError

MINIMAL = {"data": {"builder": "demo"}, "training": {"steps": 10}}

texts = st.text(min_size=1, max_size=30).filter(lambda text: not any(0xD800 <= ord(c) < 0xE000 for c in text))
sizes = st.integers(1, 10**9)
rates = st.floats(0, 0.999)
positive = st.floats(1e-300, 1e300)


def some(**fields) -> st.SearchStrategy[dict]:
    """A table with any of these keys."""
    return st.fixed_dictionaries({}, optional=fields)


corpora = st.one_of(
    st.fixed_dictionaries({"source": texts, "target": texts}, optional={"weight": positive, "source_lang": texts}),
    st.fixed_dictionaries({"tsv": texts}, optional={"weight": positive}),
    st.fixed_dictionaries({"jsonl": texts}, optional={"target_lang": texts}),
)
data = st.one_of(
    st.fixed_dictionaries({"builder": texts}, optional={"language_tags": st.booleans(), "max_tokens": st.integers(2)}),
    st.fixed_dictionaries(
        {"train": st.lists(corpora, min_size=1, max_size=3)},
        optional={"validation": st.lists(corpora, max_size=2), "max_ratio": st.floats(1.001, 1e6), "workers": sizes},
    ),
)
schedules = st.one_of(
    some(warmup_steps=sizes, scale=positive),
    st.fixed_dictionaries({"name": st.just("inverse_sqrt"), "peak": positive, "warmup_steps": sizes}),
    st.fixed_dictionaries({"name": st.sampled_from(["cosine", "linear", "constant"]), "peak": positive}),
)
trainings = st.fixed_dictionaries(
    {"steps": sizes},
    optional={
        "minutes": positive,
        "schedule": schedules,
        "optimizer": some(name=st.sampled_from(["adam", "adamw"]), beta_2=rates, epsilon=positive),
        "clip_norm": positive,
        "dtype": st.sampled_from(["auto", "float32", "mixed_bfloat16"]),
        "tensorboard": st.booleans(),
    },
)
runs = st.fixed_dictionaries(
    {"data": data, "training": trainings},
    optional={
        "seed": st.integers(0, 2**31 - 1),
        "tokenizer": some(path=texts) | some(coverage=st.floats(0.001, 1), vocab_size=st.integers(300, 10**6)),
        "model": some(
            preset=texts, width=st.integers(2, 10**5), dropout=rates, norm_order=st.sampled_from(["pre", "post"])
        ),
        "decoding": some(length_penalty=st.floats(allow_nan=False, allow_infinity=False), num_beams=sizes),
    },
)


def complaint(values) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_run(values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def with_key(path: str, value) -> dict:
    """MINIMAL with one key set, by its dotted path."""
    values = {name: dict(table) for name, table in MINIMAL.items()}
    *parents, last = path.split(".")
    table = values
    for name in parents:
        table = table.setdefault(name, {})
    table[last] = value
    return values


@given(runs)
def test_every_run_survives_its_own_toml(values):
    run = parse_run(values)
    assert parse_run(tomllib.loads(to_toml(run))) == run


@given(runs)
def test_the_toml_of_a_run_is_stable(values):
    text = to_toml(parse_run(values))
    assert to_toml(parse_run(tomllib.loads(text))) == text


@pytest.mark.parametrize(
    "text", ['"', "\\", "a\nb", "\t", "\x00", "\x7f", "数据/训练.txt", "🙂", "\u200f", "C:\\new", "#", "'"]
)
def test_any_path_can_be_written_to_toml(text):
    run = parse_run({"data": {"train": [{"tsv": text}]}, "training": {"steps": 1}})
    assert tomllib.loads(to_toml(run))["data"]["train"] == [{"tsv": text, "weight": 1.0}]


def test_a_run_file_is_read_and_the_defaults_fill_it(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('seed = 3\n[data]\nbuilder = "demo"\n[training]\nsteps = 10\n', "utf-8")
    run = load_run(path)
    assert run == parse_run(MINIMAL | {"seed": 3})
    assert (run.model.preset, run.decoding.num_beams, run.training.schedule.name) == ("base", 4, "paper")


def test_a_run_cannot_be_changed_after_it_was_checked():
    with pytest.raises(ValueError, match="frozen"):
        parse_run(MINIMAL).training.steps = 5


def test_the_model_overrides_are_what_the_file_says_beside_the_preset():
    run = parse_run(MINIMAL | {"model": {"preset": "big", "width": 64, "dropout": 0.0}})
    assert run.model.overrides() == {"width": 64, "dropout": 0.0}


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("sead", "seed"),
        ("trainning", "training"),
        ("data.bulider", "builder"),
        ("model.hedas", "heads"),
        ("tokenizer.vocabsize", "vocab_size"),
        ("training.optimizer.beta2", "beta_2"),
        ("training.schedule.warmup", "warmup_steps"),
        ("decoding.beams", "num_beams"),
    ],
)
def test_an_unknown_key_names_its_path_and_the_nearest_known_one(path, near):
    assert f"unknown key {path}: did you mean {near}?" in complaint(with_key(path, 1))


@given(st.text(string.ascii_lowercase, min_size=1, max_size=12).filter(lambda name: name not in RunConfig.model_fields))
def test_no_unknown_key_passes(name):
    assert f"unknown key {name}: " in complaint(MINIMAL | {name: 1})


def test_an_unknown_key_like_no_other_lists_the_known_ones():
    assert "unknown key decoding.xyzzy: known keys: length_penalty, length_penalty_form" in complaint(
        with_key("decoding.xyzzy", 1)
    )


def test_an_unknown_key_of_a_corpus_names_the_corpus_by_its_number():
    values = {"data": {"train": [{"tsv": "a"}, {"tsv": "b", "wieght": 2}]}, "training": {"steps": 1}}
    assert "unknown key data.train.1.wieght: did you mean weight?" in complaint(values)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", -1),
        ("seed", 2**31),
        ("task", "translation"),
        ("data.max_tokens", 1),
        ("data.max_ratio", 1.0),
        ("tokenizer.vocab_size", 10),
        ("tokenizer.coverage", 0.0),
        ("tokenizer.algorithm", "wordpiece"),
        ("model.dropout", 1.0),
        ("model.heads", 0),
        ("model.norm_order", "middle"),
        ("training.steps", "many"),
        ("training.batch_tokens", 0),
        ("training.clip_norm", -1.0),
        ("training.dtype", "float16"),
        ("training.steps", True),
        ("training.steps", 2.0),
        ("training.steps", "2"),
        ("training.minutes", True),
        ("training.minutes", float("inf")),
        ("training.tensorboard", 1),
        ("training.optimizer.beta_1", 1.0),
        ("training.schedule.scale", 0.0),
        ("decoding.num_beams", 0),
    ],
)
def test_a_value_out_of_bounds_is_named_with_its_path_and_itself(path, value):
    message = complaint(with_key(path, value))
    assert message.startswith(f"run: {path}: ")
    assert message.endswith(f"(is {value!r})")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("training.freeze", "encoder/*", "training.freeze: should be a list, [...] (is 'encoder/*')"),
        ("data.train", {"tsv": "a"}, "data.train: should be a list, [...] (is {'tsv': 'a'})"),
        ("training.optimizer", "lion", "training.optimizer: should be a table (is 'lion')"),
        ("training", 5, "training: should be a table (is 5)"),
    ],
)
def test_a_value_of_another_kind_is_told_in_the_words_of_toml(path, value, words):
    assert words in complaint(with_key(path, value))


def test_several_complaints_come_in_one_line():
    message = complaint(MINIMAL | {"seed": -1, "model": {"heads": 0}})
    assert "seed: " in message
    assert "; model.heads: " in message


@pytest.mark.parametrize("name", ["data", "training"])
def test_a_missing_table_is_named(name):
    assert complaint({key: value for key, value in MINIMAL.items() if key != name}) == f"run: {name} is missing"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("data", {}, "data: data needs either builder or train"),
        ("data", {"builder": "demo", "train": [{"tsv": "a"}]}, "data: data needs either builder or train"),
        ("data", {"train": [{}]}, "data.train.0: a corpus is either"),
        ("data", {"train": [{"tsv": "a", "jsonl": "b"}]}, "data.train.0: a corpus is either"),
        ("data", {"train": [{"source": "a"}]}, "data.train.0: source and target belong together"),
        ("training", {}, "training: training needs a budget"),
        ("training.schedule", {"name": "cosine"}, "training.schedule: schedule.peak is missing"),
        ("training.schedule", {"peak": 0.1}, "schedule.peak cannot stand beside paper, which derives its own"),
        (
            "training",
            {"steps": 9, "schedule": {"name": "cosine", "peak": 1e-3, "final": 2e-3}},
            "schedule.final must be at most schedule.peak (0.001), but is 0.002",
        ),
        ("training.schedule", {"warmup_steps": 0}, "training.schedule: schedule.warmup_steps must be at least 1"),
        (
            "training",
            {"minutes": 1.0, "schedule": {"name": "linear", "peak": 1.0}},
            "linear schedule needs training.steps or training.epochs",
        ),
        ("training", {"steps": 1, "best": "bleu", "score_examples": 0}, "training.best = 'bleu' needs"),
        ("data", {"builder": "demo", "validation": [{"tsv": "a"}]}, "data: data.validation cannot stand beside"),
        ("data", {"builder": "demo", "test": [{"tsv": "a"}]}, "data: data.test cannot stand beside data.builder"),
        ("tokenizer", {"path": "a", "vocab_size": 300}, "tokenizer: tokenizer.vocab_size is for training a tokenizer"),
        ("tokenizer", {"path": "a", "normalizer": "nfkc"}, "tokenizer.normalizer is for training a tokenizer"),
        ("training.optimizer", {"weight_decay": 0.1}, "optimizer.weight_decay is for adamw"),
        (
            "training.schedule",
            {"final": 1e-5},
            "schedule.final is for cosine, linear, restarts and wsd, but schedule.name is 'paper'",
        ),
    ],
)
def test_values_that_make_no_sense_together_are_refused(path, value, words):
    assert words in complaint(with_key(path, value))


def overridden(tmp_path, *overrides: str) -> RunConfig:
    path = tmp_path / "run.toml"
    path.write_text(to_toml(parse_run(MINIMAL)), "utf-8")
    return load_run(path, overrides)


def test_an_override_is_a_toml_value_or_a_bare_string(tmp_path):
    run = overridden(
        tmp_path,
        "seed=7",
        "model.preset=big",
        'tokenizer.path="a b"',
        "training.clip_norm = 0.5",
        "training.tensorboard=true",
    )
    assert (run.seed, run.model.preset, run.tokenizer.path) == (7, "big", "a b")
    assert (run.training.clip_norm, run.training.tensorboard) == (0.5, True)


def test_a_bare_string_is_taken_without_the_blanks_around_it(tmp_path):
    assert overridden(tmp_path, "model.preset = base ").model.preset == "base"


def test_a_whole_number_is_a_float_too():
    run = parse_run(MINIMAL | {"training": {"steps": 1, "minutes": 3, "clip_norm": 1}})
    assert (run.training.minutes, type(run.training.clip_norm)) == (3.0, float)


def test_an_override_may_hold_an_equals_sign_and_the_last_one_wins(tmp_path):
    assert overridden(tmp_path, "tokenizer.path=a=b").tokenizer.path == "a=b"
    assert overridden(tmp_path, "seed=1", "seed=2").seed == 2


def test_another_optimizer_for_a_resolved_run_brings_its_own_numbers_and_keeps_what_the_file_chose(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(to_toml(parse_run(MINIMAL | {"training": {"steps": 5, "optimizer": {"beta_2": 0.9}}})), "utf-8")
    optimizer = load_run(path, ["training.optimizer.name=lion"]).training.optimizer
    assert (optimizer.beta_1, optimizer.beta_2, optimizer.epsilon) == (0.9, 0.9, None)
    for order in (1, -1):
        asked = ["training.optimizer.name=lion", "training.optimizer.epsilon=1e-9"][::order]
        with pytest.raises(ConfigError, match=r"optimizer\.epsilon is for .*, but optimizer\.name is 'lion'"):
            load_run(path, asked)


@pytest.mark.parametrize("override", ["seed", "=1", " =1", ""])
def test_an_override_without_key_or_value_is_refused(tmp_path, override):
    with pytest.raises(ConfigError, match=r"--set wants key\.path=value"):
        overridden(tmp_path, override)


def test_an_override_below_a_value_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="seed is not a table"):
        overridden(tmp_path, "seed.low=1")


def test_an_override_with_an_unknown_key_names_file_path_and_nearest(tmp_path):
    with pytest.raises(ConfigError, match=r"run\.toml: unknown key training\.step: did you mean steps\?"):
        overridden(tmp_path, "training.step=5")


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot read the run file"), (b"\xff\xfe", "cannot read the run file"), (b"seed = ", "is not valid TOML")],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, content, words):
    path = tmp_path / "run.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as caught:
        load_run(path)
    assert str(path) in str(caught.value)


def test_a_directory_is_no_run_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot read the run file"):
        load_run(tmp_path)


TEXT = {"data": {"train": [{"text": "a.txt"}]}, "training": {"steps": 1}}
LINES = {"data": {"train": [{"jsonl": "a.jsonl"}]}, "training": {"steps": 1}}


@pytest.mark.parametrize(
    ("task", "values", "preset"),
    [
        ("translate", LINES, "base"),
        ("language-model", TEXT, "gpt2-small"),
        ("masked-language-model", TEXT, "bert-small"),
        ("span-corruption", TEXT, "t5-small"),
        ("classify", LINES, "bert-small"),
        ("tag", LINES, "bert-small"),
        ("answer", LINES, "bert-small"),
    ],
)
def test_each_task_has_defaults_of_its_own_which_survive_their_own_toml(task, values, preset):
    run = parse_run({**values, "task": task})
    assert run.model.preset == preset
    assert run.training.label_smoothing == (0.1 if task == "translate" else 0.0)
    assert parse_run(tomllib.loads(to_toml(run))) == run


@pytest.mark.parametrize(
    ("task", "path", "value", "words"),
    [
        ("language-model", "data.language_tags", True, "data.language_tags is for translate, caption, but task is"),
        ("language-model", "data.max_ratio", 2.0, "data.max_ratio is for translate"),
        ("language-model", "decoding.num_beams", 2, "decoding is for translate"),
        ("language-model", "training.score_examples", 5, "training.score_examples is for translate"),
        ("language-model", "objective.rate", 0.3, "objective.rate is for masked-language-model, span-corruption"),
        ("span-corruption", "objective.whole_words", True, "objective.whole_words is for masked-language-model"),
        ("masked-language-model", "objective.mean_span", 2.0, "objective.mean_span is for span-corruption"),
        ("masked-language-model", "objective.problem", "regression", "objective.problem is for classify"),
        ("language-model", "objective.stride", 2, "objective.stride is for tag, answer"),
        ("language-model", "training.best", "bleu", "training.best must be one of loss for language-model"),
        ("language-model", "data.train", [{"tsv": "a"}], "data.train.0: language-model reads text or jsonl"),
        ("language-model", "data.train", [{"text": "a", "target_lang": "de"}], "target_lang is for translate"),
        ("language-model", "data.train", [{"jsonl": "a", "documents": "line"}], "this corpus has no text"),
        ("language-model", "data.train", [{"text": "a", "documents": "page"}], "data.train.0.documents"),
        ("language-model", "model.from", "minilm", "model.preset is for a new network, but model.from names"),
        ("language-model", "data.curriculum", {"steps": 9}, "data.curriculum is for translate, summarise"),
        ("caption", "data.curriculum", {"steps": 9}, "data.curriculum is for translate, summarise"),
    ],
)
def test_a_key_of_another_task_is_refused_by_name(task, path, value, words):
    values = {name: dict(table) for name, table in TEXT.items()} | {"model": {"preset": "gpt2"}, "task": task}
    table, _, name = path.partition(".")
    values[table] = {**values.get(table, {}), name: value}
    assert words in complaint(values)


def test_no_length_tells_images_apart_of_which_a_curriculum_could_begin_with_the_short_ones():
    data = {"train": [{"jsonl": "a"}], "image_size": 32, "curriculum": {"steps": 4}}
    words = complaint({"task": "caption", "data": data, "training": {"steps": 1}})
    assert "data.curriculum is for translate, summarise" in words


def test_a_translator_reads_no_plain_text():
    assert "data.train.0: translate reads source or tsv or jsonl, but this corpus is text" in complaint(TEXT)


def test_the_score_of_a_classifier_is_that_of_its_problem():
    values = {**LINES, "task": "classify"}
    numbers = {"objective": {"problem": "regression"}}
    assert "is no score where" in complaint({**values, **numbers, "training": {"steps": 1, "best": "f1"}})
    assert "is no score where" in complaint({**values, "training": {"steps": 1, "best": "pearson"}})
    smoothed = {"steps": 1, "label_smoothing": 0.1}
    assert "label_smoothing is for single_label" in complaint({**values, **numbers, "training": smoothed})
    assert parse_run({**values, **numbers, "training": {"steps": 1, "best": "pearson"}}).training.best == "pearson"


def test_a_checkpoint_to_start_from_brings_its_own_tokenizer_and_sizes():
    values = {**LINES, "task": "classify", "model": {"from": "minilm"}}
    run = parse_run(values)
    assert (run.model.from_, run.model.preset) == ("minilm", None)
    assert 'from = "minilm"' in to_toml(run)
    assert parse_run(tomllib.loads(to_toml(run))) == run
    assert "tokenizer.vocab_size cannot stand beside" in complaint({**values, "tokenizer": {"vocab_size": 500}})
    assert "model.width is for a new network" in complaint({**values, "model": {"from": "minilm", "width": 8}})
    dropouts = {"dropout": 0.1, "attention_dropout": 0.0}
    assert parse_run({**values, "model": {"from": "minilm", **dropouts}}).model.dropouts() == dropouts
    assert "unknown key model.form: did you mean from?" in complaint({**values, "model": {"form": "minilm"}})
