"""The table of the recipes, written from the records of their runs and of their baselines.

    python recipes/table.py                                           # writes recipes/README.md
    python recipes/table.py take runs/en-de recipes/translate/en-de.toml   # keeps a finished run's record first
    python recipes/table.py take recipes/translate/en-de.toml --baselines copy.json
    python recipes/table.py take runs/four-ways recipes/translate/four-ways.toml --compare en-de.json de-en.json

A record stands beside its recipe (en-de.toml, en-de.json): what the run itself wrote down, and no figure that somebody
typed. Its baselines stand there too (en-de.baselines.json): what `benchmarks/baselines.py ... --json FILE` wrote. A
recipe without a record is listed as not trained. A record says which settings and which data it is of, and the row of a
recipe that has changed since, or whose builder has, says so.

--compare keeps in the record what `regard evaluate --compare OTHER RUN --json` printed, a file an OTHER. Instead of
RUN a record of its model may be compared: of four directions on the data of one, which
`regard evaluate RUN --on OTHER --output FILE` writes.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regard.config import RunConfig, Section, load_run, parse_run
from regard.config.tasks import learnt_from
from regard.corpora import BUILDERS
from regard.corpora.corpus import Pinned
from regard.errors import ConfigError, InputError, RegardError
from regard.metrics.catalog import METRICS, Metric

if TYPE_CHECKING:
    from regard.explain.run_facts import RunFacts

RECIPES = Path(__file__).resolve().parent
SHOWN = 3  # scores of a group on the page, but what a task must say of itself; the record has all
ALSO = ("right_unanswerable", "copied1", "copied4")
NAMED = 3  # settings that a mark quotes; of more it has the names
WINDOWED = ("answer", "tag")  # tasks whose prepared data counts windows, of which a long text has several

HEAD = """# Recipes

Run files that train on real data, a directory a task. Each opens with what it trains, on what, and how to repeat it:

    regard train recipes/translate/en-de.toml -o runs/en-de
    regard evaluate runs/en-de

This page is written by `python recipes/table.py` from the records of the runs and of the baselines, which stand beside
the recipes; a record is taken by `python recipes/table.py take runs/en-de recipes/translate/en-de.toml`.
"""
OVERVIEW = """
| recipe | data | network | trained | scores on the test split |
|---|---|---|---|---|
"""
SCORES = """
## Scores beside the baselines

