"""Pixel values: equal to what Transformers gave, true to the definition, and safe from hostile files."""

import contextlib
import io
import itertools
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from regard.errors import CheckpointError, ConfigError, InputError
from regard.features.image import ImageProcessor
from regard.features.resize import center_crop, resize, target_size
from regard.features.rgb import FORMATS, read_image

RECORDED = np.load(Path(__file__).with_name("processors.npz"))
CASES = json.loads(str(RECORDED["configs"]))["images"]
RECORDINGS = sorted(key.removeprefix("image/") for key in RECORDED.files if key.startswith("image/"))
BARE = ImageProcessor(do_resize=False, do_rescale=False, do_normalize=False)

sizes = st.tuples(st.integers(1, 24), st.integers(1, 24))


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(height * 100 + width).integers(0, 256, (height, width, channels), np.uint8)


def file_of(image: Image.Image | np.ndarray, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and then ends."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"")


@pytest.mark.parametrize("recording", RECORDINGS)
def test_pixel_values_equal_those_of_transformers(recording):
    case, image = recording.split("/")
    values = ImageProcessor.from_config(CASES[case])(Image.fromarray(RECORDED[image]))
    np.testing.assert_allclose(values, RECORDED[f"image/{recording}"], rtol=0, atol=1e-6)
    assert values.dtype == np.float32


@given(sizes, sizes, st.integers(0, 255), st.integers(0, 5))
def test_a_constant_image_stays_constant_whatever_its_size(size, wanted, grey, resample):
    processor = ImageProcessor(size=wanted, resample=resample, image_mean=(0.5, 0.2, 0.1), image_std=(0.5, 2, 4))
    values = processor(np.full((*size, 3), grey, np.uint8))
    assert values.shape == (1, *wanted, 3)
    expected = (grey / 255 - np.array([0.5, 0.2, 0.1])) / [0.5, 2, 4]
    np.testing.assert_allclose(values, np.broadcast_to(expected, values.shape), atol=1e-6)


@given(sizes, st.integers(0, 5))
def test_resizing_to_the_own_size_changes_nothing(size, resample):
    pixels = noise(*size)
    assert np.array_equal(resize(pixels, size, resample), pixels)


# Nearest and box (0 and 4) are left out: where an edge falls on half a pixel, they take the one on its right.
@given(sizes, sizes, st.sampled_from([1, 2, 3, 5]), st.sampled_from([0, 1]))
def test_a_mirrored_image_gives_mirrored_pixels(size, wanted, resample, axis):
    pixels = noise(*size)
    mirrored = resize(np.flip(pixels, axis), wanted, resample).astype(int)
    assert np.abs(np.flip(mirrored, axis) - resize(pixels, wanted, resample)).max() <= 1


@given(sizes, sizes)
def test_a_centre_crop_takes_the_middle_and_borders_what_is_missing_in_black(size, wanted):
    pixels = noise(*size) | 1  # nowhere black
    expected = np.zeros((*wanted, 3), np.uint8)
    for row, column in itertools.product(range(wanted[0]), range(wanted[1])):
        y, x = row + (size[0] - wanted[0]) // 2, column + (size[1] - wanted[1]) // 2
        if 0 <= y < size[0] and 0 <= x < size[1]:
            expected[row, column] = pixels[y, x]
    assert np.array_equal(center_crop(pixels, wanted), expected)


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 500))
def test_the_shorter_edge_gets_its_length_and_the_longer_keeps_the_shape(height, width, length):
    tall, wide = target_size(height, width, length), target_size(width, height, length)
    assert tall == wide[::-1] or height == width
    assert min(tall) == length
    assert max(tall) == int(length * max(height, width) / min(height, width))
    assert (tall[0] >= tall[1]) == (height >= width) or tall[0] == tall[1]


def test_bytes_are_rescaled_then_normalised():
    pixels = noise(3, 4)
    processor = ImageProcessor(do_resize=False, rescale_factor=0.01, image_mean=(1, 2, 3), image_std=(4, 5, 6))
    np.testing.assert_allclose(processor(pixels)[0], (pixels * 0.01 - [1, 2, 3]) / [4, 5, 6], atol=1e-6)


def test_floats_between_0_and_1_are_resized_as_bytes_and_rescaled_again_with_a_warning(caplog):
    pixels = noise(6, 5)
    processor = ImageProcessor(size=(3, 4), do_normalize=False)
    with caplog.at_level("WARNING"):
        values = processor(pixels / 255)
    np.testing.assert_allclose(values * 255, processor(pixels), atol=1.01 / 255)  # 254.99999 becomes 254
    assert "rescaled" in caplog.text
    caplog.clear()
    ImageProcessor(size=(3, 4), do_rescale=False)(pixels / 255)
    processor(pixels.astype(np.float64))
    assert caplog.text == ""


