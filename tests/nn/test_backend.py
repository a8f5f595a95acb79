"""Keras comes up on TensorFlow, or one line says why not. Each case needs an interpreter that has not met Keras."""

import json
from pathlib import Path

import pytest

import regard

SOURCE = Path(regard.__file__).parent
MODULES = sorted(
    ".".join(("regard", *path.relative_to(SOURCE).with_suffix("").parts)) for path in SOURCE.rglob("[a-z]*.py")
)
REQUIRE = "from regard.nn.backend import require_tensorflow; require_tensorflow(); import os, sys; "
HIDE_TENSORFLOW = "import sys; sys.modules['tensorflow'] = None; "  # as an interpreter without TensorFlow answers


@pytest.fixture
def keras_home(tmp_path):
    """Two variables: nobody but tmp_path/keras.json chooses a backend."""
    return {"KERAS_BACKEND": None, "KERAS_HOME": str(tmp_path)}


def message_of(finished) -> str:
    assert finished.returncode == 1
    return finished.stderr.splitlines()[-1]


def test_the_backend_becomes_tensorflow_where_nobody_chose_one(fresh_python, keras_home):
    finished = fresh_python(REQUIRE + "print(os.environ['KERAS_BACKEND'], 'tensorflow' in sys.modules)", keras_home)
    assert finished.stdout == "tensorflow False\n", finished.stderr


@pytest.mark.parametrize(("given", "read"), [(None, "1"), ("0", "0")])
def test_tensorflow_multiplies_by_onednn_unless_the_environment_says_otherwise(fresh_python, given, read):
    code = "import regard.nn.layers, os, sys; print(os.environ['TF_ENABLE_ONEDNN_OPTS'], 'tensorflow' in sys.modules)"
    assert fresh_python(code, {"TF_ENABLE_ONEDNN_OPTS": given}).stdout == f"{read} True\n"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '"jax"', "{}", '{"floatx": "float32"}', '{"backend": "tensorflow"}']
)
def test_a_keras_json_that_chooses_nothing_else_is_fine(fresh_python, keras_home, tmp_path, content):
    (tmp_path / "keras.json").write_text(content)
    assert fresh_python(REQUIRE, keras_home).returncode == 0


def test_another_backend_in_the_environment_is_refused_by_name(fresh_python):
    message = message_of(fresh_python("import regard.nn", {"KERAS_BACKEND": "jax"}))
    assert message.startswith("regard.errors.ConfigError: ")
    assert "environment variable KERAS_BACKEND chose 'jax'" in message


def test_another_backend_in_keras_json_is_refused_and_the_file_is_named(fresh_python, keras_home, tmp_path):
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "torch"}))
    message = message_of(fresh_python("import regard.nn", keras_home))
    assert f"{tmp_path / 'keras.json'} chose 'torch'" in message


def test_the_environment_overrules_keras_json_as_in_keras(fresh_python, keras_home, tmp_path):
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "torch"}))
    assert fresh_python(REQUIRE, keras_home | {"KERAS_BACKEND": "tensorflow"}).returncode == 0


def test_a_keras_that_is_already_there_on_another_backend_is_refused(fresh_python):
    already = (
        "import sys, types; keras = types.ModuleType('keras'); "
        "keras.config = types.SimpleNamespace(backend=lambda: 'jax'); sys.modules['keras'] = keras; "
    )
    assert "an earlier import of Keras chose 'jax'" in message_of(fresh_python(already + REQUIRE))


def test_a_missing_tensorflow_names_the_extras(fresh_python):
    message = message_of(fresh_python(HIDE_TENSORFLOW + "import regard.nn"))
    assert message.startswith("regard.errors.MissingDependencyError: TensorFlow is not installed: ")
    assert 'pip install "regard[cpu]"' in message


def test_a_folder_left_behind_by_an_uninstall_is_no_tensorflow(fresh_python, tmp_path):
    (tmp_path / "tensorflow" / "python").mkdir(parents=True)
    only_the_leftover = f"""
import sys, importlib.machinery as machinery
class Finder(machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return super().find_spec(name, [{str(tmp_path)!r}] if name == "tensorflow" else path, target)
sys.meta_path[:] = [Finder if finder is machinery.PathFinder else finder for finder in sys.meta_path]
import regard.nn
"""
    assert "TensorFlow is not installed" in message_of(fresh_python(only_the_leftover))


def test_no_module_answers_a_missing_tensorflow_with_anything_but_that_line(fresh_python):
    every_module = f"""
import sys, importlib
sys.modules["tensorflow"] = None
from regard.errors import MissingDependencyError
for name in {MODULES}:
    try:
        importlib.import_module(name)
    except MissingDependencyError:
        pass
    except ImportError as error:
        print(name, error)
"""
    finished = fresh_python(every_module)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == ""
