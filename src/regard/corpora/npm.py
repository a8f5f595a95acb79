"""Packages of the npm registry, pinned by hash, through the machine's own npm and its configuration.

`npm pack` brings a package as the registry has it and runs none of its scripts. What is in the cache with the right
hash is not asked for again, so a second build needs no network and no npm.
"""

import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from regard.corpora.fetch import is_pinned, keep, program
from regard.errors import FetchError

NEEDS = "the first build needs Node.js with npm (Debian: apt install npm), and a registry that npm is set up for"
_TIMEOUT = 1800  # seconds for a package


class NpmPackage(NamedTuple):
    """A package of the npm registry."""

    name: str
    version: str
    sha256: str  # of the .tgz

    @property
    def file(self) -> str:
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"  # as npm calls it


class NpmFetcher:
    """Gets pinned packages into `cache`."""

    def __init__(self, cache: Path) -> None:
        self._packages = cache / "packages"

    def package(self, package: NpmPackage) -> Path:
        """The path of the .tgz.

        Raises:
            FetchError: npm is missing or does not find this version, or the file has another hash.
        """
        path = self._packages / package.file
        if not is_pinned(path, package.sha256):
            self._packages.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._packages) as directory:
                candidate = _downloaded(package, Path(directory))
                keep(candidate, path, package.sha256, f"{package.name} {package.version}")
        return path


def _downloaded(package: NpmPackage, directory: Path) -> Path:
    request = f"{package.name}@{package.version}"
    command = [program("npm", NEEDS), "pack", "--ignore-scripts", "--loglevel=error", request]
    try:
        result = subprocess.run(command, cwd=directory, capture_output=True, timeout=_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise FetchError(f"npm did not bring {request} within {_TIMEOUT} s; try again") from None
    found = list(directory.glob("*.tgz"))
    if result.returncode or len(found) != 1:
        raise FetchError(f"cannot fetch {request}: {_complaint(result.stderr)}; {NEEDS}")
    return found[0]


def _complaint(stderr: bytes) -> str:
    """The first of npm's errors that is in words."""
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines()]
    spoken = [line for line in lines if line and not line.startswith(("npm error code", "npm ERR! code"))]
    return next(iter(spoken), "no message")
