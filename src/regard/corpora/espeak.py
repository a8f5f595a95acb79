"""The espeak-ng synthesiser: Debian's program, pinned, out of its packages into the cache, and run from there."""

import os
import platform
import shutil
import subprocess

import numpy as np
from numpy.typing import NDArray

from regard.corpora.archives import package_files
from regard.corpora.fetch import Fetcher, Package, output_of
from regard.errors import FetchError

RATE = 22_050  # hz, of all its voices
VERSION = "1.51"
_DEBIAN = "1.51+dfsg-10+deb12u2"
PACKAGES = (
    Package("espeak-ng", _DEBIAN, "a11396a690f85f55e6e6b2965505237ddf3dc95c51936aa61de936f1ccf8f4d0", "amd64"),
    Package("espeak-ng-data", _DEBIAN, "573f5661c6a5adcf949018baad158c4c773bf5579390ee5235a890f1cd694106", "amd64"),
    Package("libespeak-ng1", _DEBIAN, "2b127a95b50d92cbd7a615968d2ac1566e1cbc87e27bcda0c2894afb2407c6d2", "amd64"),
    Package("libpcaudio0", "1.2-2", "5309759e4d129c7d9a601240cc6e62820ecfa86a1a98e207992ffa6a572dbcd2", "amd64"),
    Package("libsonic0", "0.2.0-12", "9d60de6918ace0b10e3e4e95421befd08aaf03b5b2a3d71ceb799e0cf259916f", "amd64"),
)
_PROGRAM, _LIBRARIES = "usr/bin/espeak-ng", "usr/lib/x86_64-linux-gnu/"
_SONAMES = ("libespeak-ng.so.1", "libpcaudio.so.0", "libsonic.so.0")
_HEADER = 44  # bytes of the WAV that it writes, before the samples
_TIMEOUT = 60  # seconds for a text


class Synthesiser:
    """`speak` gives the same samples each time, with the pinned program."""

    def __init__(self, fetcher: Fetcher) -> None:
        """The pinned program where it runs; else one of its version that is installed.

        Raises FetchError where there is neither.
        """
        why = "its packages are for amd64"
        if platform.machine() in ("x86_64", "AMD64"):
            try:
                self._command, self._environment = _unpacked(fetcher)
                self._require_version()
                return
            except FetchError as error:
                why = str(error)
        program = shutil.which("espeak-ng")
        if program is None:
            raise FetchError(
                f"espeak-ng {VERSION} cannot be run from its packages ({why}): install the package espeak-ng, or "
                "libpulse0 and libasound2, which the pinned program needs"
            )
        self._command, self._environment = program, dict(os.environ)
        self._require_version()

    def speak(self, text: str, voice: str, rate: int, pitch: int) -> NDArray[np.int16]:
        """(samples,) at `RATE`. rate: words a minute; pitch: 0 to 99. Raises FetchError where the program fails."""
        content = self._run("--stdout", "-v", voice, "-s", str(rate), "-p", str(pitch), "--", text)
        if content[:4] != b"RIFF" or len(content) <= _HEADER:
            raise FetchError(f"espeak-ng said nothing of {text!r} with the voice {voice}")
        return np.frombuffer(content, "<i2", offset=_HEADER).astype(np.int16)

    def _require_version(self) -> None:
        said = self._run("--version").decode("utf-8", "replace")
        if f" {VERSION} " not in f"{said} ":
            raise FetchError(f"espeak-ng must be {VERSION}, for others speak otherwise, but is: {said.strip()}")

    def _run(self, *arguments: str) -> bytes:
        command = [self._command, *arguments]
        quiet = {"env": self._environment, "stdin": subprocess.DEVNULL}
        return output_of(command, f"cannot run {self._command}", timeout=_TIMEOUT, **quiet)


def _unpacked(fetcher: Fetcher) -> tuple[str, dict[str, str]]:
    """The program in the cache, and the environment in which it finds its libraries and voices."""
    packages = [fetcher.package(package) for package in PACKAGES]
    place = packages[0].parent.parent / "espeak-ng" / _DEBIAN
    if not place.is_dir():
        unfinished = place.with_name(f"{place.name}.{os.getpid()}")
        for package in packages:
            for path, content in package_files(package, (_PROGRAM, _LIBRARIES), ("",)).items():
                file = unfinished / _placed(path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
        (unfinished / "espeak-ng").chmod(0o755)
        if not place.is_dir():
            unfinished.rename(place)
    libraries = os.pathsep.join(filter(None, [str(place), os.environ.get("LD_LIBRARY_PATH")]))
    own = {"LD_LIBRARY_PATH": libraries, "ESPEAK_DATA_PATH": str(place / "espeak-ng-data"), "LC_ALL": "C.UTF-8"}
    return str(place / "espeak-ng"), {**os.environ, **own}


def _placed(path: str) -> str:
    """A file of a package by where it goes; a library by the name that programs ask for, which there is a link."""
    name = path.removeprefix(_LIBRARIES)
    soname = next((each for each in _SONAMES if name.startswith(f"{each}.")), None)
    return "espeak-ng" if path == _PROGRAM else soname or name