def test_floats_that_are_all_0_or_1_count_as_bytes_as_they_do_in_transformers():
    values = ImageProcessor(size=(2, 2), do_rescale=True, rescale_factor=1.0, do_normalize=False)(np.ones((3, 3, 3)))
    assert (values == 1).all()
    assert resize(np.ones((3, 3, 3)), (2, 2), 2).dtype == np.uint8


OLD_AND_NEW = [
    (
        {"feature_extractor_type": "ViTFeatureExtractor", "size": 32},
        {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}},
    ),
    (
        {"feature_extractor_type": "CLIPFeatureExtractor", "size": 32, "crop_size": 30},
        {
            "image_processor_type": "CLIPImageProcessorFast",
            "size": {"shortest_edge": 32},
            "crop_size": {"height": 30, "width": 30},
        },
    ),
    (
        {"feature_extractor_type": "DeiTFeatureExtractor", "size": [32, 30], "image_mean": 0.5, "resample": 3},
        {"image_processor_type": "DeiTImageProcessorPil", "size": {"height": 32, "width": 30}, "image_std": None},
    ),
    (
        {"image_processor_type": "CLIPImageProcessor", "size": 32, "default_to_square": True},
        {"image_processor": {"image_processor_type": "CLIPImageProcessor", "size": {"height": 32, "width": 32}}},
    ),
]


@pytest.mark.parametrize(("old", "new"), OLD_AND_NEW)
def test_old_and_new_spellings_give_one_processor(old, new):
    old, new = ImageProcessor.from_config(old).to_config(), ImageProcessor.from_config(new).to_config()
    old.pop("default_to_square", None)
    assert old == new


def test_what_a_file_leaves_out_is_what_its_class_takes_for_granted():
    clip = ImageProcessor.from_config({"image_processor_type": "CLIPImageProcessor"})
    assert (clip.size, clip.crop_size, clip.resample, clip.do_convert_rgb) == (224, (224, 224), 3, True)
    assert clip.image_mean[0] == 0.48145466
    deit = ImageProcessor.from_config({}, kind="DeiTImageProcessor")
    assert (deit.size, deit.do_center_crop, deit.resample) == ((256, 256), True, 3)
    vit = ImageProcessor.from_config({})
    assert (vit.size, vit.do_center_crop, vit.resample, vit.image_std) == ((224, 224), False, 2, (0.5, 0.5, 0.5))
    assert not ImageProcessor.from_config({"do_resize": None}).do_resize


@pytest.mark.parametrize("case", CASES)
def test_a_config_comes_back_with_the_keys_that_it_does_not_know(case):
    processor = ImageProcessor.from_config({**CASES[case], "processor_class": "CLIPProcessor"})
    config = json.loads(json.dumps(processor.to_config()))
    assert config["processor_class"] == "CLIPProcessor"
    assert ImageProcessor.from_config(config) == processor
    assert ImageProcessor.from_config(config).to_config() == config


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"image_processor_type": "BeitImageProcessor"}, "image_processor_type"),
        ({"image_processor_type": ["ViTImageProcessor"]}, "image_processor_type"),
        ({"image_processor": 3}, "image_processor must be an object"),
        ({"size": 10**9}, "size must give 1 to"),
        ({"size": 0}, "size must give 1 to"),
        ({"size": {"height": -1, "width": -1}}, "size must give 1 to"),
        ({"size": {"longest_edge": 9}}, "size must be height and width"),
        ({"size": {"height": 9}}, "size must be height and width"),
        ({"size": {"height": 9, "width": "9"}}, "size.width must be a whole number"),
        ({"size": "224"}, "size must be height and width"),
        ({"size": True}, "size must be a whole number"),
        ({"size": 9.0}, "size must be height and width"),
        ({"crop_size": {"shortest_edge": 9}}, "crop_size must be height and width"),
        ({"crop_size": [2**20, 2**20]}, "crop_size must give"),
        ({"resample": 6}, "resample must be one of"),
        ({"resample": "bilinear"}, "resample must be a whole number"),
        ({"do_resize": "yes"}, "do_resize must be true or false"),
        ({"do_pad": True}, "do_pad must be false"),
        ({"image_mean": [0.5, 0.5]}, "image_mean must be a number"),
        ({"image_mean": [0.5, 0.5, float("nan")]}, "image_mean must be a number"),
        ({"image_std": [0.5, 0, 0.5]}, "image_std must not be 0"),
        ({"rescale_factor": float("inf")}, "rescale_factor must be a number"),
    ],
)
def test_a_hostile_config_is_refused_by_name(config, told):
    with pytest.raises(CheckpointError, match=told):
        ImageProcessor.from_config(config)


