"""The baselines are what they say, on texts and pictures small enough to count by hand."""

import importlib.util
import json
import math
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regard.batch import CaptionExample, Example
from regard.corpora import Corpora
from regard.corpora.question_sets import as_text
from regard.decoding.ngrams import BEGIN, END, UNKNOWN
from regard.metrics.translation import score

ROOT = Path(__file__).resolve().parent.parent
NO_OPTIONS = Namespace()


@pytest.fixture(scope="module")
def baselines():
    spec = importlib.util.spec_from_file_location("baselines", ROOT / "benchmarks" / "baselines.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def corpus_of(test, train=()):
    return Corpora(list(train), [], list(test), {}, "")


def values(groups):
    """By group and metric."""
    return {group.name: {name: scored.value for name, scored in group.scores.items()} for group in groups}


def test_bm25_is_the_formula_by_hand(baselines):
    # Three documents of 3, 2 and 5 words, 10/3 on the mean. "b" is in two of them, "d" in one, "e" in none.
    found = baselines.bm25(["b d b e", "E"], ["a b b", "B, c", "a a a c d"])
    rare, common = math.log(1 + 2.5 / 1.5), math.log(1 + 1.5 / 2.5)
    first = common * 2 * 2.5 / (2 + 1.5 * (0.25 + 0.75 * 3 / (10 / 3)))
    second = common * 1 * 2.5 / (1 + 1.5 * (0.25 + 0.75 * 2 / (10 / 3)))
    third = rare * 1 * 2.5 / (1 + 1.5 * (0.25 + 0.75 * 5 / (10 / 3)))
    np.testing.assert_allclose(found, [[first, second, third], [0, 0, 0]], rtol=1e-12)


def test_a_search_is_scored_by_the_rank_of_its_own_text_with_intervals(baselines):
    items = [{"text": "a red apple", "positive": "apple pie"}, {"text": "a green pear", "positive": "a green apple"}]
    ((name, groups),) = baselines.retrieval(corpus_of(items), Namespace(minilm=False)).items()
    assert name == "BM25"
    # "a red apple" shares "apple" with its own text, and "a" too with the other one, which comes first.
    assert values(groups)["all"] == {"recall1": 0.5, "recall10": 1.0, "reciprocal_rank": 0.75}
    assert groups[0].scores["recall1"].interval == (0.0, 1.0)


LINES = "EPERM: The file is locked. Nobody may write.\n\nENOENT: No such directory exists. Make one."
TEXT = "Wine is a drink. Ed is a line editor for small texts. It has been there for long."


def test_the_nearest_line_says_the_first_sentence_after_its_term(baselines):
    assert baselines.nearest_line("Which directory exists?", LINES) == "No such directory exists."
    assert baselines.nearest_line("What does EPERM mean?", LINES) == "The file is locked."


def test_the_nearest_sentence_says_what_follows_is(baselines):
    assert baselines.nearest_line("What is the line editor?", TEXT) == "a line editor for small texts."
    assert baselines.nearest_line("What has been there for long?", TEXT) == "It has been there for long."


def test_a_look_up_finds_the_term_that_is_asked_for_or_nothing(baselines):
    assert baselines.look_up("What does ENOENT mean in open(2)?", LINES) == "No such directory exists."
    assert baselines.look_up("What is ENOENT?", LINES) == "No such directory exists."
    assert baselines.look_up("What does ENOMEM mean in open(2)?", LINES) == ""
    assert baselines.look_up("Who wrote ENOENT?", LINES) == ""
    assert baselines.look_up("What is Ed?", TEXT) == "a line editor for small texts."
    assert baselines.look_up("What is Wine?", TEXT) == ""  # too short to have been asked for


def asked(question, context, answer, group):
    found = {"text": [answer], "answer_start": [context.index(answer)]} if answer else {"text": [], "answer_start": []}
    return {"question": question, "context": context, "answers": found, "group": group}


QUESTIONS = [
    asked("What does ENOENT mean in open(2)?", LINES, "No such directory exists.", "man pages"),
    asked("What does ENOMEM mean in open(2)?", LINES, "", "man pages"),
    asked("What is Ed?", TEXT, "a line editor for small texts.", "descriptions"),
]


def test_questions_are_scored_by_family_and_all_together(baselines):
    found = baselines.questions(corpus_of(QUESTIONS), NO_OPTIONS)
    matches = {
        name: {group: scores["exact_match"] for group, scores in values(groups).items()}
        for name, groups in found.items()
    }
    assert matches == {
        "no answer": {"descriptions": 0.0, "man pages": 0.5, "all": pytest.approx(1 / 3)},
        "nearest line": {"descriptions": 1.0, "man pages": 0.5, "all": pytest.approx(2 / 3)},
        "look-up": {"descriptions": 1.0, "man pages": 1.0, "all": 1.0},
    }


def test_questions_as_text_for_text_have_the_scores_that_they_have_as_spans(baselines):
    spans = baselines.questions(corpus_of(QUESTIONS), NO_OPTIONS)
    texts = baselines.questions(corpus_of(map(as_text, QUESTIONS)), NO_OPTIONS)
    for name, groups in texts.items():
        for group, scores in values(groups).items():
            assert scores == {metric: values(spans[name])[group][metric] for metric in ("exact_match", "f1")}


def test_a_copy_is_the_source_scored_as_its_own_translation_in_each_direction(baselines):
    pairs = {
        "de": [("Open the file menu now", "Öffnen Sie das Menü"), ("LibreOffice Base and Calc", "LibreOffice Base")],
        "zh": [("Cell A1 中文单元格一", "单元格 A1 中文单元格二"), ("Press OK", "按 OK 键")],
    }
    examples = [Example(*pair, "en", target) for target in ("zh", "de") for pair in pairs[target]]
    ((name, groups),) = baselines.translation(corpus_of([examples[0], *examples[2:], examples[1]]), NO_OPTIONS).items()
    assert name == "copy"
    assert [group.name for group in groups] == ["en → de", "en → zh"]
    for group, (target, own) in zip(groups, pairs.items(), strict=True):
        sources, targets = zip(*own, strict=True)
        expected = score(sources, targets, target, resamples=1000)
        assert group.scores["bleu"].value == pytest.approx(expected.bleu)
        assert group.scores["bleu"].interval == pytest.approx(expected.bleu_interval)
        assert group.scores["chrf"].value == pytest.approx(expected.chrf)
        assert group.scores["chrf"].interval == pytest.approx(expected.chrf_interval)
    sources, targets = zip(*pairs["zh"], strict=True)
    assert groups[1].scores["bleu"].value != pytest.approx(score(sources, targets, "de").bleu)


def test_a_first_sentence_is_scored_as_a_summary(baselines):
    examples = [Example("A small editor. It edits.", "A small editor."), Example("It plays. And more.", "Music player")]
    (groups,) = baselines.summaries(corpus_of(examples), NO_OPTIONS).values()
    assert values(groups)["all"]["rouge1"] == 0.5
    assert values(groups)["all"]["exact_match"] == 0.5


def test_the_majority_is_what_training_has_most_of(baselines):
    train = [{"text": f"{word} {word}s for all", "label": label} for word, label in zip("abc", "xxy", strict=True)]
    test = [{"text": f"{word} for all", "label": label} for word, label in zip("defg", "xyxz", strict=True)]
    groups = baselines.sections(corpus_of(test, train), Namespace(limit=None, words=None))["majority"]
    # x is predicted four times and twice right: F1 of 2/3; y and z have none.
    assert values(groups)["all"] == {"accuracy": 0.5, "macro_f1": pytest.approx(2 / 9)}
    low, high = groups[0].scores["macro_f1"].interval
    assert 0 <= low < 2 / 9 < high <= 1


SENTENCES = [["the", "cat", "sat"], ["the", "dog", "sat"], ["a", "cat", "sat"], ["a", "dog", "ran"]]


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_compressor_has_the_bits_of_probabilities_that_sum_to_one(baselines, order):
    model = baselines.Compressor(SENTENCES, order)
    known = {"the", "a", "cat", "dog", "sat"}  # "ran" is there once
    assert model.known == known

    def probability(word, before):
        return math.exp(model.ngrams.score((BEGIN, *before), word))

    for before in ([], ["the"], ["the", "cat"], ["sat", "sat"]):
        assert sum(probability(word, before) for word in (*known, UNKNOWN, END)) == pytest.approx(1)
    text = ["a", "cat", "sat"]
    product = math.prod(probability(word, text[:place]) for place, word in enumerate([*text, END]))
    assert model.bits(text) == pytest.approx(-math.log2(product))


def test_a_compressor_spells_a_token_that_it_does_not_know(baselines):
    spelled = baselines.Compressor([baselines.as_bytes(word) for word in ("cat", "cats", "dog", "dogs")], 2)
    plain, spelling = (baselines.Compressor(SENTENCES, 2, spelled=each) for each in (None, spelled))
    unknown = -plain.ngrams.score((BEGIN,), UNKNOWN) / math.log(2)
    ends = -plain.ngrams.score((UNKNOWN,), END) / math.log(2)
    assert plain.bits(["cäts"]) == pytest.approx(unknown + ends + 8 * 6)  # five bytes, and an end
    assert spelling.bits(["cats"]) == pytest.approx(unknown + ends + spelled.bits(["c", "a", "t", "s"]))
    assert baselines.as_bytes("ä") == ["\xc3", "\xa4"]


def test_tokens_join_to_the_text_again(baselines):
    text = "  Don't: panic,\n\nit's 3.5 %  "
    assert "".join(baselines.tokens(text)) == text
    assert baselines.tokens("A cat, here") == ["A", " cat", ",", " here"]


def test_bits_per_byte_have_an_interval_by_document_and_none_of_one_text(baselines):
    numbers = " ".join(str(number**3) for number in range(60))
    items = [{"text": text} for text in ("the cat sat on the mat", "the dog sat on the log", numbers)]
    found = baselines.language(corpus_of(items[1:], items[:2]), Namespace(order=2, beside=None))
    ngrams = found["Kneser-Ney, 2-grams"][0].scores["bits_per_byte"]
    (model,) = values(found["Kneser-Ney, 2-grams"]).values()
    assert ngrams.interval[0] <= model["bits_per_byte"] <= ngrams.interval[1]
    (whole,) = found["xz, after the training text"]
    assert whole.examples == 2
    assert whole.scores["bits_per_byte"].value > 0
    assert whole.scores["bits_per_byte"].interval is None


def test_documents_are_weighed_by_their_bytes(baselines):
    (group,) = baselines.by_document([("ä", 4.0), ("abcdef", 18.0)])
    assert group.scores["bits_per_byte"].value == 22 / 8
    assert group.scores["bits_per_byte"].interval == (2.0, 3.0)


def test_a_run_is_set_beside_on_the_documents_that_are_asked_for(baselines, tmp_path):
    lines = [
        {"inputs": {"text": text}, "statistics": {"bits_per_byte": [bits, 9]}} for text, bits in (("a", 3), ("b", 5))
    ]
    (tmp_path / "evaluation-test.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert baselines.bits_of_run(tmp_path, {"b", "c"}) == [("b", 5)]


def test_the_nearest_is_that_of_the_least_distance(baselines):
    rng = np.random.default_rng(0)
    queries, known = rng.normal(size=(700, 5)), 3 * rng.normal(size=(40, 5))
    distances = ((queries[:, None] - known) ** 2).sum(-1)
    np.testing.assert_array_equal(baselines.nearest(queries, known), distances.argmin(1))


@pytest.fixture
def picture(tmp_path):
    def write(name, colour, dots=()):
        image = Image.new("RGB", (64, 64), colour)
        for place in dots:
            image.putpixel(place, (255, 255, 255))
        image.save(tmp_path / f"{name}.png")
        return str(tmp_path / f"{name}.png")

    return write


def test_a_thumbnail_has_the_mean_of_two_by_two_pixels(baselines, picture):
    (found,) = baselines.thumbnails([picture("dotted", (0, 0, 40), [(2, 0), (3, 0), (63, 63)])]).reshape(1, 32, 32, 3)
    assert found[0, 1].tolist() == [127.5, 127.5, 147.5]  # row, column
    assert found[31, 31].tolist() == [63.75, 63.75, 93.75]
    assert found[1, 0].tolist() == [0, 0, 40]


def test_captions_are_of_the_nearest_picture_and_the_most_frequent_one(baselines, picture):
    red, blue, other = (picture(name, colour) for name, colour in (("r", "red"), ("b", "blue"), ("c", "black")))
    said = {red: ("red square", "ein ganz rotes Quadrat"), blue: ("square", "Quadrat"), other: ("square", "Quadrat")}
    train = [
        CaptionExample(image, text, language)
        for image, texts in said.items()
        for language, text in zip(("en", "de"), texts, strict=True)
    ]
    unseen = [picture("reddish", (230, 20, 20)), picture("bluish", (20, 20, 230))]
    test = [
        CaptionExample(unseen[0], "red square", "en", "style"),
        CaptionExample(unseen[1], "square", "en", "style"),
        CaptionExample(unseen[0], "ein ganz rotes Quadrat", "de", "style"),
        CaptionExample(unseen[0], "rot", "de", "style"),
    ]
    found = baselines.captions(corpus_of(test, train), NO_OPTIONS)
    matches = {
        name: {group: scores["exact_match"] for group, scores in values(groups).items()}
        for name, groups in found.items()
    }
    assert matches == {
        "most frequent": {"style, en": 0.5, "style, de": 0.0},
        "nearest": {"style, en": 1.0, "style, de": 1.0},
        "the references": {"style, en": 1.0, "style, de": 1.0},
    }
    assert values(found["the references"])["style, de"]["bleu"] == pytest.approx(100)  # by the first of both
    assert all(group.scores["bleu"].interval is not None for groups in found.values() for group in groups)


def test_of_captions_that_are_as_frequent_the_first_by_the_alphabet_is_taken(baselines):
    examples = [CaptionExample("x", text, "en") for text in ("b", "a", "c", "c", "b")]
    assert baselines.most_frequent([*examples, CaptionExample("x", "a", "de")], "en") == "b"


def test_the_command_prints_a_line_a_group_and_writes_what_the_recipes_table_reads(
    baselines, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(baselines, "build", lambda name, cache, report: corpus_of(QUESTIONS))
    file = tmp_path / "found.json"
    monkeypatch.setattr("sys.argv", ["baselines.py", "questions", "questions", "--json", str(file)])
    baselines.main()
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("look-up")]
    assert [line.split()[1] for line in printed] == ["descriptions", "man", "all"]
    assert "exact match 100.00 % (100.0 – 100.0)  F1 100.00 %" in printed[2]
    found = json.loads(file.read_text())
    assert (found["builder"], found["examples"]["test"]) == ("questions", 3)
    assert [group["name"] for group in found["baselines"]["no answer"]] == ["descriptions", "man pages", "all"]
