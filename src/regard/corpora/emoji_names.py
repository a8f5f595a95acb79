"""What emoji are called in three languages: the short names of the Unicode Common Locale Data Repository."""

import json
from collections.abc import Iterable

from regard.corpora.archives import npm_files
from regard.corpora.npm import NpmFetcher, NpmPackage
from regard.errors import DataError

LANGUAGES = ("en", "de", "zh")
PACKAGES = {  # by the folder of its files
    "annotations": NpmPackage(
        "cldr-annotations-full", "48.2.0", "28576e51225deb51e3ddd734b0f824a0079682cb5d8c27faa9f68149317a14d1"
    ),
    "annotationsDerived": NpmPackage(
        "cldr-annotations-derived-full", "48.2.0", "4be946ff5815f806ec78b50363d577a769f2fbfb90c6380a44e161a92436996e"
    ),
}
_STYLED = 0xFE0F  # asks for a picture; files have it in their names or not, as it comes


def sequence(codes: Iterable[int]) -> str:
    """An emoji's characters: "1f44b-1f3fd"."""
    return "-".join(f"{code:x}" for code in codes if code != _STYLED)


def read_names(npm: NpmFetcher) -> dict[str, dict[str, str]]:
    """Sequence -> language -> name, of those that have one in each language."""
    found: dict[str, dict[str, str]] = {}
    for folder, package in PACKAGES.items():
        wanted = {language: f"package/{folder}/{language}/annotations.json" for language in LANGUAGES}
        files = npm_files(npm.package(package), tuple(wanted.values()), ("",))
        for language, path in wanted.items():
            try:
                entries = json.loads(files[path])[folder]["annotations"]
                names = {emoji: entry["tts"][0].strip() for emoji, entry in entries.items() if "tts" in entry}
            except (KeyError, ValueError, LookupError) as error:
                raise DataError(f"{package.name}: {path} is missing or damaged: {error}") from error
            for emoji, name in names.items():
                found.setdefault(sequence(map(ord, emoji)), {})[language] = name
    return {emoji: names for emoji, names in found.items() if len(names) == len(LANGUAGES)}
