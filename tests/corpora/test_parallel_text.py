"""Each reader of parallel text, on small data of its kind."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.corpora.catalogs import catalog_pairs, description_pairs
from regard.corpora.manpages import man_pairs, man_sections, plain
from regard.corpora.markup import aligned_blocks, handbook_blocks, html_pairs_by_id, mallard_blocks
from regard.errors import DataError


def mo_file(messages: dict[str, str]) -> bytes:
    """The GNU .mo layout: a header of seven words, two tables of (length, offset), then the strings."""
    messages = {"": "Content-Type: text/plain; charset=UTF-8\nPlural-Forms: nplurals=2; plural=n != 1;\n", **messages}
    originals = [text.encode() for text in sorted(messages)]
    translations = [messages[text.decode()].encode() for text in originals]
    start = 28 + 16 * len(messages)
    tables, strings = b"", b""
    for text in [*originals, *translations]:
        tables += struct.pack("<II", len(text), start + len(strings))
        strings += text + b"\0"
    header = struct.pack("<7I", 0x950412DE, 0, len(messages), 28, 28 + 8 * len(messages), 0, start)
    return header + tables + strings


words = st.text(st.characters(codec="utf-8", exclude_characters="\0\x04"), min_size=1, max_size=20)


@given(st.dictionaries(words, words, max_size=6))
def test_a_catalogue_gives_each_message_with_its_translation(messages: dict[str, str]) -> None:
    assert dict(catalog_pairs(mo_file(messages), "x.mo")) == messages


def test_the_context_of_a_message_is_no_part_of_it() -> None:
    assert list(catalog_pairs(mo_file({"menu|file\x04Open": "Öffnen"}), "x.mo")) == [("Open", "Öffnen")]


def test_a_plural_message_gives_every_form_with_the_singular() -> None:
    pairs = list(catalog_pairs(mo_file({"one file\0many files": "eine Datei\0viele Dateien"}), "x.mo"))
    assert pairs == [("one file", "eine Datei"), ("one file", "viele Dateien")]


@pytest.mark.parametrize("content", [b"", b"not a catalogue", mo_file({"a": "b"})[:40]])
def test_a_damaged_catalogue_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(DataError, match=r"x\.mo is not a gettext catalogue"):
        list(catalog_pairs(content, "x.mo"))


ENGLISH_INDEX = """Package: a
Description-md5: 11
Description-en: a game
 It is played
 by two.
 .
 It has:
  * cards
  * dice that
    roll

Package: b
Description-md5: 22
Description-en: a tool
 First.
 .
 Second.

Package: c
Description-md5: 33
Description-en: nobody translated this
"""
GERMAN_INDEX = """Package: a
Description-md5: 11
Description-de: ein Spiel
 Man spielt es
 zu zweit.
 .
 Es hat:
  * Karten
  * Würfel, die
    rollen

Package: b
Description-md5: 22
Description-de: ein Werkzeug
 Alles in einem.
