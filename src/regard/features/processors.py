"""The processor of whatever is sensed: images or sounds, by what preprocessor_config.json says."""

from collections.abc import Mapping
from typing import Any

from regard.features.audio import AudioProcessor
from regard.features.image import ImageProcessor

Processor = ImageProcessor | AudioProcessor


def read_processor(config: Mapping[str, Any]) -> Processor:
    """Of a parsed preprocessor_config.json. Raises CheckpointError as either processor's `from_config` does."""
    kind = AudioProcessor if "feature_extractor_type" in config else ImageProcessor
    return kind.from_config(config)
