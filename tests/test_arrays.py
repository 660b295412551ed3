"""What callers hand over as pixels: taken for what it means, or refused in a sentence."""

import io
import warnings

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageCms

from runtime.errors import InputError
from runtime.photo.arrays import as_rgb, rgb_of_array, rgb_of_picture

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
GREY = RGB[..., 0]
THREE = np.repeat(GREY[..., None], 3, axis=2)
ALPHA = np.arange(35, dtype=np.uint8).reshape(5, 7, 1)
OPAQUE = np.full((5, 7, 1), 255, np.uint8)


def right(array, expected):
    """Whether an array becomes this one, as an array of our own."""
    found = rgb_of_array(array)
    assert found.dtype == np.uint8 and found.flags.c_contiguous
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (GREY, THREE),
        (GREY[..., None], THREE),
        (np.dstack([GREY, ALPHA]), THREE),
        (RGB, RGB),
        (np.dstack([RGB, ALPHA]), RGB),
        (GREY > 100, np.where(THREE > 100, 255, 0)),
        (RGB > 100, np.where(RGB > 100, 255, 0)),
    ],
    ids=["grey", "one channel", "grey, alpha", "RGB", "RGBA", "bool grey", "bool RGB"],
)
def test_layouts(array, expected):
    right(array, expected)


@pytest.mark.parametrize("dtype", ["i2", "i4", "i8", "u4", "u8", ">i4", "<i2", ">f4", "f2", "f8"])
@pytest.mark.parametrize(("array", "expected"), [(GREY, THREE), (RGB, RGB)], ids=["grey", "RGB"])
def test_whole_numbers_up_to_255_are_levels(array, expected, dtype):
    right(array.astype(dtype), expected)


@pytest.mark.parametrize("dtype", ["u2", ">u2", "<u2"])
def test_sixteen_bits_keep_their_upper_eight(dtype):
    wide = (RGB.astype(np.uint32) * 257).astype(dtype)
    right(wide, RGB)
    right(wide[..., 0], THREE)
    right(np.zeros((5, 7), dtype), np.zeros((5, 7, 3)))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "longdouble"])
def test_floats_up_to_1_are_shares_of_white(dtype):
    right((RGB / 255).astype(dtype), RGB)
    right((GREY / 255).astype(dtype), THREE)
    right((np.dstack([RGB, ALPHA]) / 255).astype(dtype), RGB)


def test_what_rounding_leaves_beyond_0_and_1_is_taken():
    right(np.array([[-1e-6, 0.5, 1 + 1e-6]]), [[[0] * 3, [128] * 3, [255] * 3]])


def test_alpha_does_not_decide_what_colours_mean():
    right(np.dstack([RGB / 255, ALPHA]), RGB)
    right(np.dstack([RGB.astype(float), OPAQUE / 255]), RGB)
    right(np.dstack([RGB / 255, np.full((5, 7), np.nan)]), RGB)


@pytest.mark.parametrize(
    "form",
    [
        np.asfortranarray,
        lambda a: a[::-1, ::-1][::-1, ::-1],
        lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        lambda a: np.moveaxis(np.moveaxis(a, 2, 0).copy(), 0, 2),
        lambda a: np.lib.stride_tricks.as_strided(a, writeable=False),
        lambda a: np.ma.masked_array(a),
        lambda a: np.frombuffer(a.tobytes(), np.uint8).reshape(a.shape),
    ],
)
def test_the_layout_in_memory_does_not_matter(form):
    right(form(RGB), RGB)


def test_a_photo_is_handed_back_and_left_alone():
    assert rgb_of_array(RGB) is not None and np.shares_memory(rgb_of_array(RGB), RGB)
    before = RGB.copy()
    for array in (GREY, np.dstack([RGB, ALPHA]), RGB / 255):
        kept = array.copy()
        rgb_of_array(array)
        np.testing.assert_array_equal(array, kept)
    np.testing.assert_array_equal(RGB, before)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (None, "None, as cv2.imread gives for a file that it cannot read"),
        ([[0, 1]], "photo is list, expected a numpy array"),
        (np.zeros((3, 40, 50), np.uint8), r"channels come first: give photo.transpose\(1, 2, 0\)"),
        (np.zeros((1, 40, 50), np.uint8), "channels come first"),
        (np.zeros((1, 40, 50, 3), np.uint8), "drop the batch axis"),
        (np.zeros((40, 50, 5), np.uint8), r"\(40, 50, 5\), expected grey \(H, W\)"),
        (np.zeros(40, np.uint8), r"uint8 \(40,\), expected grey"),
        (np.zeros((), np.uint8), r"uint8 \(\), expected grey"),
        (np.zeros((0, 5, 3), np.uint8), "of one pixel at least"),
        (np.zeros((4, 0), np.uint8), "of one pixel at least"),
        (RGB.astype(complex), "array of complex128"),
        (RGB.astype(object), "array of object"),
        (RGB.astype(str), "array of <U3"),
        (np.ma.masked_greater(RGB, 100), "a masked array; give its pixels"),
        (RGB.astype(np.uint16), "8 bits in a wider type, or a very dark picture of 16 bits"),
        (RGB.astype(np.int32) * 257, "expected 0 to 255; give a picture of 16 bits as uint16"),
        (RGB.astype(np.int16) - 128, "from -128 to 1.., expected 0 to 255$"),
        (np.full((4, 4), np.nan), "values that are not finite"),
        (np.array([[0, np.inf]]), "values that are not finite"),
        (np.array([[0, -np.inf]]), "values that are not finite"),
        (np.array([[-2.1, 2.6]]), "if it is normalised, undo that"),
        (np.array([[0, 256.0]]), "expected 0 to 1, or whole numbers from 0 to 255"),
        (np.array([[0, 1.04]]), "meant to be 0..1, or 0..255"),
        (np.array([[0.5, 200.0]]), "meant to be 0..1, or 0..255"),
    ],
)
def test_what_could_mean_two_things_or_nothing_is_refused(array, message):
    with pytest.raises(InputError, match=message):
        rgb_of_array(array)


