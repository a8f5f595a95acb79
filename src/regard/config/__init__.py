"""Run files: TOML -> a checked `RunConfig`. Unknown keys are errors that name the nearest known one.

Precedence: the file, then each `--set a.b=c`. `to_toml` writes the resolved run back, so that a run directory says
what it was made with.
"""

from regard.config.files import load_run, parse_run, to_toml
from regard.config.run import RunConfig
from regard.config.section import Section
from regard.config.sections import (
    AugmentationConfig,
    CorpusConfig,
    CurriculumConfig,
    DataConfig,
    DecodingConfig,
    ModelConfig,
    NgramsConfig,
    ObjectiveConfig,
    TokenizerConfig,
    TrainingConfig,
)
from regard.config.tasks import TaskName
from regard.config.updates import GroupConfig, OptimizerConfig, ScheduleConfig

__all__ = [
    "AugmentationConfig",
    "CorpusConfig",
    "CurriculumConfig",
    "DataConfig",
    "DecodingConfig",
    "GroupConfig",
    "ModelConfig",
    "NgramsConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "RunConfig",
    "ScheduleConfig",
    "Section",
    "TaskName",
    "TokenizerConfig",
    "TrainingConfig",
    "load_run",
    "parse_run",
    "to_toml",
]
