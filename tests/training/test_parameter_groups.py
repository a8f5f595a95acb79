from types import SimpleNamespace
from typing import Any

import pytest

from regard.config import OptimizerConfig
from regard.errors import ConfigError
from regard.models.forms import build_model
from regard.models.presets import Vocabulary, preset_spec
from regard.training.layer_decay import layer_shares
from regard.training.parameter_groups import Treatment, plan_updates

SHAPES = {
    "encoder/embedding/table": (11, 4),
    "encoder/layer_0/feed_forward/up/kernel": (4, 8),
    "encoder/layer_0/feed_forward/up/bias": (8,),
    "encoder/final_norm/scale": (4,),
    "decoder/layer_0/feed_forward/up/kernel": (4, 8),
    "decoder/layer_1/feed_forward/up/kernel": (4, 8),
    "head/output/kernel": (4, 11),
}
WEIGHTS = [SimpleNamespace(path=path, shape=shape) for path, shape in SHAPES.items()]


def plan(freeze: tuple[str, ...] = (), **settings: Any) -> dict[str, Treatment]:
    config = OptimizerConfig.model_validate({"name": "adamw", **settings})
    return dict(plan_updates(WEIGHTS, config, freeze))


def test_without_groups_every_weight_has_the_run_s_rate_and_matrices_decay() -> None:
    found = plan(weight_decay=0.1)
    assert found.keys() == SHAPES.keys()
    assert all(treatment.rate == 1 for treatment in found.values())
    assert {path for path, treatment in found.items() if treatment.weight_decay == 0} == {
        "encoder/layer_0/feed_forward/up/bias",
        "encoder/final_norm/scale",
    }


def test_t5s_biases_by_distance_do_not_decay_though_they_are_a_matrix() -> None:
    table = SimpleNamespace(path="decoder/relative_bias/table", shape=(32, 4))
    found = plan_updates([*WEIGHTS, table], OptimizerConfig(name="adamw", weight_decay=0.1))
    assert found["decoder/relative_bias/table"] == Treatment(1.0, 0.0)
    paths = [weight.path for weight in build_model(preset_spec("t5-tiny", Vocabulary(330, 0, 1))).trainable_variables]
    assert sum("relative_bias/" in path for path in paths) == 2


def test_of_two_groups_that_match_the_later_one_decides() -> None:
    groups = [
        {"pattern": "decoder/*", "rate": 0.1, "weight_decay": 0.0},
        {"pattern": "*/layer_1/*", "rate": 0.5},
    ]
    found = plan(weight_decay=0.2, groups=groups)
    assert found["decoder/layer_0/feed_forward/up/kernel"] == Treatment(0.1, 0.0)
    assert found["decoder/layer_1/feed_forward/up/kernel"] == Treatment(0.5, 0.0)
    assert found["encoder/embedding/table"] == Treatment(1.0, 0.2)


def test_a_group_s_decay_leaves_norms_and_biases_alone() -> None:
    found = plan(groups=[{"pattern": "encoder/*", "weight_decay": 0.3}])
    assert found["encoder/layer_0/feed_forward/up/kernel"].weight_decay == 0.3
    assert found["encoder/layer_0/feed_forward/up/bias"].weight_decay == 0
    with pytest.raises(ConfigError, match=r"groups\.0\.weight_decay: '\*bias' matches only norms and biases"):
        plan(groups=[{"pattern": "*bias", "weight_decay": 0.3}])


def test_a_group_s_rate_multiplies_the_layer_decay() -> None:
    found = plan(layer_decay=0.5, groups=[{"pattern": "decoder/layer_0/*", "rate": 0.1}])
    assert found["decoder/layer_0/feed_forward/up/kernel"].rate == pytest.approx(0.1 * 0.5**2)
    assert found["decoder/layer_1/feed_forward/up/kernel"].rate == 0.5


@pytest.mark.parametrize(
    "settings", [{"freeze": ("encoder/*",)}, {"groups": [{"pattern": "encoder/*", "freeze": True}]}]
)
def test_frozen_weights_are_absent(settings: dict[str, Any]) -> None:
    assert plan(**settings).keys() == {path for path in SHAPES if not path.startswith("encoder/")}


