"""Baselines of the text applications, on the corpora that the recipes use: what a model must be better than.

    python benchmarks/baselines.py summaries            # first sentence: ROUGE
    python benchmarks/baselines.py sections             # majority; TF-IDF with a linear classifier (needs scikit-learn)
    python benchmarks/baselines.py sections --limit 500 # the same, of the 500 texts that data.limit = 500 keeps
    python benchmarks/baselines.py retrieval            # BM25; --minilm adds MiniLM as it is
    python benchmarks/baselines.py questions NAME       # no answer; the line that shares most words with the question;
                                                        # and what the form of the questions alone is worth
    python benchmarks/baselines.py language             # 5-grams with Kneser-Ney smoothing, and xz: bits per byte;
                                                        # --beside RUN: a model on what xz has of single documents
    python benchmarks/baselines.py captions             # the most frequent, the nearest picture's, the references'

Each prints a table, and writes JSON with --json FILE. Scores are on the test split.
"""

import argparse
import hashlib
import io
import json
import lzma
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regard.corpora import Corpora, build
from regard.corpora.questions import first_sentence
from regard.data.records import parse_labelled
from regard.data.sampling import limited
from regard.data.sources import DropReport, Located, Place
from regard.decoding.ngrams import BEGIN, END, UNKNOWN, NGrams
from regard.metrics.answering import answer_f1, exact_match
from regard.metrics.classification import macro_f1
from regard.metrics.resampling import bootstrap, ratio
from regard.metrics.retrieval import ranks
from regard.tasks.judging.images import captions_by_image

_ASKED_FOR = re.compile(r"What (?:does (\S+) mean in .*|is (\S+)\?)$")
SAMPLED = 150  # documents
Table = dict[str, dict[str, float]]  # baseline -> score -> value


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def mean_with_interval(name: str, values: Sequence[float]) -> dict[str, float]:
    """The mean, and its 95 % interval by bootstrap."""
    statistics = np.stack([np.asarray(values, np.float64), np.ones(len(values))], 1)
    interval = bootstrap(ratio, statistics, 1000)
    low, high = interval if interval is not None else (math.nan, math.nan)
    return {name: float(np.mean(values)), f"{name} from": low, f"{name} to": high}


def summaries(_: argparse.Namespace) -> Table:
    from regard.metrics.summaries import rouge

    examples = build("package-summaries", None, print).test
    found = [rouge(first_sentence(example.source), example.target) for example in examples]
    scores = [mean_with_interval(name, [getattr(each, name) for each in found]) for name in found[0]._fields]
    return {"first sentence": {name: value for each in scores for name, value in each.items()}}


def class_scores(predicted: Sequence[str], actual: Sequence[str]) -> dict[str, float]:
    names = np.array(sorted(set(actual) | set(predicted)))
    hot = [np.asarray(labels)[:, None] == names for labels in (predicted, actual)]
    right = [float(one == other) for one, other in zip(predicted, actual, strict=True)]
    return {**mean_with_interval("accuracy", right), "macro F1": macro_f1(*hot)}


def sections(arguments: argparse.Namespace) -> Table:
    corpus = build("package-sections", None, print)
    learned = kept(corpus.train, arguments.limit)
    actual = [item["label"] for item in corpus.test]
    ((most, _count),) = Counter(item["label"] for item in learned).most_common(1)
    table = {"majority": class_scores([most] * len(actual), actual)}
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import SGDClassifier
    except ImportError:
        print("scikit-learn is not installed (pip install 'regard[baselines]'): TF-IDF is left out")
        return table
    learned_texts, texts = (
        [" ".join(item["text"].split()[: arguments.words]) for item in items] for items in (learned, corpus.test)
    )
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    train = vectorizer.fit_transform(learned_texts)
    classifier = SGDClassifier(loss="modified_huber", alpha=1e-5, random_state=0)
    classifier.fit(train, [item["label"] for item in learned])
    predicted = classifier.predict(vectorizer.transform(texts))
    return {**table, "TF-IDF, linear": class_scores(predicted.tolist(), actual)}