def test_a_tensor_is_told_how_to_become_an_array():
    torch = pytest.importorskip("torch")
    with pytest.raises(InputError, match=r"image\[1\].permute\(1, 2, 0\).cpu\(\).numpy\(\)"):
        rgb_of_array(torch.zeros(3, 4, 5), "image[1]")


DTYPES = st.one_of(
    arrays.boolean_dtypes(),
    arrays.integer_dtypes(),
    arrays.unsigned_integer_dtypes(),
    arrays.floating_dtypes(),
    arrays.complex_number_dtypes(),
)


@given(arrays.arrays(DTYPES, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6)))
def test_any_array_becomes_rgb_or_is_refused(array):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found = rgb_of_array(array)
        except InputError as error:
            assert str(error).startswith("photo is ") and "\n" not in str(error)
        else:
            assert found.dtype == np.uint8 and found.shape == (*array.shape[:2], 3)


def opened(picture, kind, **options):
    """The picture as Pillow opens it from a file."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return Image.open(io.BytesIO(file.getvalue()))


COLOUR = Image.fromarray(RGB)
SEE_THROUGH = Image.fromarray(np.dstack([RGB, ALPHA]))
INDEXED = COLOUR.convert("P", palette=Image.Palette.ADAPTIVE, colors=40)
INDEXED_BYTES = INDEXED.copy()
INDEXED_BYTES.info["transparency"] = bytes(range(40))


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (Image.fromarray(GREY > 100), np.where(THREE > 100, 255, 0)),
        (Image.fromarray(GREY), THREE),
        (Image.fromarray(np.dstack([GREY, ALPHA])), THREE),
        (COLOUR, RGB),
        (SEE_THROUGH, RGB),
        (COLOUR.convert("RGBX"), RGB),
        (COLOUR.convert("RGBA").convert("RGBa"), RGB),
        (Image.fromarray(np.dstack([GREY, OPAQUE])).convert("La"), THREE),
        (INDEXED, np.asarray(INDEXED.convert("RGB"))),
        (INDEXED_BYTES, np.asarray(INDEXED.convert("RGB"))),
        (INDEXED.convert("PA"), np.asarray(INDEXED.convert("RGB"))),
        (Image.fromarray(255 - RGB).convert("CMYK"), 255 - RGB),
        (Image.fromarray(GREY.astype("<u2") * 257), THREE),
        (Image.fromarray(GREY.astype(">u2") * 257), THREE),
        (opened(Image.fromarray(GREY.astype("<u2") * 257), "PNG"), THREE),
        (Image.fromarray(GREY.astype(np.int32)), THREE),
        (Image.fromarray(GREY.astype(np.float32)), THREE),
        (Image.fromarray((GREY / 255).astype(np.float32)), THREE),
    ],
    ids=lambda value: getattr(value, "mode", ""),
)
def test_pictures_of_every_mode(picture, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = rgb_of_picture(picture)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "LAB"])
def test_other_colour_spaces_come_back_nearly(mode):
    soft = cv2.resize(RGB, (40, 30), interpolation=cv2.INTER_CUBIC)
    picture = Image.fromarray(soft)
    if mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        picture = ImageCms.profileToProfile(
            picture, ImageCms.createProfile("sRGB"), lab, outputMode="LAB"
        )
    else:
        picture = picture.convert(mode)
    off = np.abs(rgb_of_picture(picture).astype(int) - soft)
    assert picture.mode == mode and off.mean() < 3


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (Image.new("RGB", (0, 4)), "of one pixel at least"),
        (Image.fromarray(GREY.astype(np.int32) * 300), "give a picture of 16 bits as uint16"),
        (Image.fromarray(GREY.astype(np.uint16)), "8 bits in a wider type"),
        (Image.fromarray(GREY.astype(np.float32) - 3), "expected 0 to 1"),
    ],
)
def test_pictures_that_could_mean_two_things_are_refused(picture, message):
    with pytest.raises(InputError, match=message):
        rgb_of_picture(picture)


def test_a_picture_whose_file_is_damaged_or_closed_is_refused():
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)).save(
        file, "PNG"
    )
    cut, closed = Image.open(io.BytesIO(file.getvalue()[:3000])), Image.open(file)
    closed.close()
    for picture in (cut, closed):
        with pytest.raises(InputError, match="photo: a picture that cannot be read"):
            rgb_of_picture(picture)


def test_a_picture_is_not_turned_and_a_tiff_turns_itself():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert rgb_of_picture(opened(COLOUR, "PNG", exif=exif)).shape == (5, 7, 3)
    turned = opened(COLOUR, "TIFF", exif=exif)  # in Pillow's hands already, size and all
    np.testing.assert_array_equal(rgb_of_picture(turned), np.rot90(RGB, -1))
    assert turned.size == (5, 7)


def test_arrays_and_pictures_come_through_one_door():
    np.testing.assert_array_equal(as_rgb(COLOUR), as_rgb(RGB))
