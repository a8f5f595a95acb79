"""The table of the recipes is what their records say, and what has changed since is marked."""

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from regard.corpora.corpus import Pinned
from regard.errors import ConfigError, InputError

ROOT = Path(__file__).resolve().parent.parent
TOML = 'task = "classify"\n[data]\ntrain = [{jsonl = "x.jsonl"}]\n[training]\nsteps = 5000\n'
SECTIONS = 'task = "classify"\n[data]\nbuilder = "package-sections"\n[training]\nsteps = 5000\n'
RECORD = {
    "network": "encoder (bert), 1 layers",
    "parameters": 1_500_000,
    "steps": 5000,
    "tokens": 2_000_000,
    "minutes": 58.3,
    "examples": {"train": 900},
    "test": [
        {
            "name": "all",
            "examples": 70,
            "scores": {
                "accuracy": {"value": 0.812, "interval": [0.78, 0.84]},
                "macro_f1": {"value": 0.5, "interval": None},
            },
        }
    ],
}
BASELINES = {
    "builder": "package-sections",
    "examples": {"train": 800, "validation": 40, "test": 70},
    "baselines": {
        "majority": [{"name": "all", "examples": 70, "scores": {"accuracy": {"value": 0.2, "interval": [0.1, 0.3]}}}]
    },
}
PIN = Pinned(800, 40, 70, "ab")


@pytest.fixture(scope="module")
def recipes():
    spec = importlib.util.spec_from_file_location("recipes_table", ROOT / "recipes" / "table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pins(monkeypatch):
    """What package-sections is pinned to."""
    found = {"package-sections": PIN}
    monkeypatch.setattr("regard.corpora.package_texts.PINNED", found)
    return found


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "classify").mkdir()
    path = tmp_path / "classify" / "sections.toml"
    path.write_text(SECTIONS)
    return path


def written(path, content):
    path.write_text(json.dumps(content))
    return path


def test_the_readme_of_the_recipes_is_what_the_command_writes(recipes):
    assert (ROOT / "recipes" / "README.md").read_text("utf-8") == recipes.table(ROOT / "recipes")


def test_a_recipe_with_a_record_has_its_scores_and_one_without_is_named(recipes, tmp_path):
    (tmp_path / "classify").mkdir()
    for name in ("done", "open"):
        (tmp_path / "classify" / f"{name}.toml").write_text(TOML)
    (tmp_path / "classify" / "done.json").write_text(json.dumps(RECORD))
    text = recipes.table(tmp_path)
    assert "| files: 900 to train, 70 scored | encoder (bert), 1 layers; 1.5 M parameters |" in text
    assert "5,000 steps, 2.0 M tokens, 58 minutes | accuracy 81.20 % |" in text
    assert "### classify/done.toml\n\n| group | examples | the recipe |\n|---|---:|---|\n" in text
    assert "| all | 70 | accuracy 81.20 % (78.0 – 84.0)<br>macro F1 50.00 % |\n" in text
    assert "**Without a record**" in text
    (without,) = (line for line in text.splitlines() if line.startswith("**Without a record**"))
    assert "classify/open.toml" in without
    assert "classify/done.toml" not in without


def test_a_run_of_another_recipe_is_told_by_what_differs(recipes, tmp_path):
    (tmp_path / "a.toml").write_text(TOML)
    (tmp_path / "b.toml").write_text(TOML.replace("steps = 5000", "steps = 6"))
    one, other = (recipes.load_run(tmp_path / f"{name}.toml") for name in "ab")
    assert recipes.differing(one, other) == ["training"]
    assert recipes.differing(one, one) == []


def test_baselines_stand_beside_the_scores(recipes, recipe, pins, tmp_path):
    recipes.take_baselines(written(tmp_path / "found.json", BASELINES), recipe)
    assert "Without a record" in recipes.table(tmp_path)
    written(recipe.with_suffix(".json"), RECORD)
    text = recipes.table(tmp_path)
    assert "| group | examples | the recipe | majority |\n" in text
    assert "macro F1 50.00 % | accuracy 20.00 % (10.0 – 30.0) |\n" in text