def kept(items: Sequence[dict[str, Any]], limit: int | None) -> list[dict[str, Any]]:
    """Those that `data.limit` keeps."""
    located = [Located(parse_labelled(item), Place("train", number)) for number, item in enumerate(items)]
    return [items[each.place.line] for each in limited(located, limit, DropReport())]


def bm25(queries: Sequence[str], documents: Sequence[str], k1: float = 1.5, b: float = 0.75) -> np.ndarray:
    """Robertson and Zaragoza 2009, equation 3.15, with the idf that is never negative: (queries, documents)."""
    counts = [Counter(words(document)) for document in documents]
    lengths = np.array([count.total() for count in counts], np.float64)
    inverted: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for place, count in enumerate(counts):
        for word, times in count.items():
            inverted[word].append((place, times))
    scores = np.zeros((len(queries), len(documents)))
    shortness = k1 * (1 - b + b * lengths / lengths.mean())
    for row, query in enumerate(queries):
        for word in set(words(query)) & inverted.keys():
            places, times = np.array(inverted[word]).T
            idf = math.log(1 + (len(documents) - len(places) + 0.5) / (len(places) + 0.5))
            scores[row, places] += idf * times * (k1 + 1) / (times + shortness[places])
    return scores


def retrieval_scores(near: np.ndarray, relevant: np.ndarray) -> dict[str, float]:
    found = ranks(near, relevant)
    return {**mean_with_interval("recall@10", found <= 10), "recall@1": float(np.mean(found == 1))}


def retrieval(arguments: argparse.Namespace) -> Table:
    items = build("package-pairs", None, print).test
    positives = list(dict.fromkeys(item["positive"] for item in items))
    relevant = np.array([positives.index(item["positive"]) for item in items])
    queries = [item["text"] for item in items]
    table = {"BM25": retrieval_scores(bm25(queries, positives), relevant)}
    if arguments.minilm:
        import regard

        embedder = regard.load("minilm")
        table["MiniLM as it is"] = retrieval_scores(embedder.vectors(queries) @ embedder.vectors(positives).T, relevant)
    return table


def nearest_line(question: str, context: str) -> str:
    """What the line says, after its term, that shares most words with the question: its first sentence. Of a context
    without terms it is the sentence, and what follows its first "is"."""
    asked = set(words(question))
    lines = [line for line in context.split("\n") if line]
    if all(re.match(r"\S+: ", line) for line in lines):
        best = max(lines, key=lambda line: len(asked & set(words(line))))
        return first_sentence(best.partition(": ")[2])
    sentences = re.split(r"(?<=[.!?]) ", context)
    best = max(sentences, key=lambda sentence: len(asked & set(words(sentence))))
    return best.partition(" is ")[2] or best


def look_up(question: str, context: str) -> str:
    """By the form that the builders give questions and contexts: the first sentence after the term that is asked for,
    where a line begins with it, or the description says what it is; else none. It is no baseline to beat, for it knows
    how the questions were made: it says what they are worth to whoever has learned that."""
    found = _ASKED_FOR.match(question)
    term = found[1] or found[2] if found else ""
    for line in context.split("\n"):
        if term and line.startswith(f"{term}: "):
            return first_sentence(line.removeprefix(f"{term}: "))
    said = re.search(rf"(?:^|(?<=[.!?] )){re.escape(term)} is ((?:an?|the) [^.!?]{{20,}}?[.!?])(?=\s|$)", context)
    return said[1] if said else ""


