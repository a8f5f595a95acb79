"""Baselines of the applications, on the corpora that the recipes use: what a model must be better than.

    python benchmarks/baselines.py translation NAME     # the source as its own translation: BLEU and chrF by direction
    python benchmarks/baselines.py summaries            # first sentence: ROUGE
    python benchmarks/baselines.py sections             # majority; TF-IDF with a linear classifier (needs scikit-learn)
    python benchmarks/baselines.py sections --limit 500 # the same, of the 500 texts that data.limit = 500 keeps
    python benchmarks/baselines.py retrieval            # BM25; --minilm adds MiniLM as it is
    python benchmarks/baselines.py questions NAME       # no answer; the line that shares most words with the question;
                                                        # and what the form of the questions alone is worth
    python benchmarks/baselines.py language             # 5-grams with Kneser-Ney smoothing, and xz: bits per byte;
                                                        # --beside RUN: a model on what xz has of single documents
    python benchmarks/baselines.py images               # logistic regression and nearest neighbours on the pixels of
                                                        # Fashion-MNIST (needs scikit-learn)
    python benchmarks/baselines.py captions             # the most frequent, the nearest picture's, the references'

Scores are of the whole test split, by group, with 95 % bootstrap intervals: what a baseline writes is judged as
`regard evaluate` judges a model. `--json FILE` writes them for the recipes' table, which `recipes/table.py` makes.
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
from typing import Any, NamedTuple

import numpy as np

from regard.batch import Example
from regard.corpora import Corpora, build
from regard.corpora.question_sets import NO_ANSWER
from regard.corpora.questions import first_sentence
from regard.data.records import parse_answered, parse_labelled, parse_pair
from regard.data.sampling import limited
from regard.data.sources import DropReport, Located, Place
from regard.decoding.ngrams import BEGIN, END, UNKNOWN, NGrams
from regard.metrics.catalog import METRICS
from regard.metrics.retrieval import ranks
from regard.tasks.classify import LabelScore, Ranking
from regard.tasks.judging.catalog import evaluation_of
from regard.tasks.judging.images import captions_by_image, described
from regard.tasks.judging.judgement import ALL, Judgement
from regard.tasks.judging.pairs import Search
from regard.tasks.judging.scoring import GroupScores, Scored, scores_by_group
from regard.tasks.judging.translation import direction_of

TRANSLATIONS = ["debian-en-de", "debian-de-en", "debian-en-zh", "debian-zh-en", "debian-four-ways"]
QUESTIONS = ["questions-manpages", "questions-python", "questions-packages", "questions", "written-answers"]
_ASKED_FOR = re.compile(r"What (?:does (\S+) mean in .*|is (\S+)\?)$")
SAMPLED = 150  # documents
PENALTIES = (0.001, 0.01, 0.1, 1.0)  # of logistic regression: C, the inverse strength
NEIGHBOURS = (1, 3, 5, 7)
Table = dict[str, list[GroupScores]]  # by baseline


class Written(NamedTuple):
    """A baseline's text, with what a judgement asks of a model's."""

    text: str
    finished: bool = True
    cut: int = 0


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def judged(task: str, examples: Sequence[Any], predictions: Sequence[Any], **settings: Any) -> list[GroupScores]:
    """The scores of what is predicted of each example, as `regard evaluate` has them."""
    evaluation = evaluation_of(task)
    return scores_by_group(evaluation.judge(examples, predictions, settings), pooled=evaluation.pooled)


def written(task: str, examples: Sequence[Any], texts: Sequence[str]) -> list[GroupScores]:
    return judged(task, examples, [Written(text) for text in texts])


def translation(corpus: Corpora, _: argparse.Namespace) -> Table:
    examples = sorted(corpus.test, key=direction_of)
    return {"copy": written("translate", examples, [example.source for example in examples])}


def summaries(corpus: Corpora, _: argparse.Namespace) -> Table:
    texts = [first_sentence(example.source) for example in corpus.test]
    return {"first sentence": written("summarise", corpus.test, texts)}


def labelled(items: Sequence[dict[str, Any]], labels: Sequence[str]) -> list[GroupScores]:
    rankings = [Ranking((LabelScore(label, 1.0),)) for label in labels]
    return judged("classify", list(map(parse_labelled, items)), rankings, problem="single_label")


def sections(corpus: Corpora, arguments: argparse.Namespace) -> Table:
    learned = kept(corpus.train, arguments.limit)
    ((most, _count),) = Counter(item["label"] for item in learned).most_common(1)
    table = {"majority": labelled(corpus.test, [most] * len(corpus.test))}
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
    return {**table, "TF-IDF, linear": labelled(corpus.test, predicted.tolist())}


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


def retrieval(corpus: Corpora, arguments: argparse.Namespace) -> Table:
    records = [parse_pair(item) for item in corpus.test]
    candidates = list(dict.fromkeys(record.positive for record in records))
    places = {text: place for place, text in enumerate(candidates)}
    relevant = [places[record.positive] for record in records]
    queries = [record.text for record in records]

    def scores(near: np.ndarray) -> list[GroupScores]:
        found = zip(ranks(near, relevant), near.argmax(1), strict=True)
        return judged("embed", records, [Search(int(rank), candidates[place]) for rank, place in found])

    table = {"BM25": scores(bm25(queries, candidates))}
    if arguments.minilm:
        import regard

        embedder = regard.load("minilm")
        table["MiniLM as it is"] = scores(embedder.vectors(queries) @ embedder.vectors(candidates).T)
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


def questions(corpus: Corpora, _: argparse.Namespace) -> Table:
    as_text = isinstance(corpus.test[0], Example)
    task, none = ("text-to-text", NO_ANSWER) if as_text else ("answer", "")
    posed = [posed_in(item) for item in corpus.test]
    examples = corpus.test if as_text else list(map(parse_answered, corpus.test))
    answerers: dict[str, Callable[[str, str], str]] = {
        "no answer": lambda question, context: "",
        "nearest line": nearest_line,
        "look-up": look_up,
    }
    return {
        name: written(task, examples, [answer(*each) or none for each in posed]) for name, answer in answerers.items()
    }


def posed_in(item: Any) -> tuple[str, str]:
    """Question and context, of either form of the sets."""
    if isinstance(item, Example):
        question, _, context = item.source.removeprefix("question: ").partition(" context: ")
        return question, context
    return item["question"], item["context"]


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


def language(corpus: Corpora, arguments: argparse.Namespace) -> Table:
    train, test = ([item["text"] for item in split] for split in (corpus.train, corpus.test))
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
    size = sum(len(text.encode()) for text in test)
    table = {
        "xz, after the training text": whole_text(8 * (after - alone) / size, len(test)),
        f"xz, {len(apart)} documents after it": whole_text(8 * (with_sample - alone) / len(sample), len(apart)),
        f"Kneser-Ney, {arguments.order}-grams": by_document([(text, model.bits(tokens(text))) for text in test]),
    }
    if arguments.beside is not None:
        table[f"{arguments.beside.name}, these {len(apart)}"] = by_document(bits_of_run(arguments.beside, set(apart)))
    return table


def whole_text(bits_per_byte: float, documents: int) -> list[GroupScores]:
    """Without an interval: a text that is compressed as one cannot be drawn from."""
    return [GroupScores(ALL, documents, 0, {"bits_per_byte": Scored(bits_per_byte, None, documents)})]


def by_document(bits: Sequence[tuple[str, float]]) -> list[GroupScores]:
    """Of documents and the bits that each takes."""
    return scores_by_group(
        [
            Judgement({"text": text}, "", "", {"bits_per_byte": [taken, len(text.encode())]}, quality=-taken)
            for text, taken in bits
        ]
    )


def bits_of_run(run: Path, texts: set[str]) -> list[tuple[str, float]]:
    """Documents of a language model's test split, and the bits that each takes by its own evaluation."""
    lines = map(json.loads, (run / "evaluation-test.jsonl").read_text("utf-8").splitlines())
    found = [(line["inputs"]["text"], line["statistics"]["bits_per_byte"][0]) for line in lines]
    return [(text, bits) for text, bits in found if text in texts]


