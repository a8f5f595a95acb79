"""ROUGE, copying, error rates, CIDEr-D and recall: by hand, by laws, and against other implementations."""

import random
from collections import Counter
from itertools import pairwise
from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.errors import InputError
from regard.metrics.captions import caption_words, cider_d
from regard.metrics.resampling import ratio, total
from regard.metrics.retrieval import ranks, recall_at
from regard.metrics.summaries import copied, rouge, rouge_signature
from regard.metrics.transcripts import character_errors, normalised, word_errors

words = st.lists(st.sampled_from("ab cd ef gh".split()), min_size=1, max_size=8).map(" ".join)


def longest_common(one, other):
    """By trying every subset's length downwards is too slow; the textbook's recursion is not."""
    if not one or not other:
        return 0
    if one[0] == other[0]:
        return 1 + longest_common(one[1:], other[1:])
    return max(longest_common(one[1:], other), longest_common(one, other[1:]))


@given(words, words)
def test_rouge_is_f1_of_words_of_pairs_and_of_the_longest_common_subsequence(text, reference):
    found, ours, theirs = rouge(text, reference), text.split(), reference.split()
    shared = (Counter(ours) & Counter(theirs)).total()
    assert found.rouge1 == pytest.approx(2 * shared / (len(ours) + len(theirs)))
    pairs = Counter(pairwise(ours)), Counter(pairwise(theirs))
    size = pairs[0].total() + pairs[1].total()
    assert found.rouge2 == pytest.approx(2 * (pairs[0] & pairs[1]).total() / size if size else 0)
    assert found.rouge_l == pytest.approx(2 * longest_common(ours, theirs) / (len(ours) + len(theirs)))


def test_rouge_by_hand_and_its_words_are_a_to_z():
    assert rouge("The cat sat.", "the CAT, sat down") == pytest.approx((6 / 7, 4 / 5, 6 / 7))
    assert rouge("狗", "狗") == (0, 0, 0)
    assert rouge_signature().startswith("rouge-score 0.")


def test_copied_is_the_share_of_a_texts_ngrams_that_its_source_has():
    source = "A tool that draws graphs of data"
    assert copied("draws graphs quickly", source, 1) == (2, 3)
    assert copied("draws graphs quickly", source, 2) == (1, 2)
    assert copied("Draws draws", source, 1) == (2, 2)
    assert copied("draws", source, 2) == (0, 0)


def edits(one, other):
    """Levenshtein's distance by its recurrence over one row."""
    row = list(range(len(other) + 1))
    for a in one:
        last, row[0] = row[0], row[0] + 1
        for place, b in enumerate(other, 1):
            last, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, last + (a != b))
    return row[-1]


@given(words, words)
def test_errors_are_levenshteins_distance_over_the_length_of_the_reference(text, reference):
    assert word_errors(text, reference, "none") == (edits(text.split(), reference.split()), len(reference.split()))
    assert character_errors(text, reference, "none") == (edits(text, reference), len(reference))


def test_a_corpus_error_rate_weighs_by_length_and_an_empty_side_counts():
    rows = [word_errors("a b c d", "a b c x"), word_errors("", "one two"), word_errors("too much", "")]
    assert [tuple(row) for row in rows] == [(1, 4), (2, 2), (2, 0)]
    assert total(ratio, rows) == pytest.approx(5 / 6)


def test_the_normaliser_drops_what_is_not_spoken():
    assert normalised("Mid-day,  isn’t it?", "basic") == "mid day isn't it"
    assert normalised(" Hello,\n World! ", "none") == "Hello, World!"
    assert word_errors("hello world", "Hello, world!") == (0, 2)
    assert word_errors("hello world", "Hello, world!", "none") == (2, 2)