def test_a_constructor_refuses_what_cannot_be():
    with pytest.raises(ConfigError, match="image_std must be 3 numbers"):
        ImageProcessor(image_std=(1, 1))


def test_paths_bytes_pillow_images_and_arrays_give_the_same_batch(tmp_path):
    pixels = noise(20, 30)
    path = tmp_path / "a.png"
    path.write_bytes(file_of(pixels))
    processor = ImageProcessor(size=(7, 8))
    image = Image.fromarray(pixels)
    batch = processor([path, str(path), path.read_bytes(), image, pixels, pixels.astype(np.int64)])
    assert batch.shape == (6, 7, 8, 3)
    assert (batch == processor(pixels)).all()
    assert np.array_equal(processor(np.stack([pixels, pixels])), batch[:2])


def test_a_batch_is_its_images_one_by_one():
    images = [noise(9, 9), noise(30, 12), noise(5, 40)]
    processor = ImageProcessor(size=10, do_center_crop=True, crop_size=(10, 10))
    assert np.array_equal(processor(images), np.concatenate([processor(image) for image in images]))


def test_the_size_of_what_comes_out_is_known_where_it_hangs_on_no_image():
    assert ImageProcessor(size=(7, 8)).output_size == (7, 8)
    assert ImageProcessor(size=7).output_size is None
    assert ImageProcessor(size=(7, 8), do_resize=False).output_size is None
    cropped = ImageProcessor(size=7, do_center_crop=True, crop_size=(5, 6))
    assert cropped.output_size == (5, 6) == cropped(noise(9, 30)).shape[1:3]


def test_errors_call_an_image_by_its_path_or_by_its_number(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    for bad in (tmp_path / "a.png", str(tmp_path / "a.png"), tmp_path / ("n" * 300)):
        with pytest.raises(InputError, match=f"^cannot read {bad}: "):
            BARE([noise(4, 4), bad])
    with pytest.raises(InputError, match=r"^cannot read image 2: it is damaged"):
        BARE([noise(4, 4), b"no image"])
    with pytest.raises(InputError, match=r"^cannot read an image without a name: it is no file"):
        BARE("")


def test_what_pillow_warns_of_is_logged_by_name_and_nowhere_else(tmp_path, monkeypatch, caplog, recwarn):
    path = tmp_path / "a.png"
    path.write_bytes(file_of(noise(4, 4)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert read_image(path).size == (4, 4)
    assert caplog.messages == [f"{path}: {caplog.records[0].args[1]}"]
    assert "exceeds limit of 10 pixels" in caplog.text
    assert not recwarn


def test_images_of_different_sizes_make_no_batch():
    with pytest.raises(InputError, match=r"\(4, 4\), \(5, 4\)"):
        BARE([noise(4, 4), noise(5, 4)])
    with pytest.raises(InputError, match="there are no images"):
        BARE([])


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_is_read_by_its_content(kind, tmp_path):
    smooth = np.array(Image.fromarray(noise(3, 3)).resize((40, 30)))
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    path = tmp_path / "misnamed.txt"
    path.write_bytes(file_of(smooth, kind, **options))
    error = np.abs(BARE(path)[0] - smooth)
    assert error.mean() <= {"JPEG": 3, "GIF": 6}.get(kind, 0)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9])
def test_a_truncated_file_is_refused_by_name(kind, share, tmp_path):
    whole = file_of(noise(40, 50), kind)
    path = tmp_path / "cut"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match=f"cannot read {path}"):
        read_image(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"P6 1 1 255\n\0\0\0", file_of(noise(4, 4), "ICO"), b"<svg/>"],
)
def test_what_is_none_of_the_named_formats_is_refused(content):
    with pytest.raises(InputError, match="none of PNG, JPEG, WEBP, GIF, BMP, TIFF"):
        BARE(content)


def test_a_path_that_is_no_file_is_refused(tmp_path):
    for path in (tmp_path / "missing.png", "a\0b", "\ud800"):
        with pytest.raises(InputError, match="it is no file"):
            BARE(path)
    with pytest.raises(InputError, match="it is a directory: name the files in it"):
        BARE(tmp_path)
    with pytest.raises(InputError, match="is a float"):
        BARE([0.5])


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_header_that_promises_too_many_pixels_is_refused_before_any_is_read():
    with pytest.raises(InputError, match=r"1 to 89,478,485 pixels .* 9,460 x 9,459"):
        read_image(png_header(9460, 9459))
    with pytest.raises(InputError, match="exceeds limit"):  # Pillow's own
        read_image(png_header(60_000, 60_000))
    assert read_image(file_of(noise(4, 5)), max_pixels=20).size == (5, 4)
    for image in (file_of(noise(4, 5)), noise(4, 5), Image.fromarray(noise(4, 5))):
        with pytest.raises(InputError, match="1 to 19 pixels"):
            ImageProcessor(size=(3, 3), crop_size=(3, 3), max_pixels=19)(image)