def questions(arguments: argparse.Namespace) -> Table:
    items = build(arguments.name, None, print).test
    answerers: dict[str, Callable[[dict[str, Any]], str]] = {
        "no answer": lambda item: "",
        "nearest line": lambda item: nearest_line(item["question"], item["context"]),
        "look-up": lambda item: look_up(item["question"], item["context"]),
    }
    table = {}
    for name, answer in answerers.items():
        pairs = [(answer(item), item["answers"]["text"]) for item in items]
        exact = mean_with_interval("exact match", [exact_match(*pair) for pair in pairs])
        table[name] = {**exact, **mean_with_interval("F1", [answer_f1(*pair) for pair in pairs])}
    return table


class Compressor:
    """Bits of a text by Kneser-Ney n-grams over its tokens: every text has some, so they compare with any model's.

    A token that training has less than twice is spelled: the unknown token's probability times that of its bytes and
    its end, by `spelled`, the like model of the training tokens' bytes; None: by no more than eight bits a byte.
    """

    def __init__(
        self, texts: Sequence[Sequence[str]], order: int, least: int = 2, spelled: "Compressor | None" = None
    ) -> None:
        seen = Counter(token for text in texts for token in text)
        self.spelled, self.known = spelled, {token for token, count in seen.items() if count >= least}
        self.ngrams = NGrams.of_texts(map(self._known, texts), order)

    def bits(self, text: Sequence[str]) -> float:
        padded = (BEGIN, *self._known(text), END)
        told = sum(
            self.ngrams.score(padded[max(0, place - self.ngrams.order) : place], padded[place])
            for place in range(1, len(padded))
        )
        return sum(self._spelling(token) for token in text if token not in self.known) - told / math.log(2)

    def _spelling(self, token: str) -> float:
        return 8.0 * (len(token.encode()) + 1) if self.spelled is None else self.spelled.bits(as_bytes(token))

    def _known(self, text: Sequence[str]) -> tuple[str, ...]:
        return tuple(token if token in self.known else UNKNOWN for token in text)


def as_bytes(token: str) -> list[str]:
    """Each as a character."""
    return list(token.encode().decode("latin-1"))


def tokens(text: str) -> list[str]:
    """Words with the white space before them, and single marks: they join to the text again."""
    return re.findall(r"\s*\w+|\s*[^\w\s]|\s+", text)


def language(arguments: argparse.Namespace) -> Table:
    corpus: Corpora = build("english", None, print)
    train, test = ([item["text"] for item in split] for split in (corpus.train, corpus.test))
    size = sum(len(text.encode()) for text in test)
    history, future = ("\n\n".join(texts).encode() for texts in (train, test))
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 26}]
    # Of documents that nearly all stand alone: of all, one is foretold by another of its source package.
    apart = sorted(test, key=lambda text: hashlib.sha256(text.encode()).digest())[:SAMPLED]
    sample = "\n\n".join(apart).encode()
    alone, after, with_sample = (
        len(lzma.compress(data, filters=filters)) for data in (history, history + future, history + b"\n\n" + sample)
    )
    parted = [tokens(text) for text in train]
    spelled = Compressor([as_bytes(token) for token in {each for text in parted for each in text}], arguments.order)
    model = Compressor(parted, arguments.order, spelled=spelled)
    bits = sum(model.bits(tokens(text)) for text in test)
    table = {
        "xz, after the training text": {"bits per byte": 8 * (after - alone) / size},
        f"xz, {len(apart)} documents after it": {"bits per byte": 8 * (with_sample - alone) / len(sample)},
        f"Kneser-Ney, {arguments.order}-grams": {"bits per byte": bits / size},
    }
    if arguments.beside is not None:
        table[f"{arguments.beside}, these {len(apart)}"] = {"bits per byte": bits_of_run(arguments.beside, set(apart))}
    return table


def bits_of_run(run: Path, texts: set[str]) -> float:
    """A language model's bits per byte on some documents of its test split, by its own evaluation."""
    lines = map(json.loads, (run / "evaluation-test.jsonl").read_text("utf-8").splitlines())
    found = [line["statistics"]["bits_per_byte"] for line in lines if line["inputs"]["text"] in texts]
    return sum(bits for bits, _ in found) / sum(size for _, size in found)