CAPTIONS = ["a red apple", "a dog runs on the beach", "the the the the", "smiling face with open mouth", ""]
REFERENCES = [
    ["a red apple on a table", "red apple"],
    ["a dog is running on the beach", "dog at a beach"],
    ["the cat sat on the mat"],
    ["grinning face with open mouth", "smiling face", "face with an open mouth"],
    ["nothing at all to see here"],
]
# pycocoevalcap 1.2, pycocoevalcap.cider.cider_scorer.CiderScorer(n=4, sigma=6.0), on the texts above
RECORDED = [4.178322499, 2.548100454, 0.642067593, 4.180045972, 0.000000000]


def test_cider_d_is_what_the_authors_code_gives():
    assert cider_d(CAPTIONS, REFERENCES) == pytest.approx(RECORDED)


def naive_cider_d(captions, references):
    """The definition once more, over all n-grams of the data set, as vectors."""

    def grams(text, n):
        tokens = text.split()
        return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]

    scores = []
    for caption, own in zip(captions, references, strict=True):
        sums = []
        for n in (1, 2, 3, 4):
            known = sorted({gram for refs in references for ref in refs for gram in grams(ref, n)})
            df = np.array([sum(any(gram in grams(ref, n) for ref in refs) for refs in references) for gram in known])
            idf = np.log(len(references) / df) if known else np.zeros(0)
            unknown = Counter(gram for gram in grams(caption, n) if gram not in known)
            missing = sum(count**2 for count in unknown.values()) * log(len(references)) ** 2
            ours = np.array([grams(caption, n).count(gram) for gram in known]) * idf
            for ref in own:
                theirs = np.array([grams(ref, n).count(gram) for gram in known]) * idf
                norms = np.sqrt((ours @ ours + missing) * (theirs @ theirs))
                gap = len(caption.split()) - len(ref.split())
                near = np.minimum(ours, theirs) @ theirs / norms if norms else 0.0
                sums.append(near * exp(-(gap**2) / 72) / len(own))
        scores.append(10 * sum(sums) / 4)
    return scores


@given(st.lists(st.tuples(words, st.lists(words, min_size=1, max_size=3)), min_size=1, max_size=4))
def test_cider_d_is_what_its_definition_gives(rows):
    captions, references = zip(*rows, strict=True)
    assert cider_d(captions, references) == pytest.approx(naive_cider_d(captions, references))


def test_cider_d_rewards_rare_words_and_repeating_gains_nothing():
    references = [["a red apple"], ["a red car"], ["a blue car"]]
    rare, common, repeated = (
        cider_d([text, "", ""], references)[0] for text in ("apple", "red", "apple apple apple")
    )
    assert rare > common > 0
    assert repeated < rare * exp(4 / 72) + 1e-9  # what its length regains, and no more
    assert cider_d(["a red apple", "x", "y"], references)[0] == pytest.approx(7.5)  # it has no run of four words
    with pytest.raises(InputError, match="a caption for each of the 3 images, not 1"):
        cider_d(["a"], references)
    with pytest.raises(InputError, match="a reference at least"):
        cider_d(["a"], [[]])


def test_captions_are_cut_into_words_and_chinese_into_characters():
    assert caption_words("Grinning Face, with: Smiling-Eyes!") == ["grinning", "face", "with", "smiling", "eyes"]
    assert caption_words("红苹果 und Äpfel") == ["红", "苹", "果", "und", "äpfel"]


def test_a_rank_counts_what_is_as_near_and_equal_vectors_find_nothing():
    similarities = [[0.1, 0.9, 0.5], [0.3, 0.3, 0.3]]
    assert ranks(similarities, [2, 0]).tolist() == [2, 3]
    assert [recall_at(rank, 2) for rank in (1, 2, 3)] == [1, 1, 0]


def test_recall_of_random_vectors_is_chance():
    rng = random.Random(0)
    similarities = [[rng.random() for _ in range(50)] for _ in range(400)]
    found = [recall_at(rank, 10) for rank in ranks(similarities, [7] * 400)]
    assert sum(found) / 400 == pytest.approx(0.2, abs=0.06)