def images(corpus: Corpora, arguments: argparse.Namespace) -> Table:
    """Each with the setting that is best on validation, trained on the training split alone."""
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.neighbors import KNeighborsClassifier
    except ImportError as error:
        raise SystemExit("scikit-learn is not installed: pip install 'regard[baselines]'") from error
    splits = corpus.train[: arguments.limit], corpus.validation, corpus.test
    pixels = [np.stack([pixels_of(each.image).ravel() / 255 for each in split]) for split in splits]
    labels = [[each.label for each in split] for split in splits]
    candidates = {
        "logistic regression": [LogisticRegression(C=penalty, max_iter=300) for penalty in PENALTIES],
        "nearest neighbours": [KNeighborsClassifier(count, algorithm="brute") for count in NEIGHBOURS],
    }
    table = {}
    for name, models in candidates.items():
        fitted = (model.fit(pixels[0], labels[0]) for model in models)
        best = max(fitted, key=lambda model: model.score(pixels[1], labels[1]))
        setting = best.get_params().get("n_neighbors") or best.get_params()["C"]
        rankings = [Ranking((LabelScore(label, 1.0),)) for label in best.predict(pixels[2])]
        table[f"{name} ({setting:g})"] = judged("classify-image", corpus.test, rankings)
    return table


def pixels_of(image: str) -> np.ndarray:
    """(H, W), or (H, W, 3): 0 to 255."""
    from PIL import Image

    from regard.data.objectives.files import opened

    content = opened(image)
    with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as picture:
        return np.asarray(picture, np.float32)


