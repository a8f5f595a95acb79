"""Three families of questions from Debian's packages, all of them together, and these as text for text.

Extractive: {"question", "context", "answers"} of SQuAD, its "answers" empty where the context has none. As text for
text the source holds both, and the target is the answer, or NO_ANSWER (Raffel et al. 2020, appendix D).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from regard.batch import Example
from regard.corpora.corpus import Corpora, Pinned, Report, check_pinned
from regard.corpora.descriptions import DESCRIPTIONS_ORIGIN, read_descriptions, without_shared
from regard.corpora.fetch import Fetcher
from regard.corpora.question_pages import definition_questions, man_pages, python_pages
from regard.corpora.questions import Page, Question, questions_of, split_questions

NO_ANSWER = "unanswerable"
SPLITS_BELOW = (100, 150)  # test and validation, of a thousand pages or source packages

PINNED = {
    "questions-manpages": Pinned(4_896, 133, 606, "6729640f40575091f1958e32cd19195b4d06b6621f9ead21771249361a11020e"),
    "questions-packages": Pinned(6_680, 394, 721, "ec3b445e8c084fc48ad36496b2fdde3c4335ce3aae4f9d2798c0987a864881cb"),
    "questions-python": Pinned(8_684, 346, 1_151, "24498a9e0bd6ba7a3e62d3aa5e8fa422a24faf76a01efc59fe75e9affc6e89a0"),
}

_MAN_ORIGIN = "Debian 12.15: manpages 6.03, licences by page (GPL, BSD, verbatim and more)"
_PYTHON_ORIGIN = "Debian 12.15: python3.11-doc, PSF licence"

Keyed = Iterator[tuple[str, list[Question]]]  # the key of a page, and its questions


def build_man_questions(cache: Path, report: Report) -> Corpora:
    """What a constant, an error or an option means in a page of the Linux manual."""
    return _build("questions-manpages", _man_questions, _MAN_ORIGIN, cache, report)


def build_python_questions(cache: Path, report: Report) -> Corpora:
    """What a function or a class of Python does."""
    return _build("questions-python", _python_questions, _PYTHON_ORIGIN, cache, report)


def build_package_questions(cache: Path, report: Report) -> Corpora:
    """What something is that a package's description defines."""
    return _build("questions-packages", _package_questions, DESCRIPTIONS_ORIGIN, cache, report)


def build_all_questions(cache: Path, report: Report) -> Corpora:
    """The three families, one after the other in each split, each a group that is scored by itself."""
    return joined([_named(build(cache, report), family) for family, build in FAMILIES.items()])


def _named(corpora: Corpora, family: str) -> Corpora:
    """The same questions, each with its family."""
    train, validation, test = (
        [{**each, "group": family} for each in split] for split in (corpora.train, corpora.validation, corpora.test)
    )
    return Corpora(train, validation, test, corpora.counts, corpora.source)


FAMILIES = {
    "man pages": build_man_questions,
    "Python documentation": build_python_questions,
    "package descriptions": build_package_questions,
}


def build_written_answers(cache: Path, report: Report) -> Corpora:
    """All questions as pairs of texts."""
    found = build_all_questions(cache, report)
    train, validation, test = (list(map(as_text, split)) for split in (found.train, found.validation, found.test))
    return Corpora(train, validation, test, found.counts, found.source)


def as_text(question: Question) -> Example:
    """Question and context as the source, the answer as the target, the family as the group."""
    answer = "".join(question["answers"]["text"][:1]) or NO_ANSWER
    source = f"question: {question['question']} context: {question['context']}"
    return Example(source, answer, group=question.get("group", ""))


def joined(corpora: list[Corpora]) -> Corpora:
    """The splits of several corpora end to end, their counts summed."""
    counts: Counter[str] = Counter()
    for each in corpora:
        counts.update(each.counts)
    train, validation, test = (
        [item for each in corpora for item in getattr(each, split)] for split in ("train", "validation", "test")
    )
    return Corpora(train, validation, test, dict(counts), "; ".join(each.source for each in corpora))


def _build(
    name: str,
    read: Callable[[Fetcher], Iterable[tuple[str, list[Question]]]],
    origin: str,
    cache: Path,
    report: Report,
) -> Corpora:
    counts: Counter[str] = Counter()
    splits = split_questions(read(Fetcher(cache)), counts, *SPLITS_BELOW)
    for reason, count in counts.items():
        report(f"{name}: {reason}: {count:,}")
    corpora = Corpora(splits["train"], splits["validation"], splits["test"], dict(counts), origin)
    return check_pinned(name, corpora, PINNED.get(name), "questions")


def _man_questions(fetcher: Fetcher) -> Keyed:
    return _asked(man_pages(fetcher), lambda page, term: f"What does {term} mean in {page.title}?")


def _python_questions(fetcher: Fetcher) -> Keyed:
    return _asked(python_pages(fetcher), lambda page, term: f"What is {term}?")


def _package_questions(fetcher: Fetcher) -> Keyed:
    return definition_questions(without_shared(read_descriptions(fetcher), Counter()))


def _asked(pages: Iterable[Page], ask: Callable[[Page, str], str]) -> Keyed:
    return ((page.key, list(questions_of(page, ask))) for page in pages)
