"""What becomes of bytes called a photo: upright RGB of 8 bits, or one sentence why not."""

import errno
import io
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fuzzing import spent
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile, ImageOps, PngImagePlugin

from runtime.errors import InputError, LimitError
from runtime.photo.decode import (
    IMAGE_FORMATS,
    MAX_SIDE,
    focal_px_of,
    photo_size,
    read_at_least,
    read_photo,
)
from runtime.photo.find import SUFFIXES
from runtime.photo.header import MAX_PARTS
from runtime.photo.jpeg import MAX_SCANNED, MAX_SCANS
from runtime.photo.pillow import BAND_ROWS

ORIENTATION = 0x0112


def encode(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def png_chunk(name: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + checksum


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is and then stops: RGB of 8 bits, no pixel."""
    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", size) + png_chunk(b"IDAT", b"")


def exif(*entries: tuple[int, int, int, bytes]) -> bytes:
    """EXIF of (tag, type, count, four bytes of value), written by hand: Pillow corrects types."""
    directory = struct.pack("<H", len(entries))
    for tag, kind, count, value in entries:
        directory += struct.pack("<HHI4s", tag, kind, count, value)
    return b"Exif\0\0II*\0\x08\0\0\0" + directory + b"\0\0\0\0"


@pytest.fixture(scope="module")
def photo(make_photo) -> np.ndarray:
    return make_photo(24, 37)


@pytest.fixture(scope="module")
def encoded(photo) -> dict[str, bytes]:
    """The same photo in each format."""
    image = Image.fromarray(photo)
    tags = Image.Exif()
    tags[ORIENTATION] = 1
    return {
        "JPEG": encode(image, "JPEG", quality=95, exif=tags),
        "PNG": encode(image, "PNG", exif=tags),
        "WEBP": encode(image, "WEBP", quality=95, exif=tags),
        "BMP": encode(image, "BMP"),
        "TIFF": encode(image, "TIFF"),
    }


@pytest.mark.parametrize("file_format", IMAGE_FORMATS)
def test_every_format_decodes_to_rgb_of_8_bits(file_format, encoded, photo):
    rgb = read_photo(encoded[file_format])
    assert rgb.dtype == np.uint8 and rgb.shape == photo.shape
    lossy = file_format in ("JPEG", "WEBP")
    assert np.abs(rgb.astype(int) - photo).mean() <= (4 if lossy else 0)


def test_the_channels_are_red_green_blue():
    red, green, blue = np.eye(3, dtype=np.uint8) * 255
    pixels = np.stack([red, green, blue])[None]  # (1, 3, 3)
    np.testing.assert_array_equal(read_photo(encode(Image.fromarray(pixels), "PNG")), pixels)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_with_any_known_suffix_is_read(suffix, tmp_path, save_photo):
    saved = save_photo(tmp_path / f"photo{suffix.replace('.dib', '.bmp')}", 9, 12)
    file = saved.rename(tmp_path / f"photo{suffix}")
    assert read_photo(file).shape == (9, 12, 3)
    assert read_photo(str(file)).shape == (9, 12, 3)


def test_the_format_is_told_by_the_bytes_not_by_the_name(tmp_path, encoded, photo):
    file = tmp_path / "really-a-png.jpg"
    file.write_bytes(encoded["PNG"])
    np.testing.assert_array_equal(read_photo(file), photo)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(orientation, file_format, photo):
    # what a camera held that way stores: the inverse of what its tag asks the reader to do
    stored = {
        1: photo,
        2: photo[:, ::-1],
        3: photo[::-1, ::-1],
        4: photo[::-1],
        5: photo.transpose(1, 0, 2),
        6: np.rot90(photo, 1),
        7: photo[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(photo, -1),
    }[orientation]
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    options = {"lossless": True} if file_format == "WEBP" else {}
    image = Image.fromarray(np.ascontiguousarray(stored))
    rgb = read_photo(encode(image, file_format, exif=tags, **options))
    assert rgb.shape == photo.shape
    tolerance = 8 if file_format == "JPEG" else 0
    assert np.abs(rgb.astype(int) - photo).mean() <= tolerance


@pytest.mark.parametrize("height", [1, BAND_ROWS - 1, BAND_ROWS, BAND_ROWS + 1, 3 * BAND_ROWS])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_pixels_are_those_that_pillow_decodes_bit_for_bit(mode, height, make_photo):
    data = encode(Image.fromarray(make_photo(height, 37)).convert(mode), "JPEG", quality=90)
    expected = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(read_photo(data), expected)


@pytest.mark.parametrize(
    ("needed_hw", "decoded_hw"),
    [
        ((400, 600), (400, 600)),
        ((201, 300), (400, 600)),
        ((200, 301), (400, 600)),
        ((200, 300), (200, 300)),
        ((101, 2), (200, 300)),
        ((100, 150), (100, 150)),
        ((50, 75), (50, 75)),
        ((14, 14), (50, 75)),
        ((800, 1200), (400, 600)),
    ],
)
def test_a_jpeg_is_decoded_smaller_as_far_as_it_is_not_needed(needed_hw, decoded_hw, make_photo):
    data = encode(Image.fromarray(make_photo(400, 600)), "JPEG", quality=95)
    asked = []
    rgb, whole_hw = read_at_least(data, lambda whole: asked.append(whole) or needed_hw)
    assert rgb.shape == (*decoded_hw, 3) and whole_hw == (400, 600) and asked == [(400, 600)]
    smaller = cv2.resize(read_photo(data), decoded_hw[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(rgb.astype(int) - smaller).mean() < 2


def test_a_side_that_is_no_multiple_of_the_reduction_is_rounded_up(make_photo):
    data = encode(Image.fromarray(make_photo(403, 599)), "JPEG")
    rgb, whole_hw = read_at_least(data, lambda _: (50, 50))
    assert rgb.shape == (51, 75, 3) and whole_hw == (403, 599)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_of_any_kind_decoded_smaller_stands_upright(
    orientation, progressive, mode, make_photo
):
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    image = Image.fromarray(make_photo(240, 400)).convert(mode)
    data = encode(image, "JPEG", quality=95, exif=tags, progressive=progressive)
    whole = read_photo(data)
    small_hw = (whole.shape[0] // 4, whole.shape[1] // 4)
    rgb, whole_hw = read_at_least(data, lambda _: small_hw)
    assert whole_hw == whole.shape[:2] and rgb.shape == (*small_hw, 3)
    smaller = cv2.resize(whole, small_hw[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(rgb.astype(int) - smaller).mean() < 3


def test_no_side_of_a_square_jpeg_that_lies_is_decoded_smaller_than_needed(make_photo):
    tags = Image.Exif()
    tags[ORIENTATION] = 6
    data = encode(Image.fromarray(make_photo(400, 400)), "JPEG", exif=tags)
    assert read_at_least(data, lambda _: (150, 50))[0].shape == (200, 200, 3)


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "BMP", "TIFF"])
def test_what_is_no_jpeg_is_decoded_whole(file_format, encoded, photo):
    rgb, whole_hw = read_at_least(encoded[file_format], lambda _: (2, 2))
    assert rgb.shape == photo.shape and whole_hw == photo.shape[:2]


def test_limits_hold_for_the_whole_photo_however_small_it_is_decoded(make_photo):
    data = encode(Image.fromarray(make_photo(400, 600)), "JPEG")
    with pytest.raises(LimitError, match="240,000 pixels, limit 239,999"):
        read_at_least(data, lambda _: (14, 14), 239_999)
    with pytest.raises(InputError, match="damaged or incomplete"):
        read_at_least(data[: len(data) // 2], lambda _: (14, 14))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_ignored(orientation, photo):
    data = encode(
        Image.fromarray(photo),
        "PNG",
        exif=exif((ORIENTATION, 3, 1, struct.pack("<HH", orientation, 0))),
    )
    np.testing.assert_array_equal(read_photo(data), photo)


@pytest.mark.parametrize(
    "entry",
    [(0x0100, 2, 4, b"odd\0"), (0x011A, 2, 4, b"odd\0")],
    ids=["text-for-an-integer", "text-for-a-fraction"],
)
def test_a_strange_exif_tag_does_not_keep_a_photo_from_being_turned(entry, photo):
    tags = exif((ORIENTATION, 3, 1, struct.pack("<HH", 6, 0)), entry)
    image = Image.fromarray(np.ascontiguousarray(np.rot90(photo, 1)))
    np.testing.assert_array_equal(read_photo(encode(image, "PNG", exif=tags)), photo)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
def test_grey_becomes_three_equal_channels(file_format, photo):
    options = {"lossless": True} if file_format == "WEBP" else {}
    rgb = read_photo(encode(Image.fromarray(photo[..., 0]), file_format, **options))
    assert rgb.shape == photo.shape
    np.testing.assert_array_equal(rgb[..., 0], rgb[..., 1])
    np.testing.assert_array_equal(rgb[..., 0], rgb[..., 2])
    assert np.abs(rgb[..., 0].astype(int) - photo[..., 0]).mean() < 4


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP"])
def test_transparency_is_dropped_not_blended(file_format, photo):
    alpha = np.full(photo.shape[:2], 3, np.uint8)  # nearly clear: blending would show
    options = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    image = Image.fromarray(np.dstack([photo, alpha]))
    np.testing.assert_array_equal(read_photo(encode(image, file_format, **options)), photo)


def test_grey_with_transparency_is_grey(photo):
    image = Image.fromarray(photo[..., 0]).convert("LA")
    image.putalpha(3)
    np.testing.assert_array_equal(read_photo(encode(image, "PNG"))[..., 2], photo[..., 0])


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF"])
def test_a_palette_is_looked_up(file_format, photo):
    image = Image.fromarray(photo).quantize(16)
    expected = np.array(image.convert("RGB"))
    np.testing.assert_array_equal(read_photo(encode(image, file_format)), expected)


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
def test_a_transparent_palette_is_looked_up(photo):
    image = Image.fromarray(photo).quantize(16)
    expected = np.array(image.convert("RGB"))
    data = encode(image, "PNG", transparency=b"\x00\x80")
    np.testing.assert_array_equal(read_photo(data), expected)


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF"])
def test_one_bit_a_pixel_is_black_and_white(file_format):
    bits = np.array([[0, 255, 0], [255, 255, 0]], np.uint8)
    image = Image.fromarray(bits).convert("1", dither=Image.Dither.NONE)
    np.testing.assert_array_equal(read_photo(encode(image, file_format))[..., 1], bits)


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_printers_colours_become_rgb(file_format):
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    rgb = read_photo(encode(red, file_format))
    assert rgb.shape == (8, 8, 3)
    assert rgb[4, 4, 0] > 240 and rgb[4, 4, 1] < 15 and rgb[4, 4, 2] < 15


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_grey_of_16_bits_keeps_its_upper_8(file_format):
    values = np.array([[0, 255, 256], [40000, 65279, 65535]], np.uint16)
    rgb = read_photo(encode(Image.fromarray(values), file_format))
    np.testing.assert_array_equal(rgb, np.dstack([(values >> 8).astype(np.uint8)] * 3))


def test_grey_of_16_bits_is_turned_upright_too():
    values = (np.arange(12, dtype=np.uint16) * 5000).reshape(3, 4)
    tags = Image.Exif()
    tags[ORIENTATION] = 6
    rgb = read_photo(encode(Image.fromarray(values), "PNG", exif=tags))
    np.testing.assert_array_equal(rgb[..., 0], np.rot90((values >> 8).astype(np.uint8), -1))


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [3, 4])
def test_colour_of_16_bits_keeps_its_upper_8(suffix, channels):
    values = np.random.default_rng(0).integers(0, 65536, (5, 7, channels), np.uint16)
    done, data = cv2.imencode(suffix, values)  # takes BGR
    assert done
    expected = (values[..., 2::-1] >> 8).astype(np.uint8)
    np.testing.assert_array_equal(read_photo(data.tobytes()), expected)


@pytest.mark.parametrize("value", [-1, 255, 65536])
def test_32_bit_integers_are_refused(value):
    data = encode(Image.fromarray(np.full((4, 4), value, np.int32)), "TIFF")
    with pytest.raises(InputError, match="a TIFF of 32-bit signed samples"):
        read_photo(data)


def test_float_pixels_are_refused():
    data = encode(Image.fromarray(np.full((4, 4), 0.5, np.float32)), "TIFF")
    with pytest.raises(InputError, match="a TIFF of 32-bit floating-point samples, which do not"):
        read_photo(data)


@pytest.mark.parametrize("file_format", IMAGE_FORMATS)
def test_a_single_pixel_is_a_photo(file_format):
    image = Image.new("RGB", (1, 1), (200, 200, 200))
    rgb = read_photo(encode(image, file_format))
    assert rgb.shape == (1, 1, 3) and np.abs(rgb.astype(int) - 200).max() <= 3


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_is_taken(file_format, photo):
    first, second = Image.fromarray(photo), Image.fromarray(255 - photo)
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = encode(first, file_format, save_all=True, append_images=[second], **options)
    np.testing.assert_array_equal(read_photo(data), photo)


def test_the_result_can_be_written_to(encoded):
    rgb = read_photo(encoded["JPEG"])
    rgb[0, 0] = 7
    assert rgb.flags.c_contiguous and (rgb[0, 0] == 7).all()


def test_an_embedded_colour_profile_is_not_applied(photo):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encode(Image.fromarray(photo), "PNG", icc_profile=profile)
    np.testing.assert_array_equal(read_photo(data), photo)


def test_a_photo_of_exactly_the_limit_is_read(encoded, photo):
    pixels = photo.shape[0] * photo.shape[1]
    assert read_photo(encoded["PNG"], max_pixels=pixels).shape == photo.shape
    with pytest.raises(InputError, match=f"37 x 24 = {pixels} pixels, limit {pixels - 1}; shrink"):
        read_photo(encoded["PNG"], max_pixels=pixels - 1)


def test_a_huge_photo_is_refused_by_its_header_alone(monkeypatch):
    def decoded(*_: Any) -> None:
        raise AssertionError("a pixel was decoded")

    monkeypatch.setattr(Image.Image, "load", decoded)
    monkeypatch.setattr(ImageOps, "exif_transpose", decoded)
    with pytest.raises(InputError, match="30000 x 30000 = 900,000,000 pixels, limit 100,000,000"):
        read_photo(png_header(30000, 30000))


def test_a_header_within_the_limit_and_no_pixels_is_an_incomplete_photo():
    with pytest.raises(InputError, match="damaged or incomplete"):
        read_photo(png_header(300, 300))


@pytest.mark.parametrize("file_format", IMAGE_FORMATS)
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_a_truncated_photo_is_refused(file_format, kept, encoded, tmp_path):
    file = tmp_path / "half.jpg"
    file.write_bytes(encoded[file_format][: int(len(encoded[file_format]) * kept)])
    with pytest.raises(InputError, match=r"half\.jpg: (damaged or incomplete|not an image)"):
        read_photo(file)


def segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def with_scans(photo: np.ndarray, scans: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    data = encode(Image.fromarray(photo), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * (scans - data.count(b"\xff\xda")) + data[-2:]


def named_twice(tags: int) -> bytes:
    """EXIF whose tags each name the whole of it."""
    return exif(*((1000 + index, 1, 12 * tags, struct.pack("<I", 8)) for index in range(tags)))


def test_a_jpeg_of_many_scans_is_read_and_one_of_too_many_is_refused(photo):
    assert read_photo(with_scans(photo, MAX_SCANS)).shape == photo.shape
    with pytest.raises(LimitError, match="over 100 scans in a JPEG of 888 pixels; save it again"):
        read_photo(with_scans(photo, MAX_SCANS + 1))
    with pytest.raises(LimitError, match="over 100 scans"):
        photo_size(with_scans(photo, MAX_SCANS + 1))


def test_what_follows_a_jpeg_is_not_counted_as_its_scans(encoded, photo):
    film = encoded["JPEG"] + b"\xff\xda" * 500  # as phones put a film behind a photo
    np.testing.assert_array_equal(read_photo(film), read_photo(encoded["JPEG"]))


def test_a_thumbnail_is_not_counted_as_scans(photo):
    comment = segment(0xFE, b"\xff\xda" * 500)
    data = encode(Image.fromarray(photo), "JPEG")
    assert read_photo(data[:2] + comment + data[2:]).shape == photo.shape


def test_scans_are_counted_behind_an_end_that_is_only_data(photo):
    data = with_scans(photo, MAX_SCANS + 1)
    last = data.rindex(b"\xff\xda")
    first = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    assert first < last
    hidden = data[:first] + segment(0xFE, b"\xff\xd9") + data[first:]
    with pytest.raises(LimitError, match="over 100 scans"):
        read_photo(hidden)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_exif_that_names_the_same_bytes_again_and_again_costs_nothing(file_format, photo):
    tags = named_twice(4000)
    data = encode(Image.fromarray(photo), file_format, exif=tags, quality=95)
    took, peak = spent(lambda: photo_size(data))
    assert took < 0.2 and peak < 2_000_000
    assert photo_size(data) == photo.shape[:2] and focal_px_of(data) is None
    assert np.abs(read_photo(data).astype(int) - photo).mean() < 5


def test_a_tiff_that_names_the_same_bytes_again_and_again_costs_nothing():
    data = named_twice(4000)[len(b"Exif\0\0") :]

    def refused() -> None:
        with pytest.raises(InputError, match=r"0 x 0 pixels"):
            photo_size(data)

    took, peak = spent(refused)
    assert took < 0.2 and peak < 2_000_000


@pytest.mark.parametrize(
    ("filling", "parts"),
    [
        (segment(0xE5, b""), MAX_PARTS + 1),
        (segment(0xE1, b"Exif\0\0a"), 1000),
        (b"\0", 1 << 20),
        (b"\xff", 1 << 20),
        (b"\xff\0", 1 << 19),
    ],
    ids=["segments", "exif", "zeros", "markers", "stuffed"],
)
def test_a_jpeg_header_that_is_long_is_read_soon_or_refused(filling, parts, encoded, photo):
    data = encoded["JPEG"]
    long = data[:2] + segment(0xFE, b"") + filling * parts + data[2:]
    if parts > MAX_PARTS and len(filling) > 2:
        with pytest.raises(LimitError, match=f"over {MAX_PARTS:,} segments"):
            photo_size(long)
        return
    assert spent(lambda: photo_size(long))[0] < 0.5
    assert photo_size(long) == photo.shape[:2]
    np.testing.assert_array_equal(read_photo(long), read_photo(data))


def test_a_png_of_too_many_chunks_is_refused(encoded):
    data = encoded["PNG"]
    with pytest.raises(LimitError, match=f"over {MAX_PARTS:,} chunks in a PNG"):
        photo_size(data[:33] + png_chunk(b"aaAa", b"") * MAX_PARTS + data[33:])


def test_a_webp_of_too_many_chunks_is_refused(encoded):
    data = encoded["WEBP"]
    with pytest.raises(LimitError, match=f"over {MAX_PARTS:,} chunks in a WebP"):
        photo_size(data + b"abcd\0\0\0\0" * MAX_PARTS)


@pytest.mark.parametrize("size_wh", [(MAX_SIDE + 1, 1), (1, MAX_SIDE + 1), (1 << 31, 1)])
def test_a_side_longer_than_any_decoder_takes_is_refused_by_its_header(size_wh):
    with pytest.raises(LimitError, match=r"pixels, limit 65,500 on a side; cut or shrink it"):
        read_photo(png_header(*size_wh))


@pytest.mark.parametrize("size_hw", [(1, MAX_SIDE), (MAX_SIDE, 1)])
def test_a_photo_as_long_as_the_limit_is_read(size_hw):
    line = Image.new("RGB", size_hw[::-1], (9, 99, 200))
    rgb = read_photo(encode(line, "PNG"))
    assert rgb.shape == (*size_hw, 3) and (rgb == (9, 99, 200)).all()


def test_a_jpeg_in_scans_is_refused_by_the_memory_that_its_coefficients_take(monkeypatch, photo):
    data = encode(Image.fromarray(photo), "JPEG", progressive=True, subsampling=2)
    held = 2 * photo.shape[0] * photo.shape[1] * 3 // 2 + len(data)
    monkeypatch.setattr("runtime.photo.jpeg.MAX_HELD", held)
    assert read_photo(data).shape == photo.shape
    monkeypatch.setattr("runtime.photo.jpeg.MAX_HELD", held - 1)
    with pytest.raises(LimitError, match=rf"takes {held:,} bytes .* save it as a baseline JPEG"):
        photo_size(data)
    assert photo_size(encode(Image.fromarray(photo), "JPEG")) == photo.shape[:2]


def test_scans_are_counted_by_the_pixels_that_they_go_over(monkeypatch, photo):
    data = with_scans(photo, 20)
    assert read_photo(data).shape == photo.shape
    monkeypatch.setattr("runtime.photo.jpeg.MAX_SCANNED", 19 * photo.shape[0] * photo.shape[1])
    with pytest.raises(LimitError, match="over 19 scans in a JPEG of 888 pixels"):
        photo_size(data)
    assert MAX_SCANNED // 100_000_000 >= 12  # a photo at the pixel limit may be progressive


def tiled(tile: int) -> bytes:
    """A grey TIFF of 16 x 16 pixels in one packed tile."""
    packed = zlib.compress(bytes(256))
    values = {0x100: 16, 0x101: 16, 0x102: 8, 0x103: 8, 0x106: 1, 0x115: 1}
    values.update({0x142: tile, 0x143: tile, 0x144: 8 + 2 + 12 * 10 + 4, 0x145: len(packed)})
    entries = [(tag, 4, 1, struct.pack("<I", value)) for tag, value in values.items()]
    return exif(*entries)[len(b"Exif\0\0") :] + packed


def test_a_tile_counts_like_a_photo_of_its_size():
    assert read_photo(tiled(16)).shape == (16, 16, 3)
    with pytest.raises(LimitError, match="tiles of 400,000,000 pixels, limit 100,000,000"):
        read_photo(tiled(20_000))


def test_the_size_is_told_without_decoding_a_pixel(monkeypatch, encoded, photo):
    def decoded(*_: Any) -> None:
        raise AssertionError("a pixel was decoded")

    plain = encode(Image.fromarray(photo), "PNG")  # without EXIF, which Pillow then looks for
    for kind in (Image.Image, ImageFile.ImageFile, PngImagePlugin.PngImageFile):
        monkeypatch.setattr(kind, "load", decoded)
    for file_format in IMAGE_FORMATS:
        assert photo_size(encoded[file_format]) == photo.shape[:2]
    assert photo_size(plain) == photo.shape[:2]
    assert photo_size(png_header(30000, 20000)) == (20000, 30000)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(InputError, match=r"empty\.jpg: empty, 0 bytes"):
        read_photo(tmp_path / "empty.jpg")
    with pytest.raises(InputError, match="photo: empty, 0 bytes"):
        read_photo(b"")


def test_text_named_like_a_photo_is_refused(tmp_path):
    (tmp_path / "notes.jpg").write_text("dear diary")
    with pytest.raises(InputError, match=r"notes\.jpg: not an image in a known format \(JPEG, PNG"):
        read_photo(tmp_path / "notes.jpg")


def test_a_format_we_do_not_name_is_refused(photo):
    with pytest.raises(InputError, match="not an image in a known format"):
        read_photo(encode(Image.fromarray(photo), "GIF"))


def test_a_folder_named_like_a_photo_is_refused(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(InputError, match=r"folder\.jpg: a folder, expected a file"):
        read_photo(tmp_path / "folder.jpg")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no\.jpg: cannot be read \(No such file or directory\)"):
        read_photo(tmp_path / "no.jpg")


def test_a_file_without_permission_is_refused(tmp_path, save_photo, monkeypatch):
    def forbidden(_: Path, mode: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    file = save_photo(tmp_path / "secret.png")
    monkeypatch.setattr(Path, "open", forbidden)  # chmod would not stop root
    with pytest.raises(InputError, match=r"secret\.png: cannot be read \(Permission denied\)"):
        read_photo(file)


def test_a_name_that_no_file_can_have_is_refused():
    with pytest.raises(InputError, match="cannot be read"):
        read_photo("a\0b.jpg")


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data):
    with pytest.raises(InputError):
        read_photo(data)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("file_format", IMAGE_FORMATS)
@given(tail=st.binary(max_size=200))
def test_random_bytes_after_a_magic_number_are_refused(file_format, encoded, tail):
    with pytest.raises(InputError):
        read_photo(encoded[file_format][:12] + tail, max_pixels=10**6)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # it says which tags it skipped
@pytest.mark.parametrize("file_format", IMAGE_FORMATS)
def test_a_mutated_photo_decodes_or_is_refused_and_nothing_else(file_format, encoded):
    rng = np.random.default_rng(2024)
    decoded = 0
    for _ in range(400):
        data = bytearray(encoded[file_format])
        where = len(data) if rng.random() < 0.5 else 64  # headers break in more ways than pixels
        for at in rng.integers(0, where, rng.integers(1, 5)):
            data[at] = rng.integers(0, 256)
        if rng.random() < 0.2:
            del data[rng.integers(0, len(data)) :]
        try:
            rgb = read_photo(bytes(data), max_pixels=10**6)
        except InputError:
            continue
        assert rgb.dtype == np.uint8 and rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.size
        decoded += 1
    assert 0 < decoded < 400  # else the mutations test only one of the two ways


def test_a_file_that_is_larger_than_a_photo_may_be_is_refused_before_it_is_read(tmp_path):
    file = tmp_path / "huge.jpg"
    with file.open("wb") as sparse:
        sparse.truncate(3 << 30)
    tracemalloc.start()
    with pytest.raises(LimitError, match=r"huge\.jpg: .* bytes, limit 268,435,456"):
        read_photo(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_a_tiff_is_bounded_by_all_its_channels():
    values = {0x100: 10_000, 0x101: 10_000, 0x102: 16, 0x106: 5, 0x111: 8, 0x115: 6, 0x117: 9}
    entries = [(tag, 4, 1, struct.pack("<I", value)) for tag, value in values.items()]
    with pytest.raises(LimitError, match="unpacks to 1,200,000,000 bytes, limit 1,000,000,000"):
        photo_size(exif(*entries)[len(b"Exif\0\0") :])
