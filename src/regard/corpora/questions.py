"""Questions with verified answers, in SQuAD's form, from pages that explain terms: some have no answer in their context
(Rajpurkar et al. 2018)."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from regard.corpora.near_copies import near_copies
from regard.corpora.shared_grams import sharing
from regard.corpora.splits import Split, bucket, split_of

MOST_WORDS = 120  # of a context, unless a single entry has more
MOST_SENTENCE = 40  # words of an answer
UNANSWERABLE = 3  # one question without an answer for about so many with one

_SENTENCE = re.compile(r"(.+?[.!?])(?=\s|$)", re.DOTALL)

Question = dict[str, Any]


class Entry(NamedTuple):
    """A term and what a page says of it."""

    term: str
    text: str


class Page(NamedTuple):
    """Entries in their order. key: what a split by hash goes by."""

    key: str
    title: str
    entries: tuple[Entry, ...]


Ask = Callable[[Page, str], str]  # a page and a term -> the question


def first_sentence(text: str) -> str:
    """Up to the first full stop, or all."""
    found = _SENTENCE.match(text)
    return (found.group(1) if found else text).strip()


def questions_of(page: Page, ask: Ask) -> Iterator[Question]:
    """A question for each term whose explanation begins with a usable sentence; each context holds the neighbouring
    entries, too, which are what a reader may take for the answer."""
    for number, entries in enumerate(_contexts(page.entries)):
        context, places = _joined(entries)
        for entry, place in zip(entries, places, strict=True):
            answer = first_sentence(entry.text)
            if 2 <= len(answer.split()) <= MOST_SENTENCE and _says_once(context, entry.term):
                yield question(page.title, context, ask(page, entry.term), answer, place)
        elsewhere = [entry.term for entry in page.entries if entry.term not in context]
        for term in dict.fromkeys(elsewhere):
            if bucket(f"{page.key}\0{number}\0{term}", max(1, UNANSWERABLE * len(elsewhere))) < len(entries):
                yield question(page.title, context, ask(page, term))


def _contexts(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Neighbours together, as many as MOST_WORDS hold."""
    context: list[Entry] = []
    for entry in entries:
        if context and sum(len(each.text.split()) + 1 for each in (*context, entry)) > MOST_WORDS:
            yield context
            context = []
        context.append(entry)
    if context:
        yield context


def _joined(entries: Iterable[Entry]) -> tuple[str, list[int]]:
    """One entry a line, and where each explanation begins."""
    context, places = "", []
    for term, text in entries:
        context += f"{term}: "
        places.append(len(context))
        context += f"{text}\n"
    return context.rstrip("\n"), places


def _says_once(context: str, term: str) -> bool:
    return context.count(f"{term}: ") == 1


def question(title: str, context: str, asked: str, answer: str | None = None, place: int = 0) -> Question:
    """In SQuAD's form; without an answer, the context has none. The span is verified."""
    assert answer is None or context[place : place + len(answer)] == answer
    answers = {"text": [], "answer_start": []} if answer is None else {"text": [answer], "answer_start": [place]}
    return {"title": title, "context": context, "question": asked, "answers": answers}


def split_questions(
    pages: Iterable[tuple[str, Iterable[Question]]], counts: Counter[str], test_below: int, validation_below: int
) -> dict[Split, list[Question]]:
    """Questions with the keys of their pages, by split: a page in one alone, and no held-out answer that nearly equals
    one of training, or of which a training context has 13 words.

    Pages of the same system repeat each other's sentences, so a split by page alone would leave answers to remember.
    """
    splits: dict[Split, list[Question]] = {"train": [], "validation": [], "test": []}
    for key, asked in pages:
        counts["pages"] += 1
        splits[split_of(key, test_below, validation_below)] += asked
    contexts = list(dict.fromkeys(each["context"] for each in splits["train"]))
    trained = {first_sentence(line.partition(": ")[2]) for context in contexts for line in context.split("\n")}
    trained |= {answer for each in splits["train"] for answer in each["answers"]["text"]}
    known = {answer.casefold() for answer in trained} - {""}
    for name in ("validation", "test"):
        found = splits[name]
        answers = ["".join(each["answers"]["text"]) for each in found]
        near = near_copies([answer.casefold() for answer in answers if answer], known)
        copied = sharing(answers, contexts) | {
            place for place, answer in enumerate(answers) if answer.casefold() in near
        }
        counts[f"dropped: {name} answer in training"] += len(copied)
        splits[name] = [each for place, each in enumerate(found) if place not in copied]
    for name, found in splits.items():
        counts[name] += len(found)
        counts[f"{name}: without an answer"] += sum(not each["answers"]["text"] for each in found)
    counts["contexts"] += len({each["context"] for found in splits.values() for each in found})
    return splits
