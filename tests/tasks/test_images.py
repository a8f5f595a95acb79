"""Images through an image classifier that answers by a rule; what is said of batches holds of each task on images."""

import io
from dataclasses import dataclass, field

import numpy as np
import pytest
from PIL import Image

from regard.errors import CheckpointError, ConfigError, InputError
from regard.features.image import ImageProcessor
from regard.nn.output import Output
from regard.specs import HeadSpec, LayerSpec, ModelSpec, PatchSpec, StackSpec
from regard.tasks.classify_image import ImageClassifier
from regard.tasks.images import ImageBatches, encoder_family, image_processor

LABELS = ("dark", "middle", "bright")
PROCESSOR = ImageProcessor(size=(4, 6), do_normalize=False)


def spec(*, channels=3, extra_tokens=1, problem=None, labels=3):
    patches = PatchSpec(4, 4, 6, 2, 2, channels=channels, extra_tokens=extra_tokens)
    layer = LayerSpec(width=4, heads=2, head_width=2, ffn_width=4)
    head = HeadSpec("sequence_class", labels=labels, problem=problem)
    return ModelSpec("vit", None, source=patches, encoder=StackSpec(layer, 1), head=head)


@dataclass
class Brightness:
    """Logits of a batch by its mean brightness: -8, 0, +8 at dark; 0, 0, 0 in the middle. Keeps its batches."""

    spec: ModelSpec
    batches: list = field(default_factory=list)

    def __call__(self, batch):
        pixels = batch["pixel_values"]
        assert pixels.dtype == np.float32
        self.batches.append(pixels)
        mean = pixels.mean((1, 2, 3))
        return Output(
            logits=np.stack([8 - 16 * mean, np.zeros_like(mean), 16 * mean - 8], 1)[:, : self.spec.output.labels]
        )


def grey(value, height=5, width=7):
    return np.full((height, width, 3), value, np.uint8)


@pytest.fixture
def classifier():
    def make(processor=PROCESSOR, labels=LABELS, **fields):
        return ImageClassifier(Brightness(spec(labels=len(labels), **fields)), processor, labels)

    return make


@pytest.fixture
def files(tmp_path):
    """The paths of five images, darker and darker; the fourth is no image."""
    paths = [tmp_path / f"{value}.png" for value in (255, 192, 128, 64, 0)]
    for path in paths:
        Image.fromarray(grey(int(path.stem))).save(path)
    paths[3].write_text("no image")
    return [str(path) for path in paths]


def test_an_image_gives_a_ranking_and_several_give_a_list(classifier):
    one = classifier()(grey(255))
    assert [entry.label for entry in one.scores] == ["bright", "middle", "dark"]
    assert [entry.score for entry in one.scores] == pytest.approx(np.exp([8, 0, -8]) / np.exp([8, 0, -8]).sum())
    many = classifier()([grey(0), grey(255)])
    assert [ranking.label for ranking in many] == ["dark", "bright"]
    assert many[1] == one
    assert classifier()(np.stack([grey(0), grey(255)])) == many
    assert classifier()([]) == []


def test_paths_bytes_pillow_images_and_arrays_are_all_images(classifier, files, tmp_path):
    image = Image.fromarray(grey(255))
    content = io.BytesIO()
    image.save(content, "PNG")
    expected = classifier()(grey(255))
    assert classifier()([files[0], tmp_path / "255.png", content.getvalue(), image, grey(255)]) == [expected] * 5
    for one in (files[0], tmp_path / "255.png", content.getvalue(), image):
        assert classifier()(one) == expected


def test_several_labels_have_each_a_probability_and_a_regression_its_numbers(classifier):
    many = classifier(problem="multi_label")(grey(255))
    assert [entry.score for entry in many.scores] == pytest.approx(1 / (1 + np.exp([-8, 0, 8])))
    assert [entry.score for entry in classifier(problem="regression")(grey(255)).scores] == [8, 0, -8]
    assert classifier(labels=("dark",))(grey(255)).score == pytest.approx(1 / (1 + np.exp(8)))


def test_top_k_keeps_the_best_and_must_be_one_at_least(classifier):
    best = classifier()(grey(255), top_k=2)
    assert [entry.label for entry in best.scores] == ["bright", "middle"]
    assert best.as_json() == {"scores": [entry._asdict() for entry in best.scores]}
    with pytest.raises(ConfigError, match="top_k must be at least 1, but is 0"):
        classifier()(grey(255), top_k=0)


