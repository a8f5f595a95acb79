"""The table of the recipes, written from the records of their runs.

    python recipes/table.py                                           # writes recipes/README.md
    python recipes/table.py take runs/en-de recipes/translate/en-de.toml   # keeps a finished run's record first

A record stands beside its recipe (en-de.toml, en-de.json): what the run itself wrote down, and no figure that somebody
typed. A recipe without one is listed as not trained.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from regard.config import RunConfig, load_run
from regard.config.tasks import learnt_from
from regard.errors import ConfigError, RegardError
from regard.metrics.catalog import METRICS

RECIPES = Path(__file__).resolve().parent
SHOWN = 3  # scores of a group in the table; the record has all

HEAD = """# Recipes

Run files that train on real data, a directory a task. Each opens with what it trains, on what, and how to repeat it:

    regard train recipes/translate/en-de.toml -o runs/en-de
    regard evaluate runs/en-de

This page is written by `python recipes/table.py` from the records of the runs, which stand beside the recipes; a record
is taken by `python recipes/table.py take runs/en-de recipes/translate/en-de.toml`.
"""
COLUMNS = """
In brackets: 95 % bootstrap intervals. Examples are counted as the network reads them: a long context is several
windows, texts over `data.max_tokens` are left out, equal pictures are scored once.

| recipe | data | network | trained | scores on the test split |
|---|---|---|---|---|
"""
NOT_TRAINED = """
**Without a record**, so not in the table: {}. They are not trained here, or were before runs kept records: then their
opening comments say what was measured.
"""


def main(arguments: Sequence[str]) -> int:
    try:
        if arguments and arguments[0] == "take" and len(arguments) == 3:
            take(Path(arguments[1]), Path(arguments[2]))
        elif arguments:
            print(__doc__, file=sys.stderr)
            return 2
        (RECIPES / "README.md").write_text(table(RECIPES), "utf-8")
    except RegardError as error:
        print(f"table.py: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def take(directory: Path, recipe: Path) -> None:
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
        "versions": dict(facts.versions),
        "settings": evaluation.settings,
        "signatures": evaluation.signatures,
        "test": evaluation.groups,
    }
    recipe.with_suffix(".json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")


def differing(one: RunConfig, other: RunConfig) -> list[str]:
    """The tables and keys of a run file that two runs say differently."""
    return [name for name in type(one).model_fields if getattr(one, name) != getattr(other, name)]


def table(recipes: Path) -> str:
    """The whole README."""
    rows, without = [], []
    for recipe in sorted(recipes.glob("*/*.toml")):
        name, record = recipe.relative_to(recipes).as_posix(), recipe.with_suffix(".json")
        if record.is_file():
            rows.append(row(name, load_run(recipe), json.loads(record.read_text("utf-8"))))
        else:
            without.append(f"[{name}]({name})")
    trained = COLUMNS + "".join(f"{line}\n" for line in rows) if rows else ""
    return HEAD + trained + (NOT_TRAINED.format(", ".join(without)) if without else "")


def row(name: str, run: RunConfig, record: Mapping[str, Any]) -> str:
    data = f"{run.data.builder or 'files'}: {record['examples'].get('train', 0):,} to train, {_tested(record):,} scored"
    network = f"{record['network']}; {record['parameters'] / 1e6:,.1f} M parameters"
    trained = [f"{record['steps']:,} steps"]
    if record["tokens"]:
        trained.append(f"{record['tokens'] / 1e6:,.1f} M {learnt_from(run.task)}")
    if record["minutes"] is not None:
        trained.append(f"{record['minutes']:,.0f} minutes")
    scores = "<br>".join(_scores(record["test"]))
    return f"| [{name}]({name}) | {data} | {network} | {', '.join(trained)} | {scores} |"


def _tested(record: Mapping[str, Any]) -> int:
    return sum(group["examples"] for group in record["test"] if group["name"] != "all" or len(record["test"]) == 1)


def _scores(groups: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for group in groups:
        shown = ", ".join(_score(name, scored) for name, scored in list(group["scores"].items())[:SHOWN])
        yield shown if group["name"] == "all" else f"{group['name']}: {shown}"


def _score(name: str, scored: Mapping[str, Any]) -> str:
    metric = METRICS[name]
    interval = metric.interval_text(scored["interval"])
    return f"{metric.title} {metric.text(scored['value'])}" + (f" ({interval})" if interval else "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