def thumbnails(images: Sequence[str]) -> np.ndarray:
    """Pictures of 64 x 64 as means of 2 x 2 pixels, each as a vector: (images, 3072)."""
    from PIL import Image

    from regard.data.objectives.files import opened

    found = np.empty((len(images), 32, 32, 3), np.float32)
    for place, image in enumerate(images):
        content = opened(image)
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as picture:
            found[place] = np.asarray(picture, np.float32).reshape(32, 2, 32, 2, 3).mean((1, 3))
    return found.reshape(len(images), -1)


def nearest(queries: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which of `known` has the least squared distance from each query."""
    squares = (known**2).sum(1)
    blocks = np.array_split(queries, max(1, len(queries) // 256))
    return np.concatenate([np.argmin(squares - 2 * block @ known.T, axis=1) for block in blocks])


def caption_scores(captions: Sequence[str], references: Sequence[list[str]], language: str) -> dict[str, float]:
    """As `regard evaluate` scores a captioner: BLEU by each picture's first reference, the others by all."""
    from regard.metrics.captions import cider_d
    from regard.metrics.translation import score

    exact = [float(caption in own) for caption, own in zip(captions, references, strict=True)]
    return {
        **mean_with_interval("CIDEr-D", cider_d(captions, references)),
        "BLEU": score(captions, [own[0] for own in references], language).bleu,
        **mean_with_interval("exact match", exact),
    }


def captions(_: argparse.Namespace) -> Table:
    corpus = build("emoji", None, print)
    said: dict[str, dict[str, str]] = defaultdict(dict)  # a training picture's captions, by language
    for example in corpus.train:
        said[example.image][example.language] = example.text
    known = list(said)
    shown = list(dict.fromkeys(example.image for example in corpus.test))
    alike = dict(zip(shown, nearest(thumbnails(shown), thumbnails(known)), strict=True))
    groups: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(dict)  # what is said of each picture
    for picture, texts in captions_by_image(corpus.test).items():
        groups[picture.group, picture.language][picture.image] = texts
    table = {}
    for (group, language), pictures in sorted(groups.items()):
        counted = Counter(example.text for example in corpus.train if example.language == language)
        most = min(counted, key=lambda text: (-counted[text], text))
        references = list(pictures.values())
        near = [said[known[alike[image]]][language] for image in pictures]
        first = [own[0] for own in references]
        written_by = {"most frequent": [most] * len(pictures), "nearest": near, "the references": first}
        for name, written in written_by.items():
            table[f"{name}, {group}, {language}"] = caption_scores(written, references, language)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE")
    verbs = parser.add_subparsers(required=True)
    verbs.add_parser("summaries").set_defaults(run=summaries)
    verb = verbs.add_parser("sections")
    verb.add_argument("--limit", type=int, help="texts to learn from, chosen as data.limit chooses them")
    verb.add_argument("--words", type=int, help="of each text the first so many")
    verb.set_defaults(run=sections)
    verb = verbs.add_parser("retrieval")
    verb.add_argument("--minilm", action="store_true")
    verb.set_defaults(run=retrieval)
    verb = verbs.add_parser("questions")
    verb.add_argument("name", choices=["questions-manpages", "questions-python", "questions-packages", "questions"])
    verb.set_defaults(run=questions)
    verb = verbs.add_parser("language")
    verb.add_argument("--order", type=int, default=5)
    verb.add_argument("--beside", type=Path, metavar="RUN", help="of a language model: its evaluation beside xz's")
    verb.set_defaults(run=language)
    verbs.add_parser("captions").set_defaults(run=captions)
    arguments = parser.parse_args()
    table = arguments.run(arguments)
    for name, scores in table.items():
        print(f"{name:28}", "  ".join(f"{score} {value:.4f}" for score, value in scores.items()))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(table, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