def test_each_group_has_a_line_though_one_side_alone_was_scored_in_it(recipes, recipe):
    record, (one,) = dict(RECORD), BASELINES["baselines"]["majority"]
    record["test"] = [{**RECORD["test"][0], "name": name} for name in ("easy", "hard")]
    baselines = {**BASELINES, "baselines": {"majority": [{**one, "name": name} for name in ("hard", "odd")]}}
    run = recipes.load_run(recipe)
    *_, easy, hard, odd = recipes.section(
        "a.toml", run, record, {**baselines, "pinned": recipes.pinned("package-sections")}
    ).splitlines()
    assert easy == "| easy | 70 | accuracy 81.20 % (78.0 – 84.0)<br>macro F1 50.00 % | – |"
    assert hard == "| hard | 70 | accuracy 81.20 % (78.0 – 84.0)<br>macro F1 50.00 % | accuracy 20.00 % (10.0 – 30.0) |"
    assert odd == "| odd | – | – | accuracy 20.00 % (10.0 – 30.0) |"
    assert recipes.row("a.toml", run, record).endswith("| accuracy easy 81.20 %; hard 81.20 % |")


def test_baselines_of_another_builder_or_of_other_data_are_refused(recipes, recipe, pins, tmp_path):
    other = written(tmp_path / "other.json", {**BASELINES, "builder": "english"})
    with pytest.raises(ConfigError, match=r"baselines of english, but .*sections\.toml is of package-sections"):
        recipes.take_baselines(other, recipe)
    changed = written(tmp_path / "changed.json", {**BASELINES, "examples": {"train": 800, "test": 71}})
    with pytest.raises(ConfigError, match="test has 71 examples, but package-sections makes 70"):
        recipes.take_baselines(changed, recipe)
    with pytest.raises(InputError, match=r"nowhere\.json as JSON"):
        recipes.take_baselines(tmp_path / "nowhere.json", recipe)


def test_baselines_are_marked_once_their_data_has_changed(recipes, recipe, pins, tmp_path):
    recipes.take_baselines(written(tmp_path / "found.json", BASELINES), recipe)
    written(recipe.with_suffix(".json"), {key: value for key, value in RECORD.items() if key != "pinned"})
    assert "other data" not in recipes.table(tmp_path)
    pins["package-sections"] = PIN._replace(sha256="cd", test=66)
    text = recipes.table(tmp_path)
    assert "**Baselines: Scored on other data, for what package-sections builds has changed since" in text
    assert "its test split had 70 examples, and has 66.**\n" in text


def test_a_record_is_of_its_recipe_until_a_setting_changes_and_the_row_says_which(recipes, recipe):
    run = recipes.load_run(recipe)
    settings = json.loads(json.dumps(run.model_dump(mode="json", exclude_none=True)))
    record = {**RECORD, "recipe": settings, "pinned": recipes.pinned("package-sections")}
    assert list(recipes.changes(run, record)) == []
    recipe.write_text(SECTIONS + 'best = "accuracy"\n')
    assert list(recipes.changes(recipes.load_run(recipe), record)) == [
        'Trained with `training.best = "loss"` (now `"accuracy"`).'
    ]
    recipe.write_text("seed = 3\n" + SECTIONS + 'best = "accuracy"\nkeep_last = 7\nclip_norm = 0.5\n')
    (sentence,) = recipes.changes(recipes.load_run(recipe), record)
    assert "before the file changed in seed, " in sentence
    assert "training.best" in sentence
    (unread,) = recipes.changes(run, {**record, "recipe": {**settings, "gone": 1}})
    assert unread == "Trained with settings that are read no more."


def test_a_record_is_of_its_data_until_the_builder_makes_other(recipes, recipe, pins, tmp_path):
    run = recipes.load_run(recipe)
    record = json.loads(json.dumps({**RECORD, "pinned": pins}))
    assert list(recipes.changes(run, record)) == []
    pins["package-sections"] = PIN._replace(sha256="cd")
    sentence = "Scored on other data, for what package-sections builds has changed since."
    assert list(recipes.changes(run, record)) == [sentence]
    written(recipe.with_suffix(".json"), record)
    text = recipes.table(tmp_path)
    assert f"### classify/sections.toml\n\n**{sentence}**\n\n| group |" in text
    assert "58 minutes | accuracy 81.20 % (changed since) |" in text


def test_an_old_record_is_marked_by_what_it_holds(recipes, recipe, pins):
    run = recipes.load_run(recipe)
    assert list(recipes.changes(run, RECORD)) == []
    pins["package-sections"] = PIN._replace(test=69)
    assert list(recipes.changes(run, {**RECORD, "steps": 6000})) == [
        "Trained for 6,000 steps, where the file says 5,000 now.",
        "Scored on other data: package-sections has 69 test examples now.",
    ]