def thumbnails(pictures: Sequence[str]) -> np.ndarray:
    """Pictures of 64 x 64 as means of 2 x 2 pixels, each as a vector: (pictures, 3072)."""
    found = np.empty((len(pictures), 32, 32, 3), np.float32)
    for place, picture in enumerate(pictures):
        found[place] = pixels_of(picture).reshape(32, 2, 32, 2, 3).mean((1, 3))
    return found.reshape(len(pictures), -1)


def nearest(queries: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which of `known` has the least squared distance from each query."""
    squares = (known**2).sum(1)
    blocks = np.array_split(queries, max(1, len(queries) // 256))
    return np.concatenate([np.argmin(squares - 2 * block @ known.T, axis=1) for block in blocks])


def captions(corpus: Corpora, _: argparse.Namespace) -> Table:
    said: dict[str, dict[str, str]] = defaultdict(dict)  # a training picture's captions, by language
    for example in corpus.train:
        said[example.image][example.language] = example.text
    known = list(said)
    shown = list(dict.fromkeys(example.image for example in corpus.test))
    alike = dict(zip(shown, nearest(thumbnails(shown), thumbnails(known)), strict=True))
    examples = sorted(corpus.test, key=described)
    pictures = captions_by_image(examples)
    most = {language: most_frequent(corpus.train, language) for language in {each.language for each in pictures}}
    texts = {
        "most frequent": [most[picture.language] for picture in pictures],
        "nearest": [said[known[alike[picture.image]]][picture.language] for picture in pictures],
        "the references": [own[0] for own in pictures.values()],
    }
    return {name: written("caption", examples, own) for name, own in texts.items()}


def most_frequent(examples: Sequence[Any], language: str) -> str:
    """Of the captions in a language; the first by the alphabet, where several are."""
    counted = Counter(example.text for example in examples if example.language == language)
    return min(counted, key=lambda text: (-counted[text], text))


def lines_of(table: Table) -> list[str]:
    """A line a baseline and group."""
    return [
        f"{name:28} {group.name:32} {group.examples:6,}  "
        + "  ".join(map(score_text, group.scores, group.scores.values()))
        for name, groups in table.items()
        for group in groups
    ]


def score_text(name: str, scored: Scored) -> str:
    interval = METRICS[name].interval_text(scored.interval)
    return f"{METRICS[name].title} {METRICS[name].text(scored.value)}" + (f" ({interval})" if interval else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)

    def add(name: str, run: Callable[[Corpora, argparse.Namespace], Table], **defaults: str) -> argparse.ArgumentParser:
        verb = verbs.add_parser(name)
        verb.add_argument("--json", type=Path, metavar="FILE")
        verb.set_defaults(run=run, **defaults)
        return verb

    add("translation", translation).add_argument("builder", choices=TRANSLATIONS)
    add("summaries", summaries, builder="package-summaries")
    verb = add("sections", sections, builder="package-sections")
    verb.add_argument("--limit", type=int, help="texts to learn from, chosen as data.limit chooses them")
    verb.add_argument("--words", type=int, help="of each text the first so many")
    verb = add("retrieval", retrieval, builder="package-pairs")
    verb.add_argument("--minilm", action="store_true")
    add("questions", questions).add_argument("builder", choices=QUESTIONS)
    verb = add("language", language, builder="english")
    verb.add_argument("--order", type=int, default=5)
    verb.add_argument("--beside", type=Path, metavar="RUN", help="of a language model: its evaluation beside xz's")
    add("images", images, builder="fashion-mnist").add_argument("--limit", type=int, help="pictures to learn from")
    add("captions", captions, builder="emoji")
    arguments = parser.parse_args()
    corpus = build(arguments.builder, None, print)
    table = arguments.run(corpus, arguments)
    print(*lines_of(table), sep="\n")
    if arguments.json is not None:
        arguments.json.write_text(
            json.dumps(record_of(arguments.builder, corpus, table), indent=1, ensure_ascii=False) + "\n", "utf-8"
        )


def record_of(builder: str, corpus: Corpora, table: Table) -> dict[str, Any]:
    """As the recipes' table reads it."""
    return {
        "builder": builder,
        "examples": {split: len(getattr(corpus, split)) for split in ("train", "validation", "test")},
        "baselines": {name: [group.record() for group in groups] for name, groups in table.items()},
    }


if __name__ == "__main__":
    main()
