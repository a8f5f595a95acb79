"""Questions from pages made here: every span is where it says, what has no answer has none, splits leak nothing."""

import gzip
import random
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from regard.corpora.descriptions import Description
from regard.corpora.question_pages import definition_questions, man_page_entries, plain_rst, python_entries
from regard.corpora.question_sets import NO_ANSWER, as_text
from regard.corpora.questions import Entry, Page, first_sentence, questions_of, split_questions
from regard.data.records import parse_answered

MAN = """.TH OPEN 2
.SH DESCRIPTION
The call opens a file.
.SH ERRORS
.TP
.B EACCES
The requested access to the file is not allowed. Or search permission is denied.
.TP
.B ENOENT
The file does not exist at all.
.TP
.BR \\-v , \\-\\-verbose
Say more about what is done.
"""
RST = """.. module:: shelf

.. function:: take(name, /)
              take(name, default)

   Return the book called *name*, as :func:`give` does with ``None``.

   Another paragraph.

.. class:: Shelf(size)

   .. method:: sort()
      :abstract:

      Put the books into the order of their names.
"""
WORDS = "amber birch cedar dune ember fjord grove heath inlet jetty knoll larch marsh north ocean pines ridge".split()


def ask(page: Page, term: str) -> str:
    return f"What is {term} in {page.title}?"


def page_of(rng: random.Random, number: int, entries: int) -> Page:
    made = [
        Entry(f"TERM_{number}_{place}", f"{' '.join(rng.choices(WORDS, k=20))}. {' '.join(rng.choices(WORDS, k=15))}.")
        for place in range(entries)
    ]
    return Page(f"page{number}", f"page{number}(1)", tuple(made))


@given(seed=st.integers(0, 2**32 - 1), entries=st.integers(1, 12))
def test_every_answer_stands_where_it_says_and_an_absent_term_has_none(seed: int, entries: int) -> None:
    page = page_of(random.Random(seed), 0, entries)
    explained = {entry.term: first_sentence(entry.text) for entry in page.entries}
    found = list(questions_of(page, ask))
    answered = [each for each in found if each["answers"]["text"]]
    assert len(answered) == entries
    for each in found:
        record = parse_answered(each)  # which refuses an answer that is not at its place
        term = each["question"].split()[2]
        assert list(record.answers) == ([explained[term]] if term in each["context"] else [])


def test_a_context_holds_the_neighbours_of_the_entry_and_some_questions_have_no_answer() -> None:
    found = list(questions_of(page_of(random.Random(0), 0, 39), ask))
    answered = [each for each in found if each["answers"]["text"]]
    assert all(each["context"].count("TERM_") >= 2 for each in answered)
    assert 0.15 < 1 - len(answered) / len(found) < 0.4


def test_splits_share_no_page_and_no_answer() -> None:
    rng = random.Random(0)
    pages = [page_of(rng, number, 5) for number in range(200)]
    repeated = "one sentence that many pages repeat word for word and that nobody should be asked about again."
    for number in range(60):
        other = repeated.replace("many", rng.choice(("some", "most", "few", "many")))
        pages.append(Page(f"copy{number}", f"copy{number}(1)", (Entry("SAME", other),)))
    counts: Counter[str] = Counter()
    splits = split_questions(((page.key, list(questions_of(page, ask))) for page in pages), counts, 200, 300)
    titles = [{each["title"] for each in found} for found in splits.values()]
    assert all(titles)
    assert not titles[0] & titles[1]
    assert not titles[0] & titles[2]
    assert not titles[1] & titles[2]
    held_out: list[dict[str, Any]] = [*splits["validation"], *splits["test"]]
    assert not any("nobody should be asked" in "".join(each["answers"]["text"]) for each in held_out)
    assert counts["dropped: test answer in training"] > 0


def test_man_pages_explain_errors_and_options() -> None:
    page = gzip.decompress(gzip.compress(MAN.encode())).decode()
    assert list(man_page_entries(page)) == [
        ("EACCES", "The requested access to the file is not allowed. Or search permission is denied."),
        ("ENOENT", "The file does not exist at all."),
        ("-v", "Say more about what is done."),
    ]


def test_python_s_documentation_explains_its_objects_in_plain_words() -> None:
    assert list(python_entries(RST)) == [
        ("shelf.take", "Return the book called name, as give does with None."),
        ("sort", "Put the books into the order of their names."),
    ]
    assert plain_rst("a :class:`~shelf.Shelf` of **bold** :ref:`books <all-books>`") == "a shelf.Shelf of bold books"


def test_a_source_is_asked_once_for_an_answer_and_no_pronoun_is_a_name() -> None:
    tool = "Tool is a program that opens boxes of any kind. "
    bodies = [
        tool,  # which every package of the source says
        f"{tool}Tool is the best of all that have ever been written. Plug is a part that goes into the program Tool.",
        "This is a package that nobody should be asked about by that name. It is the last one of its kind here.",
    ]
    texts = [Description(f"p{n}", "tools", "games", "x", (body,)) for n, body in enumerate(bodies)]
    asked = [(each["question"], each["answers"]["text"]) for _, own in definition_questions(texts) for each in own]
    assert [each for each in asked if each[1]] == [
        ("What is Tool?", ["a program that opens boxes of any kind."]),
        ("What is Plug?", ["a part that goes into the program Tool."]),
    ]


def test_descriptions_are_asked_for_what_they_define_and_for_what_they_do_not() -> None:
    texts = [
        Description(f"p{n}", f"s{n}", "games", "x", (f"Well. Tool{n} is a program that opens boxes number {n}. So.",))
        for n in range(7)
    ]
    found = dict(definition_questions(texts))
    (answer, *none) = found["s3"]
    assert answer["answers"]["text"] == ["a program that opens boxes number 3."]
    assert [each["question"] for each in none] == ["What is Tool2?"]
    assert none[0]["answers"] == {"text": [], "answer_start": []}
    assert as_text(none[0]).target == NO_ANSWER
    assert as_text(answer).source.startswith("question: What is Tool3? context: Well. Tool3 is a program")
    assert as_text({**answer, "group": "man pages"}).group == "man pages"
