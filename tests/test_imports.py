"""`import regard` and `regard --help` are light: TensorFlow takes seconds, and neither needs it."""

import json

import pytest

HEAVY = ("tensorflow", "keras", "numpy", "tokenizers", "sacrebleu", "pydantic", "typer", "matplotlib", "babel")
HEAVY += ("sentencepiece", "google", "jinja2")  # google: of protobuf
LOADED = "import json, sys; print(json.dumps([name.split('.')[0] for name in sys.modules]))"
ENGINES = {"tensorflow", "keras"}


def loaded_after(fresh_python, code: str) -> set[str]:
    finished = fresh_python(f"{code}\n{LOADED}")
    assert finished.returncode == 0, finished.stderr
    return set(json.loads(finished.stdout.splitlines()[-1]))


def test_importing_regard_brings_nothing_heavy(fresh_python):
    assert not loaded_after(fresh_python, "import regard; regard.__version__; dir(regard)") & set(HEAVY)


def test_the_probe_sees_a_module_that_is_there(fresh_python):
    assert "numpy" in loaded_after(fresh_python, "import numpy")


@pytest.mark.parametrize("module", ["errors", "specs", "batch", "config", "decoding.options", "metrics.translation"])
def test_the_lower_floors_need_neither_keras_nor_tensorflow(fresh_python, module):
    assert not loaded_after(fresh_python, f"import regard.{module}") & ENGINES


VERBS = (
    *"demo prepare train find-rate find-batch evaluate translate inspect summarise".split(),
    *"embed classify tag fill-mask answer".split(),
    *"caption classify-image similarity".split(),
    *"generate chat".split(),
    *"convert verify".split(),
    "transcribe",
)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([verb, "--help"] for verb in VERBS)])
def test_help_imports_neither_keras_nor_tensorflow(fresh_python, arguments):
    assert not loaded_after(fresh_python, f"from regard.cli import main\nassert main({arguments}) == 0") & ENGINES


def test_an_exported_model_starts_without_what_only_training_reads(fresh_python):
    loaded = loaded_after(fresh_python, "import regard.tasks.loading, regard.export.openvino_model")
    assert not loaded & {"pydantic", "sentencepiece", "google", "jinja2", *ENGINES}


def test_every_public_name_is_found_where_the_table_says(fresh_python):
    finished = fresh_python("import regard\nfor name in regard.__all__: getattr(regard, name)\nprint('all found')")
    assert finished.stdout.endswith("all found\n"), finished.stderr


def test_a_name_that_regard_lacks_is_an_attribute_error(fresh_python):
    finished = fresh_python("import regard; regard.load_modle")
    assert "AttributeError: module 'regard' has no attribute 'load_modle'" in finished.stderr
