"""Debian packages and indexes, pinned by hash, through an apt that keeps everything in the cache directory.

The machine's apt sources and keys are used, its lists, archives and packages are left alone. What is in the cache with
the right hash is not asked for again, so a second build needs no network and no Debian.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from regard.errors import FetchError

_NEEDS = "the first build needs Debian 12 (bookworm) or a machine whose apt sources offer its main archive"
_APT_HELPER = "/usr/lib/apt/apt-helper"
_LANGUAGES = "en,de,zh_CN"
_ARCHITECTURE = "amd64"  # whose lists are read on any machine, so that they have the pinned hashes
_TIMEOUT = 1800  # seconds for one apt command


class Package(NamedTuple):
    """A binary package."""

    name: str
    version: str
    sha256: str  # of the .deb
    architecture: Literal["all", "amd64"] = "all"


class Index(NamedTuple):
    """A list that an archive publishes: Translation, the descriptions in one language; Packages, what it offers."""

    variety: str  # a language as apt spells it, en, de, zh_CN; of Packages an architecture, which must be _ARCHITECTURE
    sha256: str  # of the decompressed text
    kind: Literal["Translation", "Packages"] = "Translation"

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.variety}"

    @property
    def filters(self) -> tuple[str, str]:
        """How `apt-get indextargets` finds it."""
        if self.kind == "Packages":
            return "Created-By: Packages", f"Architecture: {self.variety}"
        return "Created-By: Translations", f"Language: {self.variety}"


class Fetcher:
    """Gets pinned files into `cache`; the package lists are read once, at the first need."""

    def __init__(self, cache: Path) -> None:
        self._lists = cache / "apt" / "lists"
        self._apt_cache = cache / "apt" / "cache"
        self._packages = cache / "packages"
        self._indexes = cache / "indexes"
        self._updated = False

    def package(self, package: Package) -> Path:
        """The path of the .deb.

        Raises:
            FetchError: apt is missing or does not offer this version, or the file has another hash.
        """
        path = self._packages / f"{package.name}_{package.version.replace(':', '%3a')}_{package.architecture}.deb"
        return self._kept(
            path, package.sha256, f"{package.name} {package.version}", lambda empty: self._download(package, empty)
        )

    def index(self, index: Index) -> Path:
        """The path of the decompressed index. Raises as `package` does."""
        path = self._indexes / f"{index.name}-{index.sha256[:12]}"

        def fetched(empty: Path) -> Path:
            candidate = empty / "index"
            candidate.write_bytes(self._index_content(index))
            return candidate

        return self._kept(path, index.sha256, f"the index {index.name}", fetched)

    def _kept(self, path: Path, sha256: str, name: str, fetched: Callable[[Path], Path]) -> Path:
        """The path, with the pinned file there. fetched: puts it into an empty directory, and says where it is then."""
        if not is_pinned(path, sha256):
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._alone(), tempfile.TemporaryDirectory(dir=path.parent) as directory:
                if not is_pinned(path, sha256):  # another process may have fetched it while this one waited
                    keep(fetched(Path(directory)), path, sha256, name)
        return path

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While no other process asks apt by this cache: where its lists are in use, apt fails and does not wait."""
        self._lists.parent.mkdir(parents=True, exist_ok=True)
        with (self._lists.parent / "lock").open("wb") as file:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)  # goes with the process, however it ends
            yield

    def _download(self, package: Package, directory: Path) -> Path:
        self._update()
        request = f"{package.name}={package.version}"
        result = self._apt("apt-get", "download", request, directory=directory)
        found = list(directory.glob("*.deb"))
        if result.returncode or len(found) != 1:
            raise FetchError(f"cannot fetch {request}: {_complaint(result)}; {_NEEDS}")
        return found[0]

    def _index_content(self, index: Index) -> bytes:
        """The pinned one of the machine's indexes, or else any, for the complaint about its hash."""
        self._update()
        result = self._apt("apt-get", "indextargets", "--format", "$(FILENAME)", *index.filters)
        read = [self._apt(_APT_HELPER, "cat-file", name) for name in result.stdout.decode().split("\n") if name]
        failed = next((each for each in (result, *read) if each.returncode), None)
        if failed is not None:
            raise FetchError(f"cannot read the {index.name} index: {_complaint(failed)}; {_NEEDS}")
        contents = [each.stdout for each in read]
        if not contents:
            raise FetchError(f"no apt source of this machine has a {index.name} index; {_NEEDS}")
        return next((content for content in contents if _sha256(content) == index.sha256), contents[0])

    def _update(self) -> None:
        if self._updated:
            return
        for directory in (self._lists / "partial", self._apt_cache / "archives" / "partial"):
            directory.mkdir(parents=True, exist_ok=True)
        result = self._apt("apt-get", "update")
        if result.returncode:
            raise FetchError(f"apt cannot read its sources: {_complaint(result)}; {_NEEDS}")
        self._updated = True

    def _apt(self, name: str, *arguments: str, directory: Path | None = None) -> subprocess.CompletedProcess[bytes]:
        options = (
            f"Dir::State::lists={self._lists}",
            f"Dir::Cache={self._apt_cache}",
            f"Acquire::Languages={_LANGUAGES}",
            f"APT::Architecture={_ARCHITECTURE}",
            f"APT::Architectures={_ARCHITECTURE}",
            "Acquire::Retries=2",
            "APT::Sandbox::User=root",  # else apt would write as a user who cannot enter the cache
        )
        command = [program(name, _NEEDS), *(part for option in options for part in ("-o", option)), *arguments]
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        try:
            return subprocess.run(
                command, cwd=directory, env=environment, capture_output=True, timeout=_TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired:
            raise FetchError(f"apt did not answer within {_TIMEOUT} s ({' '.join(arguments)}); try again") from None


def program(name: str, needs: str) -> str:
    """Where a program is. Raises FetchError, which says what is needed, where it is missing."""
    path = shutil.which(name)
    if path is None:
        raise FetchError(f"{name} is not on this machine: {needs}")
    return path


def output_of(command: list[str], what: str, *, timeout: float, **options: Any) -> bytes:
    """What a program writes to stdout. Raises FetchError, which begins with `what`, where it cannot run or fails."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout, check=False, **options)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FetchError(f"{what}: {error}") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise FetchError(f"{what}: {said[-1]}")
    return bytes(done.stdout)


def _complaint(result: subprocess.CompletedProcess[bytes]) -> str:
    """The last of apt's errors or warnings, else its last line."""
    lines = result.stderr.decode("utf-8", "replace").split("\n")
    spoken = (
        [line for line in lines if line.startswith(("E: ", "W: "))]
        or [line for line in lines if line]
        or ["no message"]
    )
    return spoken[-1]


def keep(candidate: Path, path: Path, sha256: str, name: str) -> None:
    """Put a fetched file where it stays. Raises FetchError where it has another hash."""
    found = _sha256(candidate.read_bytes())
    if found != sha256:
        raise FetchError(f"{name} has the SHA-256 {found}, but {sha256} is pinned: this source offers another file")
    os.replace(candidate, path)


def is_pinned(path: Path, sha256: str) -> bool:
    """Whether the file is there, and is the pinned one."""
    return path.is_file() and _sha256(path.read_bytes()) == sha256


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