@pytest.fixture
def facts(recipes, recipe, monkeypatch):
    """Of a run of the recipe, whose prepared data left 20 texts to learn from out."""
    found = SimpleNamespace(
        run=recipes.load_run(recipe),
        spec=None,
        dtype="float32",
        step=5000,
        seconds=3498.0,
        data_hash="ef",
        versions={},
        **{name: RECORD[name] for name in ("parameters", "tokens")},
        examples={"train": 780, "validation": 40, "test": 70},
        dropped={"train": {"too long": 20}},
        evaluations={"test": SimpleNamespace(groups=RECORD["test"], settings={}, signatures={})},
    )
    monkeypatch.setattr("regard.explain.run_facts.facts_of", lambda directory: found)
    monkeypatch.setattr("regard.explain.card.network_words", lambda spec: "a network")
    return found


def test_a_run_is_taken_with_its_settings_and_its_data_and_nothing_is_marked(recipes, recipe, pins, facts, tmp_path):
    recipes.take(tmp_path / "run", recipe)
    record = json.loads(recipe.with_suffix(".json").read_text())
    assert recipes.parse_run(record["recipe"]) == facts.run
    assert record["pinned"] == {"package-sections": list(PIN)}
    assert "780 to train, 70 scored | a network; 1.5 M parameters | 5,000 steps," in recipes.table(tmp_path)
    assert list(recipes.changes(facts.run, record)) == []


def test_a_run_of_a_changed_recipe_of_other_data_or_without_scores_is_not_taken(recipes, recipe, pins, facts, tmp_path):
    facts.dropped["train"]["too long"] = 21
    with pytest.raises(ConfigError, match="of other data: train has 801 examples, but package-sections makes 800"):
        recipes.take(tmp_path / "run", recipe)
    recipe.write_text(f"seed = 4\n{SECTIONS}")
    with pytest.raises(ConfigError, match="it differs in seed"):
        recipes.take(tmp_path / "run", recipe)
    recipe.write_text(SECTIONS)
    facts.evaluations.clear()
    with pytest.raises(ConfigError, match="has not been evaluated"):
        recipes.take(tmp_path / "run", recipe)
    assert not recipe.with_suffix(".json").exists()


def test_every_builder_that_recipes_name_is_pinned_and_a_set_of_several_by_its_parts(recipes):
    names = {recipes.load_run(path).data.builder for path in (ROOT / "recipes").glob("*/*.toml")}
    assert all(recipes.pinned(name) for name in names)
    parts = {"questions-manpages", "questions-python", "questions-packages"}
    assert recipes.pinned("questions").keys() == recipes.pinned("written-answers").keys() == parts
    assert recipes.pinned("questions-python").keys() == {"questions-python"}
    assert recipes.pinned("emoji").keys() == {"emoji"}
    assert recipes.pinned(None) == {}


def test_a_comparison_is_kept_where_the_run_stands_second_by_name_or_by_its_weights(recipes, tmp_path, monkeypatch):
    found = {"metric": "accuracy", "group": "all", "examples": 70}
    difference = {"first": 0.7, "second": 0.75, "difference": 0.05, "interval": [0.01, 0.09], "p": 0.0123}
    ours, theirs = str(tmp_path / "ours"), "runs/theirs"

    def printed(first, second):
        content = {"first": first, "second": second, "differences": [{**found, "found": difference}]}
        return written(tmp_path / "compared.json", content)

    kept = recipes.compared(printed(theirs, ours), tmp_path / "ours")
    columns = recipes._compared({"compared": [kept]}, ["accuracy"])
    assert columns == {"above theirs": {"all": "accuracy +5.00 (+1.00 to +9.00), p 0.012"}}
    with pytest.raises(ConfigError, match="must be the second of them"):
        recipes.compared(printed(ours, theirs), tmp_path / "ours")

    monkeypatch.setattr("regard.tasks.locate.weights_mark", lambda path: "of ours")
    scores = type("Scores", (), {"weights": "of ours"})
    monkeypatch.setattr("regard.tasks.judging.records.read_scores", lambda path: scores)
    assert recipes.compared(printed(theirs, "on-theirs.json"), tmp_path / "ours")["with"] == "theirs"
    scores.weights = "of another"
    with pytest.raises(ConfigError, match="must be the second of them"):
        recipes.compared(printed(theirs, "on-theirs.json"), tmp_path / "ours")


@pytest.mark.parametrize(
    "arguments", [[], ["a", "b", "r.toml"], ["r.toml", "--baselines", "b.json", "--compare", "x.json"]], ids=str
)
def test_what_take_cannot_do_is_refused(recipes, arguments, capsys):
    with pytest.raises(SystemExit):
        recipes.main(["take", *(arguments or ["r.toml"])])
    assert "give a run and its recipe" in capsys.readouterr().err