In brackets: 95 % bootstrap intervals. Examples are counted as the network reads them: a long context is several
windows, texts over `data.max_tokens` are left out, equal pictures are scored once. The baselines, of
`python benchmarks/baselines.py`, have the whole test split. "Above" another recipe: by how much this one's score is
above that one's on the same examples, and p, how often chance alone makes as large a difference.
"""
NOT_TRAINED = """
**Without a record**, so not in the tables: {}. They are not trained here, or were before runs kept records: then their
opening comments say what was measured.
"""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verb = parser.add_subparsers(dest="verb").add_parser("take")
    verb.add_argument("places", nargs="+", type=Path, metavar="[RUN] RECIPE")
    verb.add_argument("--baselines", type=Path, metavar="FILE")
    verb.add_argument("--compare", type=Path, nargs="+", default=[], metavar="FILE")
    told = parser.parse_args(arguments)
    try:
        if told.verb == "take":
            *runs, recipe = told.places
            if len(runs) > 1 or (told.compare and not runs) or not (runs or told.baselines):
                verb.error("give a run and its recipe, or a recipe and --baselines; --compare needs the run")
            if told.baselines is not None:
                take_baselines(told.baselines, recipe)
            for run in runs:
                take(run, recipe, told.compare)
        (RECIPES / "README.md").write_text(table(RECIPES), "utf-8")
    except RegardError as error:
        print(f"table.py: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def take(directory: Path, recipe: Path, comparisons: Sequence[Path] = ()) -> None:
    """Keep what a finished run says of itself beside its recipe. Raises ConfigError for a run of another one."""
    from regard.explain.card import network_words
    from regard.explain.run_facts import facts_of

    facts = facts_of(directory)
    changed = differing(facts.run, load_run(recipe))
    if changed:
        raise ConfigError(f"{directory} is no run of {recipe}: it differs in {', '.join(changed)}")
    if "test" not in facts.evaluations:
        raise ConfigError(f"{directory} has not been evaluated as it is: regard evaluate {directory}")
    evaluation = facts.evaluations["test"]
    _require_data(str(directory), facts.run, _read(facts))
    record = {
        "task": facts.run.task,
        "network": network_words(facts.spec),
        "parameters": facts.parameters,
        "steps": facts.step,
        "tokens": facts.tokens,
        "minutes": None if facts.seconds is None else round(facts.seconds / 60, 1),
        "products": facts.dtype,
        "examples": facts.examples,
        "data_hash": facts.data_hash,
        "pinned": pinned(facts.run.data.builder),
        "versions": dict(facts.versions),
        "recipe": facts.run.model_dump(mode="json", exclude_none=True),
        "settings": evaluation.settings,
        "signatures": evaluation.signatures,
        "test": evaluation.groups,
        "compared": [compared(file, directory) for file in comparisons],
    }
    _write(recipe.with_suffix(".json"), record)


def take_baselines(file: Path, recipe: Path) -> None:
    """Keep the baselines' scores beside a recipe. Raises ConfigError for those of other data."""
    found, run = _json(file), load_run(recipe)
    if found.get("builder") != run.data.builder:
        raise ConfigError(f"{file} has baselines of {found.get('builder')}, but {recipe} is of {run.data.builder}")
    _require_data(str(file), run, found["examples"])
    _write(beside(recipe), {**found, "pinned": pinned(run.data.builder)})


def beside(recipe: Path) -> Path:
    """Where the baselines of a recipe are."""
    return recipe.with_suffix(".baselines.json")


def compared(file: Path, directory: Path) -> dict[str, Any]:
    """A comparison of the run with another model, which stood first. Raises ConfigError for one without the run."""
    found = _json(file)
    sides = [found["first"], found["second"]]
    ours = [_is_of(Path(side), directory) for side in sides]
    if ours != [False, True]:
        raise ConfigError(
            f"{file} compares {' with '.join(sides)}, but {directory} must be the second of them: "
            f"regard evaluate --compare OTHER {directory} --json"
        )
    return {"with": Path(sides[0]).stem, "differences": found["differences"]}


def _is_of(side: Path, directory: Path) -> bool:
    """Whether an evaluation is of the model of a run: of the run itself, or of its weights on other data."""
    from regard.tasks.judging.records import read_scores
    from regard.tasks.locate import weights_mark

    if side.suffix != ".json":
        return side.resolve() == directory.resolve()
    return read_scores(side).weights == weights_mark(directory)


def pinned(builder: str | None) -> dict[str, Pinned]:
    """What a builder is held to, by corpus: its own, or those of the parts that it joins. Empty where nothing is."""
    if builder is None:
        return {}
    pins = getattr(sys.modules[BUILDERS[builder].build.__module__], "PINNED", None) or {}
    pins = pins if isinstance(pins, Mapping) else {builder: pins}
    return {builder: pins[builder]} if builder in pins else dict(pins)


def _sizes(builder: str | None) -> dict[str, int]:
    """Examples by split, as the builder is pinned to make them."""
    pins = pinned(builder).values()
    return (
        {split: sum(getattr(pin, split) for pin in pins) for split in ("train", "validation", "test")} if pins else {}
    )


def _read(facts: "RunFacts") -> dict[str, int]:
    """The examples of each split that was prepared, with those that were left out."""
    kept = facts.examples
    if facts.run.task in WINDOWED:
        kept = {"test": sum(group["examples"] for group in _apart(facts.evaluations["test"].groups))}
    return {split: count + sum(facts.dropped.get(split, {}).values()) for split, count in kept.items()}


