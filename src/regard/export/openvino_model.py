"""A checkpoint -> an OpenVINO engine, straight from its tensors; and a directory that holds the graphs, which starts
faster: config.json, generation_config.json and the tokenizer beside openvino_decoder.xml and openvino_encoder.xml."""

import shutil
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from regard.decoding.lexical_shortlist import LexicalShortlist
from regard.decoding.options import GENERATION_CONFIG_KEYS
from regard.errors import CheckpointError, ConfigError
from regard.export.openvino_engine import OpenVINOEngine, Precision
from regard.export.openvino_graphs import decoder_graph, encoder_graph, output_graph
from regard.export.openvino_nodes import STORED, Stored, Weights
from regard.features.tokenizer import Tokenizer
from regard.interop.accounting import account
from regard.interop.described import Described, described
from regard.interop.directory import CONFIG, ENGINE, GENERATION, REGARD, read_json, replacing, write_json
from regard.interop.generation_defaults import generation_options
from regard.interop.opening import open_checkpoint
from regard.interop.shortlist_file import FILE as SHORTLIST
from regard.interop.shortlist_file import read_shortlist
from regard.models.catalog import family
from regard.models.family import Config
from regard.specs import ModelSpec

Graphs = dict[str, ov.Model]  # the decoder; the encoder where there is one; the output layer where a shortlist is used
_FILES = {"decoder": "openvino_decoder.xml", "encoder": "openvino_encoder.xml", "output": "openvino_output.xml"}


def load_openvino(
    path: str | Path,
    *,
    weights: Stored = "float32",
    precision: Precision | None = None,
    shortlist: str | Path | LexicalShortlist | None = None,
) -> OpenVINOEngine:
    """The engine of a checkpoint or of an exported directory, whose weights are stored as they are.

    weights: float32, bfloat16 or int8 (each row of a matrix by its own scale). precision: of the products; None:
    float32 for float32 weights, else bfloat16, where the processor multiplies that. shortlist: a file of `regard
    shortlist`, in place of the one that the model was exported with. Raises CheckpointError for a model that generates
    no tokens, and for what `load_model` refuses; ConfigError for a shortlist where there can be none, or of another
    vocabulary.
    """
    if (Path(path) / ENGINE).is_file():
        return _opened(Path(path), precision, shortlist)
    found = described(open_checkpoint(path))
    checkpoint = found.checkpoint
    table = None if shortlist is None else _shortlist(shortlist, found.spec, checkpoint.place)
    graphs, written = _graphs(found, weights, table is not None), _written(found)
    engine = _engine(
        found.spec, graphs, checkpoint.config, written, checkpoint.place, precision or _usual(weights), table
    )
    engine.kept_generation = _kept(checkpoint.generation)
    engine.companions = checkpoint.companions
    return engine


def export_openvino(
    path: str | Path, directory: str | Path, *, weights: Stored = "float32", shortlist: str | Path | None = None
) -> None:
    """Write a checkpoint's network as OpenVINO's graphs, with all that stands beside its weights; with a `shortlist`, a
    file of `regard shortlist`, it is used wherever the directory is loaded.

    Raises ConfigError where `directory` holds the checkpoint itself, CheckpointError where it holds something else than
    a model, or the model generates no tokens.
    """
    found = described(open_checkpoint(path))
    if found.checkpoint.place.resolve().is_relative_to(Path(directory).resolve()):
        raise ConfigError(f"{directory} holds the model that is to be exported, and would lose it: give another one")
    if shortlist is not None:
        _shortlist(shortlist, found.spec, found.checkpoint.place)
    graphs, checkpoint = _graphs(found, weights, shortlist is not None), found.checkpoint
    with replacing(Path(directory)) as fresh:
        for name, graph in graphs.items():
            ov.save_model(graph, fresh / _FILES[name], compress_to_fp16=False)
        write_json(fresh, CONFIG, dict(checkpoint.config))
        known = GENERATION_CONFIG_KEYS | {"force_bos_token_to_be_generated"}
        said = {key: value for key, value in _written(found).items() if checkpoint.generation or key in known}
        write_json(fresh, GENERATION, said)
        for name, content in checkpoint.companions.items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            (fresh / name).write_bytes(content())
        write_json(fresh, REGARD, read_json(checkpoint.place, REGARD) if checkpoint.place.is_dir() else {})
        said = {"engine": "openvino", "weights": weights, "openvino": metadata.version("openvino")}
        if shortlist is not None:
            shutil.copy(shortlist, fresh / SHORTLIST)
        write_json(fresh, ENGINE, said)


