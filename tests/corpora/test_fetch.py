"""Pinned files: from the cache without a network, from apt otherwise, never with another hash.

A script stands in for apt-get, so that nothing is downloaded.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from regard.corpora import fetch
from regard.corpora.fetch import Fetcher, Index, Package
from regard.errors import FetchError

CONTENT = b"the package"
PACKAGE = Package("some-docs", "1:2.0-1", hashlib.sha256(CONTENT).hexdigest())
INDEX = Index("de", hashlib.sha256(b"Package: a\n").hexdigest())

APT = """#!/bin/sh
echo "$@" >> "$LOG"
case "$*" in
  *" update"*) echo "$UPDATE_COMPLAINT" >&2; exit "${UPDATE_STATUS:-0}";;
  *" download "*) [ -n "$OFFER" ] || { echo "E: Version '1:2.0-1' for 'some-docs' was not found" >&2; exit 100; }
     printf '%s' "$OFFER" > some-docs_1%3a2.0-1_all.deb;;
  *indextargets*) printf '/lists/updates_Translation-de\\n/lists/main_Translation-de\\n';;
  *cat-file*) [ -z "$UNREADABLE" ] || { echo "E: $UNREADABLE" >&2; exit 100; };;
esac
case "$*" in
  *updates_Translation-de*) printf 'Package: other\\n';;
  *main_Translation-de*) printf 'Package: a\\n';;
esac
"""


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for apt-get and apt-helper; the file returned logs its calls."""
    programs, log = tmp_path / "bin", tmp_path / "log"
    programs.mkdir()
    log.touch()
    for name in ("apt-get", "apt-helper"):
        (programs / name).write_text(APT)
        (programs / name).chmod(0o755)
    monkeypatch.setattr(fetch, "_APT_HELPER", str(programs / "apt-helper"))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("LOG", str(log))
    monkeypatch.setenv("OFFER", CONTENT.decode())
    return log


def test_a_package_is_fetched_once_and_then_comes_from_the_cache(
    apt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Fetcher(tmp_path / "cache").package(PACKAGE)
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(tmp_path / "cache")
    monkeypatch.setenv("PATH", "")  # no apt at all from here
    assert Fetcher(tmp_path / "cache").package(PACKAGE) == path


def test_apt_is_told_to_keep_everything_inside_the_cache(apt: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    Fetcher(cache).package(PACKAGE)
    calls = apt.read_text().splitlines()
    assert [call.split("-o ")[-1].split(" ", 1)[1] for call in calls] == ["update", "download some-docs=1:2.0-1"]
    for call in calls:
        assert f"Dir::State::lists={cache}/" in call
        assert f"Dir::Cache={cache}/" in call
    assert (cache / "apt" / "lists" / "partial").is_dir()
    assert (cache / "apt" / "cache" / "archives" / "partial").is_dir()


def test_the_lists_are_read_once_for_many_files(apt: Path, tmp_path: Path) -> None:
    fetcher = Fetcher(tmp_path / "cache")
    fetcher.package(PACKAGE)
    fetcher.index(INDEX)
    assert apt.read_text().count(" update") == 1


def test_two_builds_at_once_wait_for_each_other(apt: Path, tmp_path: Path) -> None:
    asked = (apt.parent / "bin" / "apt-get").read_text()
    busy = '#!/bin/sh\nmkdir "$LOG.busy" || exit 100\ntrap \'rmdir "$LOG.busy"\' EXIT\nsleep 0.2\n'
    (apt.parent / "bin" / "apt-get").write_text(asked.replace("#!/bin/sh\n", busy))
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda cache: Fetcher(cache).package(PACKAGE), [tmp_path / "cache"] * 2))
    assert paths[0] == paths[1]
    assert paths[0].read_bytes() == CONTENT
    assert sum(" download " in line for line in apt.read_text().splitlines()) == 1


def test_a_package_with_another_hash_is_refused_and_not_kept(
    apt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFER", "something else")
    with pytest.raises(FetchError, match=f"some-docs 1:2.0-1 has the SHA-256 .*, but {PACKAGE.sha256} is pinned"):
        Fetcher(tmp_path / "cache").package(PACKAGE)
    assert not [path for path in (tmp_path / "cache" / "packages").rglob("*") if path.is_file()]


def test_a_damaged_file_in_the_cache_is_fetched_again(apt: Path, tmp_path: Path) -> None:
    path = Fetcher(tmp_path / "cache").package(PACKAGE)
    path.write_bytes(CONTENT[:-1])
    assert Fetcher(tmp_path / "cache").package(PACKAGE).read_bytes() == CONTENT


def test_a_version_that_no_source_offers_is_named_with_what_apt_said(
    apt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFER", "")
    with pytest.raises(FetchError, match=r"cannot fetch some-docs=1:2\.0-1: E: Version .* was not found; .*bookworm"):
        Fetcher(tmp_path / "cache").package(PACKAGE)


def test_a_failed_update_says_what_apt_said(apt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPDATE_STATUS", "100")
    monkeypatch.setenv("UPDATE_COMPLAINT", "E: The list of sources could not be read.")
    with pytest.raises(FetchError, match=r"cannot read its sources: E: The list of sources could not be read\."):
        Fetcher(tmp_path / "cache").index(INDEX)


def test_a_machine_without_apt_is_told_what_the_corpus_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FetchError, match="apt-get is not on this machine: the first build needs Debian 12") as caught:
        Fetcher(tmp_path / "cache").package(PACKAGE)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_of_several_indexes_the_pinned_one_is_taken(apt: Path, tmp_path: Path) -> None:
    assert Fetcher(tmp_path / "cache").index(INDEX).read_bytes() == b"Package: a\n"


def test_an_index_that_no_source_has_with_the_pinned_hash_is_refused(apt: Path, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="the index Translation-de has the SHA-256"):
        Fetcher(tmp_path / "cache").index(Index("de", "0" * 64))


def test_a_package_index_is_asked_for_by_its_architecture(apt: Path, tmp_path: Path) -> None:
    index = Index("amd64", INDEX.sha256, "Packages")
    assert Fetcher(tmp_path / "cache").index(index).name.startswith("Packages-amd64-")
    assert "Created-By: Packages Architecture: amd64" in apt.read_text()


def test_an_index_that_apt_cannot_read_says_why(apt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Fetcher(tmp_path / "cache").index(INDEX).read_bytes() == b"Package: a\n"
    monkeypatch.setenv("UNREADABLE", "liblz4 is missing")
    with pytest.raises(FetchError, match=r"cannot read the .* index: E: liblz4 is missing"):
        Fetcher(tmp_path / "other").index(INDEX)
