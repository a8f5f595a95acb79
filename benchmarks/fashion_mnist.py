"""Fashion-MNIST's test split: a run's score, and what logistic regression and nearest neighbours reach.

    python benchmarks/fashion_mnist.py RUN [--split test] [--output FILE.json]
    python benchmarks/fashion_mnist.py RUN --baselines [--limit N]      # needs scikit-learn

Both read the prepared data of the run directory, so all sides see the same images. The interval holds 95 % of 1,000
bootstrap samples of the images. The baselines' settings (the penalty, the number of neighbours) are chosen on the
validation split, and they train on the training split alone.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Answers = NDArray[np.int64]  # a label's number for each image
PENALTIES = (0.001, 0.01, 0.1, 1.0)  # of logistic regression: C, the inverse strength
NEIGHBOURS = (1, 3, 5, 7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="A run directory.")
    parser.add_argument("--split", default="test")
    parser.add_argument("--baselines", action="store_true")
    parser.add_argument("--limit", type=int, help="Training images that the baselines see; default: all.")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    if arguments.baselines:
        scores = baselines(arguments.run / "data", arguments.split, arguments.limit)
    else:
        predicted, actual = predictions(arguments.run, arguments.split)
        scores = {"regard": scored(predicted, actual)}
    for name, score in scores.items():
        low, high = score["interval"]
        print(f"{name:24} {score['accuracy']:7.2%}  (95 %: {low:.2%} to {high:.2%})  macro F1 {score['f1']:.2%}")
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(scores, indent=1) + "\n", "utf-8")


def predictions(run: Path, split: str) -> tuple[Answers, Answers]:
    """The labels that the run's model gives to a split, and the right ones."""
    from regard.config import load_run
    from regard.data.objectives.catalog import objective_of
    from regard.data.objectives.objective import Batching
    from regard.data.shards import PreparedData
    from regard.tasks.loading import load

    prepared = PreparedData.open(run / "data")
    engine = load(run).engine
    how = Batching(batch_tokens=1, seed=0, shuffle=False, batch_rows=500)
    batches = objective_of(load_run(run / "run.toml")).of(prepared).batches(
        prepared.split(split), prepared.tokenizer, how
    )
    pairs = [
        (np.asarray(engine({"pixel_values": batch["pixel_values"]}).logits).argmax(1), batch["labels"])
        for batch in batches.epoch()
    ]
    predicted, actual = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return predicted, actual


def baselines(data: Path, split: str, limit: int | None) -> dict[str, Any]:
    """Each with the setting that is best on validation."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    train, validation, test = (read_split(data, name) for name in ("train", "validation", split))
    train = train[0][:limit], train[1][:limit]
    candidates = {
        "logistic regression": [LogisticRegression(C=penalty, max_iter=300) for penalty in PENALTIES],
        "nearest neighbours": [KNeighborsClassifier(count, algorithm="brute") for count in NEIGHBOURS],
    }
    found = {}
    for name, models in candidates.items():
        best = max((model.fit(*train) for model in models), key=lambda model: model.score(*validation))
        chosen = best.get_params().get("n_neighbors") or best.get_params()["C"]
        found[f"{name} ({chosen:g})"] = scored(best.predict(test[0]), test[1])
    return found


def read_split(data: Path, split: str) -> tuple[NDArray[np.float32], Answers]:
    """Images (n, pixels) in 0..1, of which one channel of three equal ones, and their labels; without Regard."""
    images, labels = [], []
    for file in sorted(data.glob(f"{split}-*.features.npy")):
        index = np.load(file.with_name(file.name.replace(".features", ".index")))
        pixels = np.load(file)[:, :, 0].reshape(len(index), -1)
        tokens = np.load(file.with_name(file.name.replace(".features", ".tokens")))
        images.append(pixels.astype(np.float32) / 255)
        labels.append(tokens[index[:, 0]].astype(np.int64))
    return np.concatenate(images), np.concatenate(labels)


def scored(predicted: Answers, actual: Answers, resamples: int = 1000) -> dict[str, Any]:
    """Accuracy, its interval, and the mean of the classes' F1."""
    right = (predicted == actual).astype(np.float64)
    draws = np.random.default_rng(0).integers(0, len(right), (resamples, len(right)), np.int32)
    low, high = np.quantile([right[draw].mean() for draw in draws], [0.025, 0.975])
    hits = [np.sum((predicted == c) & (actual == c)) for c in np.unique(actual)]
    shown = [np.sum(predicted == c) + np.sum(actual == c) for c in np.unique(actual)]
    f1 = float(np.mean([2 * hit / both for hit, both in zip(hits, shown, strict=True)]))
    return {"count": len(right), "accuracy": float(right.mean()), "interval": [float(low), float(high)], "f1": f1}


if __name__ == "__main__":
    main()