def test_batches_are_bounded_and_read_no_further_ahead(classifier):
    read = []

    def images():
        for value in range(0, 250, 50):
            read.append(value)
            yield grey(value)

    own = classifier()
    rankings = own.stream(images(), batch_size=2)
    assert read == []
    assert next(rankings).label == "dark"
    assert read == [0, 50]
    assert len(list(rankings)) == 4
    assert [len(batch) for batch in own.engine.batches] == [2, 2, 1]
    assert len(np.concatenate(own.engine.batches)) == 5
    for row, batch in enumerate(np.concatenate(own.engine.batches)):
        np.testing.assert_array_equal(batch, PROCESSOR(grey(50 * row))[0])


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 5, 9])
def test_an_image_that_cannot_be_read_is_named_after_all_before_it_were_answered(classifier, files, batch_size):
    done = []
    with pytest.raises(InputError, match=f"^cannot read {files[3]}: it is damaged, or none of PNG"):
        done.extend(ranking.label for ranking in classifier().stream(files, batch_size=batch_size))
    assert len(done) == 3


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 9])
def test_an_image_that_cannot_be_read_costs_itself_alone_where_somebody_is_told(classifier, files, batch_size):
    refused, own = [], classifier()
    images = [b"\x89PNG", *files, "nowhere.png"]
    told = own.stream(images, batch_size=batch_size, refused=lambda *what: refused.append(what))
    assert [ranking.label for ranking in told] == ["bright", "bright", "bright", "dark"]
    assert [number for number, _ in refused] == [1, 5, 7]
    assert str(refused[1][1]).startswith(f"cannot read {files[3]}: it is damaged, or none of PNG")
    assert all(len(batch) == batch_size for batch in own.engine.batches[:-1])


def test_what_stops_the_list_of_images_stops_the_results_after_those_before_it(classifier):
    def images():
        yield grey(255)
        raise InputError("the list is damaged")

    done = []
    with pytest.raises(InputError, match="the list is damaged"):
        done.extend(classifier().stream(images(), batch_size=4))
    assert len(done) == 1


@pytest.mark.parametrize("bad", [b"\x89PNG", np.zeros((2, 2, 2)), 7, None, Image.new("F", (3, 3))])
def test_an_image_without_a_path_is_named_by_its_number(classifier, bad):
    with pytest.raises(InputError, match=r"image 2\b"):
        classifier()([grey(0), bad])


def test_a_batch_must_hold_an_image(classifier):
    with pytest.raises(InputError, match="batch_size must be at least 1, but is 0"):
        classifier().stream([], batch_size=0)


@pytest.mark.parametrize(
    "processor",
    [
        ImageProcessor(size=(6, 4)),
        ImageProcessor(size=(4, 6), do_center_crop=True, crop_size=(4, 4)),
        ImageProcessor(size=8, do_center_crop=True, crop_size=(8, 8)),
    ],
)
def test_a_processor_for_images_of_another_size_is_refused_at_once(processor):
    with pytest.raises(CheckpointError, match=r"processor makes images of .* but its model reads 4 x 6: put size or"):
        ImageBatches(processor, spec())


def test_a_crop_decides_the_size_whatever_the_resize(classifier):
    crop = ImageProcessor(size=8, do_center_crop=True, crop_size=(4, 6), do_normalize=False)
    assert classifier(crop)(grey(255)).label == "bright"


@pytest.mark.parametrize("processor", [ImageProcessor(do_resize=False), ImageProcessor(size=4)])
def test_an_image_that_is_not_brought_to_size_is_refused_by_name(classifier, processor, files):
    assert classifier(processor)(grey(255, 4, 6)).label == "bright"
    with pytest.raises(InputError, match=r"^image 2 has .* but the model reads 4 x 6: resize it"):
        classifier(processor)([grey(255, 4, 6), grey(255)])
    with pytest.raises(InputError, match=f"^{files[0]} has "):
        classifier(processor)(files[0])


def test_a_model_of_other_channels_is_refused():
    with pytest.raises(CheckpointError, match="reads images of 1 channels, but images are prepared with 3"):
        ImageBatches(PROCESSOR, spec(channels=1))


def test_a_file_that_names_no_class_is_read_as_the_models_family_has_it():
    """As Transformers' AutoImageProcessor chooses by model_type."""
    kinds = {family: image_processor({"size": 8}, family).kind for family in ("vit", "deit", "clip")}
    assert kinds == {"vit": "ViTImageProcessor", "deit": "DeiTImageProcessor", "clip": "CLIPImageProcessor"}
    assert image_processor({"feature_extractor_type": "ViTFeatureExtractor"}, "deit").kind == "ViTImageProcessor"
    assert image_processor({"image_processor": {"image_processor_type": "DeiTImageProcessorFast"}}, "vit").resample == 3


def test_a_captioners_encoder_is_told_by_its_extra_tokens():
    assert (encoder_family(spec()), encoder_family(spec(extra_tokens=2))) == ("vit", "deit")
