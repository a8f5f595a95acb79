"""The languages of speech by their codes and names."""

import pytest

from regard.errors import InputError
from regard.features.spoken_languages import CODES, language_code

EVERY = set(CODES.values())


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("English", "en"),
        (" gujarati", "gu"),
        ("haitian creole", "ht"),
        ("<|de|>", "de"),
        ("YUE", "yue"),
        ("de-AT", "de"),
        ("Deutsch", "de"),
        ("zh_CN", "zh"),
    ],
)
def test_a_language_goes_by_its_code_and_by_its_names(said: str, code: str) -> None:
    assert language_code(said, EVERY) == code


def test_every_language_has_a_short_code_and_a_name_of_letters() -> None:
    assert len(EVERY) == 100
    assert all(code.isalpha() and 2 <= len(code) <= 3 for code in EVERY)
    assert all(name.replace(" ", "").isalpha() for name in CODES)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("fr", "this model does not know fr: language must be one of de, en"),
        ("French", r"this model does not know french \(fr\): language must be one of de, en"),
        ("germann", "there is no language 'germann': did you mean german"),
        ("deu", "there is no language 'deu': it must be one of de, en"),
        ("qqq", "there is no language 'qqq': it must be one of de, en"),
    ],
)
def test_what_is_not_known_is_told_from_what_is_no_language(said: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        language_code(said, {"de", "en"})