def _require_data(what: str, run: RunConfig, read: Mapping[str, int]) -> None:
    for split, size in _sizes(run.data.builder).items():
        if read.get(split, size) != size:
            raise ConfigError(
                f"{what} is of other data: {split} has {read[split]:,} examples, but {run.data.builder} makes {size:,}"
            )


def _json(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {file} as JSON: {error}") from error


def _write(file: Path, record: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")


def differing(one: RunConfig, other: RunConfig) -> list[str]:
    """The tables and keys of a run file that two runs say differently."""
    return [name for name in type(one).model_fields if getattr(one, name) != getattr(other, name)]


def changes(run: RunConfig, record: Mapping[str, Any]) -> Iterator[str]:
    """What the record of a recipe, or of its baselines, is not of any more: a sentence each."""
    if "recipe" in record:
        yield from _changed_settings(run, record["recipe"])
    elif run.training.steps is not None and record.get("steps", 0) > run.training.steps:
        # An older record, without its settings.
        yield f"Trained for {record['steps']:,} steps, where the file says {run.training.steps:,} now."
    now, size = pinned(run.data.builder), _sizes(run.data.builder).get("test")
    if "pinned" in record:
        then = {name: Pinned(*pin) for name, pin in record["pinned"].items()}
        if then != now:
            before = sum(pin.test for pin in then.values())
            counts = f": its test split had {before:,} examples, and has {size:,}" if size not in (None, before) else ""
            yield f"Scored on other data, for what {run.data.builder} builds has changed since{counts}."
    elif size is not None and "test" in record and _tested(record) > size:
        yield f"Scored on other data: {run.data.builder} has {size:,} test examples now."


def _changed_settings(run: RunConfig, recipe: Mapping[str, Any]) -> Iterator[str]:
    try:
        found = list(_leaves(parse_run(recipe), run))
    except ConfigError:
        yield "Trained with settings that are read no more."
        return
    if len(found) > NAMED:
        yield f"Trained before the file changed in {', '.join(name for name, _, _ in found)}."
    elif found:
        yield f"Trained with {', '.join(f'`{name} = {then}` (now `{now}`)' for name, then, now in found)}."


def _leaves(then: Section, now: Section, path: str = "") -> Iterator[tuple[str, str, str]]:
    """The keys that two runs say differently, with what they say."""
    for name, field in type(then).model_fields.items():
        one, other, key = getattr(then, name), getattr(now, name), f"{path}{field.alias or name}"
        if isinstance(one, Section) and isinstance(other, Section):
            yield from _leaves(one, other, f"{key}.")
        elif one != other:
            yield key, json.dumps(one, default=str), json.dumps(other, default=str)


def table(recipes: Path) -> str:
    """The whole README."""
    rows, sections, without = [], [], []
    for recipe in sorted(recipes.glob("*/*.toml")):
        name = recipe.relative_to(recipes).as_posix()
        record, baselines = (
            _json(file) if file.is_file() else None for file in (recipe.with_suffix(".json"), beside(recipe))
        )
        if record is None:
            without.append(f"[{name}]({name})")
            continue
        run = load_run(recipe)
        rows.append(row(name, run, record))
        sections.append(section(name, run, record, baselines))
    trained = OVERVIEW + "".join(f"{line}\n" for line in rows) if rows else ""
    missing = NOT_TRAINED.format(", ".join(without)) if without else ""
    return HEAD + trained + missing + ("".join([SCORES, *sections]) if rows else "")


def row(name: str, run: RunConfig, record: Mapping[str, Any]) -> str:
    """A recipe's line of the overview, with the first score of each group."""
    read = f"{record['examples'].get('train', 0):,} to train, {_tested(record):,} scored"
    trained = [f"{record['steps']:,} steps"]
    if record["tokens"]:
        trained.append(f"{record['tokens'] / 1e6:,.1f} M {learnt_from(run.task)}")
    if record["minutes"] is not None:
        trained.append(f"{record['minutes']:,.0f} minutes")
    network = f"{record['network']}; {record['parameters'] / 1e6:,.1f} M parameters"
    first = next(iter(record["test"][0]["scores"]))
    scored = [(_named(group), group["scores"][first]) for group in record["test"] if first in group["scores"]]
    scores = f"{METRICS[first].title} {'; '.join(name + METRICS[first].text(one['value']) for name, one in scored)}"
    changed = " (changed since)" if next(changes(run, record), None) else ""
    data = f"{run.data.builder or 'files'}: {read}"
    return f"| {' | '.join([f'[{name}]({name})', data, network, ', '.join(trained), scores + changed])} |"


def section(name: str, run: RunConfig, record: Mapping[str, Any], baselines: Mapping[str, Any] | None) -> str:
    """A recipe's scores by group, the baselines and what it was compared with beside them; and what has changed."""
    scores = list(record["test"][0]["scores"])
    shown = [name for place, name in enumerate(scores) if place < SHOWN or name in ALSO]
    columns = {"the recipe": {group["name"]: _shown(group, shown) for group in record["test"]}}
    for other, groups in (baselines or {"baselines": {}})["baselines"].items():
        columns[other] = {group["name"]: _shown(group, shown) for group in groups}
    columns |= _compared(record, shown)
    groups = list(dict.fromkeys(group for column in columns.values() for group in column))
    counts = {group["name"]: f"{group['examples']:,}" for group in record["test"]}
    lines = [f"| {' | '.join(['group', 'examples', *columns])} |", "|---|---:|" + "---|" * len(columns)]
    for group in groups:
        cells = [column.get(group, "–") for column in columns.values()]
        lines.append(f"| {' | '.join([group, counts.get(group, '–'), *cells])} |")
    of_baselines = changes(run, baselines) if baselines is not None else ()
    marks = [*changes(run, record), *(f"Baselines: {sentence}" for sentence in of_baselines)]
    said = "".join(f"\n**{mark}**\n" for mark in marks)
    return f"\n### {name}\n{said}\n" + "".join(f"{line}\n" for line in lines)


def _tested(record: Mapping[str, Any]) -> int:
    return sum(group["examples"] for group in _apart(record["test"]))


def _apart(groups: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Without that of all together, where there are several."""
    return [group for group in groups if group["name"] != "all" or len(groups) == 1]


def _named(group: Mapping[str, Any]) -> str:
    return "" if group["name"] == "all" else f"{group['name']} "


def _shown(group: Mapping[str, Any], names: Sequence[str]) -> str:
    return "<br>".join(_score(name, group["scores"][name]) for name in names if name in group["scores"])


def _score(name: str, scored: Mapping[str, Any]) -> str:
    metric = METRICS[name]
    interval = metric.interval_text(scored["interval"])
    return f"{metric.title} {metric.text(scored['value'])}" + (f" ({interval})" if interval else "")


def _compared(record: Mapping[str, Any], shown: Sequence[str]) -> dict[str, dict[str, str]]:
    """By how much the run is above other models: a column each, by group."""
    columns: dict[str, dict[str, str]] = {}
    for comparison in record.get("compared", ()):
        groups: dict[str, list[str]] = {}
        for each in comparison["differences"]:
            if each["metric"] in shown:
                groups.setdefault(each["group"], []).append(_difference(METRICS[each["metric"]], each["found"]))
        if groups:
            columns[f"above {comparison['with']}"] = {group: "<br>".join(said) for group, said in groups.items()}
    return columns


def _difference(metric: Metric, found: Mapping[str, Any]) -> str:
    """ "BLEU +1.20 (+0.41 to +2.03), p 0.004"."""
    value, *bounds = (
        f"{metric.shown(each):+.{metric.digits}f}" for each in (found["difference"], *(found["interval"] or ()))
    )
    interval = f" ({' to '.join(bounds)})" if bounds else ""
    return f"{metric.title} {value}{interval}, p {found['p']:.3f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