"""


def test_descriptions_pair_by_hash_and_paragraph() -> None:
    assert list(description_pairs(ENGLISH_INDEX, GERMAN_INDEX)) == [
        ("a game", "ein Spiel"),
        ("It is played by two.", "Man spielt es zu zweit."),
        ("It has:", "Es hat:"),
        ("cards", "Karten"),
        ("dice that roll", "Würfel, die rollen"),
        ("a tool", "ein Werkzeug"),  # two paragraphs against one: the synopsis alone
    ]


def help_page(title: str, text: str, other: str) -> str:
    return f"""<html><head><title>no</title><script>var a = "<p id='x'>no</p>";</script></head><body>
    <h1 id="hd_1" dir="auto"><a name="top"></a>{title}</h1><p>no id</p>
    <p id="par_1">{text} <span class="emph">now</span><br>.</p>
    <ul><li><p id="par_2">{other}<script>no()</script></p></li></ul>
    </body></html>"""


def test_help_pages_pair_by_tag_and_id() -> None:
    pairs = html_pairs_by_id(help_page("A", "B &amp; C", "D"), help_page("Ä", "B und C", "E"))
    assert list(pairs) == [("A", "Ä"), ("B & C now.", "B und C now."), ("D", "E")]


def test_ids_that_a_page_repeats_pair_in_order_or_not_at_all() -> None:
    two = '<p id="a">{}</p><p id="a">{}</p><p id="b">{}</p>'
    assert list(html_pairs_by_id(two.format("1", "2", "3"), two.format("i", "ii", "iii"))) == [
        ("1", "i"),
        ("2", "ii"),
        ("3", "iii"),
    ]
    assert list(html_pairs_by_id(two.format("1", "2", "3"), '<p id="a">i</p><p id="b">iii</p>')) == [("3", "iii")]


def test_a_wording_for_another_system_is_left_out_of_a_help_paragraph() -> None:
    page = '<p id="a"><span hidden="true" class="MAC">Command</span><span hidden="true">Ctrl</span>+C</p>'
    assert list(html_pairs_by_id(page, page)) == [("Ctrl+C", "Ctrl+C")]


def test_handbook_paragraphs_keep_their_own_text_apart_from_nested_ones() -> None:
    nested = '<div class="para">outer <ul><li><div class="para">inner</div></li></ul> end</div>'
    page = f'<h2 class="title">T</h2>{nested}<p>no</p>'
    assert handbook_blocks(page) == [("h2", "T"), ("div", "inner"), ("div", "outer  end")]


def test_mallard_pages_give_titles_descriptions_and_paragraphs() -> None:
    page = """<page xmlns="http://projectmallard.org/1.0/"><info><desc>About.</desc><credit><name>Me</name></credit></info>
    <title>Title</title><list><item><p>Do <gui>this</gui>.</p></item></list><screen>ls -l</screen></page>"""
    assert mallard_blocks(page) == [("desc", "About."), ("title", "Title"), ("p", "Do this.")]


def test_a_mallard_page_that_is_not_well_formed_is_refused() -> None:
    with pytest.raises(DataError, match="not well-formed"):
        mallard_blocks("<page><p></page>")


def test_blocks_pair_only_if_their_kinds_are_the_same_sequence() -> None:
    assert list(aligned_blocks([("p", "a"), ("h1", "b")], [("p", "c"), ("h1", "d")])) == [("a", "c"), ("b", "d")]
    assert not list(aligned_blocks([("p", "a")], [("h1", "c")]))
    assert not list(aligned_blocks([("p", "a")], [("p", "b"), ("p", "c")]))


MAN_PAGE = r"""'\" t
.\" a comment
.TH ACCEPT 2 2022 "Linux"
.SH NAME
accept \- take a connection
.SH SYNOPSIS
.nf
int accept(int s);
.fi
.SH "DESCRIPTION HERE"
The
.BR accept (2)
call \fBnow\fP waits.  \" aside
.PP
It is the user\(aqs \[dq]own\[dq] choice.
.TP
.B EAGAIN
Try again.
.TS
a table
.TE
.SS Errors
None.
"""


def test_a_man_page_gives_its_sections_as_plain_paragraphs() -> None:
    assert [[" ".join(text.split()) for text in section] for section in man_sections(MAN_PAGE)] == [
        ["accept - take a connection"],
        [],
        ["The accept(2) call now waits.", 'It is the user\'s "own" choice.', "EAGAIN", "Try again."],
        ["None."],
    ]


def test_man_pages_pair_where_a_section_has_as_many_paragraphs() -> None:
    english = ".SH NAME\na\n.SH DESCRIPTION\nb\n.PP\nc\n.SH NOTES\nd\n"
    german = ".SH BEZEICHNUNG\nA\n.SH BESCHREIBUNG\nB\n.SH ANMERKUNGEN\nD\n.SH ÜBERSETZUNG\nvon X\n"
    assert list(man_pairs(english, german)) == [("a", "A"), ("d", "D")]
    assert not list(man_pairs(german, english))


@pytest.mark.parametrize("page", [".Dd 2020\n.Sh NAME\na\n.SH X\ny\n", ".so man2/accept.2\n"])
def test_a_page_of_other_macros_or_of_another_page_gives_nothing(page: str) -> None:
    assert man_sections(page) == []


@pytest.mark.parametrize(
    ("roff", "text"),
    [
        (r"\fIa\fP\-b\f[B]c\f(CWd\fR", "a-bcd"),
        (r"x\&.y\|z\~w", "x.yz w"),
        (r"\(lqa\(rq \[em] \*(aq", "“a” — '"),
        (r"a\s-1B\s0c", "aBc"),
        (r"C:\ework", "C:\\work"),
        (r"\[nonsense]a", "\\a"),
    ],
)
def test_roff_escapes_become_what_a_reader_sees(roff: str, text: str) -> None:
    assert plain(roff) == text