def test_a_thin_image_does_not_grow_beyond_the_cap():
    with pytest.raises(InputError, match=r"resized to \(224, 5017600\)"):
        ImageProcessor(size=224)(noise(1, 22_400))


@given(st.sampled_from(FORMATS), st.data())
def test_a_damaged_file_gives_pixels_or_an_input_error(kind, data):
    content = bytearray(file_of(noise(12, 9), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, min(len(content), 200) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(InputError):
        assert ImageProcessor(size=(4, 4), max_pixels=10**6)(bytes(content)).shape == (1, 4, 4, 3)


def test_a_file_is_turned_upright_unless_asked_not_to_and_a_pillow_image_is_taken_as_it_stands():
    pixels = noise(4, 6)
    exif = Image.Exif()
    exif[0x112] = 6  # to be turned by 90 degrees clockwise
    content = file_of(pixels, exif=exif)
    assert np.array_equal(BARE(content)[0], np.rot90(pixels, -1))
    assert np.array_equal(np.array(read_image(content, upright=False)), pixels)
    assert np.array_equal(BARE(Image.open(io.BytesIO(content)))[0], pixels)


def test_an_uncompressed_tiff_on_its_side_is_the_same_from_a_path_and_from_bytes(tmp_path):
    pixels = noise(4, 6)[..., 0]
    exif = Image.Exif()
    exif[0x112] = 6
    path = tmp_path / "a.tif"
    path.write_bytes(file_of(pixels, "TIFF", exif=exif))
    assert np.array_equal(BARE(path), BARE(path.read_bytes()))
    assert np.array_equal(BARE(path)[0, ..., 0], np.rot90(pixels, -1))


def test_transparency_goes_onto_white_where_the_processor_converts_and_is_dropped_elsewhere():
    pixels = noise(5, 5, 4)
    share = pixels[..., 3:] / 255
    on_white = pixels[..., :3] * share + 255 * (1 - share)
    converting = ImageProcessor(do_resize=False, do_rescale=False, do_normalize=False, do_convert_rgb=True)
    for image in (pixels, Image.fromarray(pixels)):
        assert np.abs(converting(image)[0] - on_white).max() <= 1
        assert np.array_equal(BARE(image)[0], pixels[..., :3])
    np.testing.assert_allclose(converting(pixels / 255)[0], on_white / 255, atol=1e-6)
    assert np.array_equal(converting(file_of(pixels))[0], pixels[..., :3])  # the loader of Transformers drops it


def test_a_transparent_palette_goes_onto_white():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    image.info["transparency"] = 1
    converting = ImageProcessor(do_resize=False, do_rescale=False, do_normalize=False, do_convert_rgb=True)
    assert converting(image).tolist() == [[[[10, 20, 30], [255, 255, 255]]]]
    assert BARE(image).tolist() == [[[[10, 20, 30], [40, 50, 60]]]]


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "LA", "YCbCr"])
def test_every_mode_becomes_rgb(mode):
    image = Image.fromarray(noise(6, 7)).convert(mode)
    assert np.array_equal(BARE(image)[0], np.array(image.convert("RGB")))


def test_grey_is_repeated():
    grey = noise(4, 5)[..., 0]
    for image in (grey, grey[..., None], Image.fromarray(grey), file_of(grey)):
        assert np.array_equal(BARE(image)[0], np.repeat(grey[..., None], 3, -1))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_of_sixteen_bits_of_grey_the_upper_eight_are_kept(kind):
    deep = (np.arange(20, dtype=np.uint16) * 3449).reshape(4, 5)
    assert np.array_equal(BARE(file_of(deep, kind))[0, ..., 0], deep >> 8)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_thirty_two_bits_are_refused(dtype):
    with pytest.raises(InputError, match="32 bits"):
        BARE(file_of(np.ones((3, 3), dtype), "TIFF"))


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.zeros((3, 5, 7)), r"must have shape .* \(3, 5, 7\)"),  # channels first
        (np.zeros((0, 5, 3)), "must have shape"),
        (np.zeros(5), "must have shape"),
        (np.zeros((5, 5, 3), bool), "of integers or floats"),
        (np.full((5, 5, 3), np.nan), "must be finite"),
        (np.full((5, 5, 3), 256), r"whole numbers in \[0, 255\]"),
        (np.full((5, 5, 3), -1), r"whole numbers in \[0, 255\]"),
        (np.full((5, 5, 3), 1.5), r"whole numbers in \[0, 255\]"),
    ],
)
def test_an_array_that_is_no_image_is_refused(array, told):
    with pytest.raises(InputError, match=told):
        ImageProcessor(size=(2, 2))([array])