def test_a_later_group_trains_what_an_earlier_one_froze_but_not_what_the_run_freezes() -> None:
    groups = [{"pattern": "decoder/*", "freeze": True}, {"pattern": "decoder/layer_1/*", "rate": 0.5}]
    found = plan(groups=groups)
    assert found["decoder/layer_1/feed_forward/up/kernel"].rate == 0.5
    assert "decoder/layer_0/feed_forward/up/kernel" not in found
    assert "decoder/layer_1/feed_forward/up/kernel" not in plan(("decoder/*",), groups=groups)
    assert "decoder/layer_1/feed_forward/up/kernel" not in plan(groups=groups[::-1])


def test_a_pattern_that_matches_nothing_is_an_error_with_near_names() -> None:
    with pytest.raises(ConfigError, match=r"training\.freeze: no weight matches 'encodr/\*': did you mean encoder/\*"):
        plan(freeze=("encodr/*",))
    groups = [{"pattern": "decoder/*", "rate": 0.1}, {"pattern": "decoder/layer_7/*", "rate": 0.1}]
    with pytest.raises(ConfigError, match=r"groups\.1\.pattern: no weight .*did you mean decoder/layer_[01]/\*"):
        plan(groups=groups)


def test_a_run_that_freezes_everything_is_refused() -> None:
    with pytest.raises(ConfigError, match="leave no weight to train"):
        plan(freeze=("encoder/*", "decoder/*"), groups=[{"pattern": "head/*", "freeze": True}])


def test_an_encoder_s_rates_fall_from_the_head_to_the_embedding() -> None:
    paths = [
        "encoder/embedding/table",
        "encoder/stem/positions/table",
        "encoder/stem/norm/scale",
        "encoder/layer_0/feed_forward/up/kernel",
        "encoder/layer_1/feed_forward/up/kernel",
        "encoder/final_norm/scale",
        "head/output/kernel",
    ]
    assert list(layer_shares(paths, 0.5).values()) == [1 / 8, 1 / 8, 1 / 8, 1 / 4, 1 / 2, 1, 1]


def test_encoder_and_decoder_count_each_from_its_own_top_and_share_the_deeper_one_s_table() -> None:
    paths = [
        "encoder/embedding/table",
        "encoder/stem/positions/table",
        "encoder/layer_0/x/kernel",
        "decoder/stem/positions/table",
        "decoder/relative_bias/table",
        "decoder/layer_0/x/kernel",
        "decoder/layer_1/x/kernel",
        "decoder/layer_2/x/kernel",
    ]
    assert list(layer_shares(paths, 0.5).values()) == [1 / 16, 1 / 4, 1 / 2, 1 / 16, 1 / 16, 1 / 8, 1 / 4, 1 / 2]


def test_a_table_that_the_decoder_alone_reads_is_as_deep_as_the_decoder() -> None:
    captioner = [
        "encoder/stem/projection/kernel",
        "encoder/layer_0/x/kernel",
        "encoder/layer_1/x/kernel",
        "encoder/layer_2/x/kernel",
        "decoder/embedding/table",
        "decoder/layer_0/x/kernel",
    ]
    assert list(layer_shares(captioner, 0.5).values()) == [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1 / 4, 1 / 2]


def test_a_decoder_alone_and_two_encoders_side_by_side_count_for_themselves() -> None:
    decoder = ["decoder/embedding/table", "decoder/layer_0/x/kernel", "decoder/layer_1/x/kernel", "head/output/kernel"]
    assert list(layer_shares(decoder, 0.5).values()) == [1 / 8, 1 / 4, 1 / 2, 1]
    pair = [
        "text_encoder/embedding/table",
        "text_encoder/layer_0/x/kernel",
        "image_encoder/stem/projection/kernel",
        "image_encoder/layer_0/x/kernel",
        "image_encoder/layer_1/x/kernel",
        "similarity/logit_scale",
    ]
    assert list(layer_shares(pair, 0.5).values()) == [1 / 4, 1 / 2, 1 / 8, 1 / 4, 1 / 2, 1]


def test_without_layer_decay_every_share_is_one() -> None:
    assert set(layer_shares(SHAPES, 1.0).values()) == {1.0}