def _graphs(found: Described, stored: Stored, shortlisted: bool) -> Graphs:
    spec = found.spec
    if spec.form not in ("decoder", "encoder-decoder") or spec.output.kind != "language":
        raise CheckpointError(
            f"{found.checkpoint.place}: only models that generate tokens are exported, but this is {spec.form} with a "
            f"{spec.output.kind} head"
        )
    if stored not in STORED:
        raise ConfigError(f"weights must be one of {', '.join(STORED)}, but is {stored!r}")
    weights = _weights(found)
    graphs = {"decoder": decoder_graph(spec, weights, stored, shortlisted)}
    if spec.encoder is not None:
        graphs["encoder"] = encoder_graph(spec, weights, stored)
    if shortlisted:
        graphs["output"] = output_graph(spec, weights, stored)
    return graphs


def _weights(found: Described) -> Weights:
    """Each variable by its path, made of the checkpoint's tensors when it is asked for."""
    rules = {rule.path: rule for rule in found.family.rules(found.spec)}
    accounts = account(found.spec, found.tensors, list(rules.values()))
    if accounts.complaint():
        raise CheckpointError(f"{found.tensors.tensors.origin}: {accounts.complaint()}")

    def weight(path: str) -> np.ndarray | None:
        rule = rules.get(path)
        if rule is None:
            return None
        return rule.join([None if name is None else found.tensors[name] for name in rule.names]).astype(np.float32)

    return weight


def _written(found: Described) -> Mapping[str, Any]:
    """What the checkpoint says about decoding; an older one in its config.json."""
    checkpoint = found.checkpoint
    return checkpoint.generation or dict(checkpoint.config)


def _shortlist(given: str | Path | LexicalShortlist, spec: ModelSpec, place: Path) -> LexicalShortlist:
    if spec.form != "encoder-decoder" or spec.source is not None:
        raise ConfigError(
            f"a shortlist is for a model that writes a text for a text, but {place} is another: leave it out"
        )
    if not isinstance(given, LexicalShortlist):
        given = read_shortlist(Path(given), Tokenizer.load(place))
    return given.for_vocabulary(spec.text.vocab_size)


def _engine(
    spec: ModelSpec,
    graphs: Graphs,
    config: Config,
    written: Mapping[str, Any],
    place: Path,
    precision: Precision,
    shortlist: LexicalShortlist | None,
) -> OpenVINOEngine:
    options = generation_options(written, spec, place)
    encoder, output = graphs.get("encoder"), graphs.get("output")
    engine = OpenVINOEngine(spec, graphs["decoder"], encoder, options, precision, output, shortlist)
    engine.kept_config = config.unread()
    return engine


def _opened(
    directory: Path, precision: Precision | None, shortlist: str | Path | LexicalShortlist | None
) -> OpenVINOEngine:
    said, config = read_json(directory, ENGINE), Config(read_json(directory, CONFIG, required=True))
    if not isinstance(config.get("model_type"), str):
        raise CheckpointError(f"{directory / CONFIG} has no model_type")
    spec, written = family(config["model_type"]).from_config(config), read_json(directory, GENERATION)
    files = {name: directory / file for name, file in _FILES.items() if (directory / file).is_file()}
    for name in ("decoder",) if spec.encoder is None else ("decoder", "encoder"):
        if name not in files:
            raise CheckpointError(f"{directory} has no {_FILES[name]}: export the model again")
    graphs = {name: _read(file) for name, file in files.items()}
    if not any("last" in port.get_names() for port in graphs["decoder"].inputs):
        raise CheckpointError(f"{directory} was exported by an older Regard: export the model again")
    if shortlist is not None and "output" not in graphs:
        raise ConfigError(f"{directory} was exported without a shortlist: export the model again, with --shortlist")
    table = None
    if "output" in graphs:
        table = _shortlist(directory / SHORTLIST if shortlist is None else shortlist, spec, directory)
    usual = _usual(said.get("weights", "float32"))
    engine = _engine(spec, graphs, config, written, directory, precision or usual, table)
    engine.kept_generation = _kept(written)
    return engine


def _read(file: Path) -> ov.Model:
    """A graph and the weights in the .bin beside it."""
    try:
        return ov.Core().read_model(file)
    except RuntimeError as error:
        why = str(error).strip().splitlines()[-1]
        raise CheckpointError(
            f"{file}, or its weights beside it, is damaged ({why}): export the model again"
        ) from error


def _kept(generation: Mapping[str, Any]) -> dict[str, Any]:
    """What a generation_config.json says beside the options of a search."""
    return {key: value for key, value in generation.items() if key not in GENERATION_CONFIG_KEYS}


def _usual(weights: Stored) -> Precision:
    if weights == "float32":
        return "float32"
    capabilities = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bfloat16" if "BF16" in capabilities else "float32"
