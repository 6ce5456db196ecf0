"""Finding and decoding images, and refusing what must not be opened."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from scoring.images import decode
from scoring.images.decode import ImageLocation, ImageProblem, open_image, resolve_image
from scoring.samples import Status


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "in").mkdir(parents=True)
    Image.new("RGB", (4, 3), (255, 0, 0)).save(folder / "in" / "red.png")
    Image.new("RGB", (4, 3)).save(tmp_path / "outside.png")
    return folder


def refused(reference: str, roots: list[Path]) -> Status:
    with pytest.raises(ImageProblem) as problem:
        resolve_image(reference, roots)
    return problem.value.status


def test_a_path_inside_a_root_is_found(root: Path) -> None:
    assert resolve_image("in/red.png", [root]).path == (root / "in" / "red.png").resolve()
    assert resolve_image("red.png", [root, root / "in"]).path.name == "red.png"
    assert resolve_image(str(root / "in" / "red.png"), [root]).name == "red.png"


def test_a_colon_in_a_file_name_is_not_a_url(root: Path) -> None:
    (root / "in" / "red.png").rename(root / "col:on.png")
    assert resolve_image("col:on.png", [root]).path.name == "col:on.png"
    assert refused("mailto:on.png", [root]) is Status.MISSING_IMAGE
    for address in ("svn+ssh://host/a.png", "data:image/png;base64,AA", "file:a.png"):
        assert refused(address, [root]) is Status.REFUSED_PATH


def test_a_damaged_tiff_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.tif"
    Image.new("L", (64, 64), 3).save(path, compression="tiff_adobe_deflate")
    data = bytearray(path.read_bytes())
    data[20:30] = bytes(10)
    path.write_bytes(data)
    with pytest.raises(ImageProblem, match="decoder error"):
        open_image(path)
    assert capfd.readouterr() == ("", "")


def test_paths_outside_the_roots_are_refused(root: Path) -> None:
    (root / "link.png").symlink_to(root.parent / "outside.png")
    (root / "linked").symlink_to(root.parent)
    (root / "round.png").symlink_to(root / "round.png")
    for reference in (
        "../outside.png",
        "in/../../outside.png",
        str(root.parent / "outside.png"),
        "link.png",
        "linked/outside.png",
        "file:///etc/passwd",
        "https://example.org/a.png",
        "a\0.png",
        "\ud800.png",
        "round.png",
        "x" * 5000,
    ):
        assert refused(reference, [root]) is Status.REFUSED_PATH, reference


def test_absent_files_are_missing_images(root: Path) -> None:
    assert refused("in/blue.png", [root]) is Status.MISSING_IMAGE
    assert refused("in", [root]) is Status.MISSING_IMAGE  # a folder is not an image
    assert refused("in/red.png", []) is Status.MISSING_IMAGE


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a Git LFS pointer"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not an image in a supported format"),
    ],
)
def test_other_files_are_bad_images_with_a_reason(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ImageProblem, match=reason) as problem:
        open_image(path)
    assert problem.value.status is Status.BAD_IMAGE


def test_a_truncated_image_is_bad(root: Path, tmp_path: Path) -> None:
    noise = Image.effect_noise((64, 64), 90)
    noise.save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:900])
    with pytest.raises(ImageProblem) as problem:
        open_image(tmp_path / "cut.png")
    assert problem.value.status is Status.BAD_IMAGE


def test_an_image_over_the_limit_is_not_decoded(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "MAX_PIXELS", 11)
    with pytest.raises(ImageProblem, match="4 x 3 pixels, over the limit of 11"):
        open_image(root / "in" / "red.png")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16", "I"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tiff" if mode in ("CMYK", "I") else "a.png")
    Image.new(mode, (5, 2)).save(path)
    image = open_image(path)
    assert (image.mode, image.size) == ("RGB", (5, 2))


def test_16_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    Image.new("I;16", (2, 2), 32768).save(tmp_path / "a.png")
    assert open_image(tmp_path / "a.png").getpixel((0, 0)) == (128, 128, 128)
    Image.new("I", (2, 2), 32768).save(tmp_path / "a.tiff")
    assert open_image(tmp_path / "a.tiff").getpixel((0, 0)) == (128, 128, 128)


def grey_tiff(values: object, *, bits: int, order: str = "<", white_is_zero: bool = False) -> bytes:
    """One row of grey pixels in one strip; 12 bits are packed, as cameras and scanners do."""
    row = np.asarray(values)
    if bits == 12:
        packed = int("".join(f"{value:012b}" for value in row), 2)
        strip = packed.to_bytes(len(row) * 12 // 8, "big")
    else:
        strip = row.astype(row.dtype.newbyteorder(order)).tobytes()
    kinds = {"u": 1, "i": 2, "f": 3}
    tags = {256: len(row), 257: 1, 258: bits, 259: 1, 262: int(not white_is_zero), 273: 8, 277: 1}
    tags |= {278: 1, 279: len(strip), 339: kinds[row.dtype.kind]}
    entries = [struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags.items()]
    head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(strip))
    return head + strip + struct.pack(f"{order}H", len(tags)) + b"".join(entries) + bytes(4)


U16, I16 = np.uint16, np.int16
GREYS = {  # values -> the 8-bit greys that scoring and pages show
    "16 bits": (grey_tiff(U16([0, 255, 256, 32768, 65535]), bits=16), [0, 0, 1, 128, 255]),
    "16 bits, big-endian": (
        grey_tiff(U16([0, 255, 256, 32768, 65535]), bits=16, order=">"),
        [0, 0, 1, 128, 255],
    ),
    "16 bits, white is zero": (
        grey_tiff(U16([0, 256, 65535, 65535]), bits=16, white_is_zero=True),
        [255, 254, 0, 0],
    ),
    "12 bits": (grey_tiff(U16([0, 100, 1000, 4095]), bits=12), [0, 6, 62, 255]),
    "12 bits stored in 16": (grey_tiff(U16([0, 100, 1000, 4095]), bits=16), [0, 6, 62, 255]),
    "8 bits stored in 16": (grey_tiff(U16([0, 1, 100, 255]), bits=16), [0, 1, 100, 255]),
    "signed": (grey_tiff(I16([-5, 0, 1000, 4095]), bits=16), [0, 0, 62, 255]),
    "32 bits": (grey_tiff(np.int32([-5, 0, 65535, 32768]), bits=32), [0, 0, 255, 128]),
    "floats to 1": (grey_tiff(np.float32([0, 0.25, 0.5, 1]), bits=32), [0, 64, 128, 255]),
    "floats to 255": (grey_tiff(np.float32([-1, 0.5, 100.7, 255]), bits=32), [0, 0, 100, 255]),
    "floats to 10": (grey_tiff(np.float32([0, 1, 5, 10]), bits=32), [0, 16, 80, 160]),
    "floats, not all finite": (
        grey_tiff(np.float32([np.nan, -np.inf, 0.5, 1, np.inf]), bits=32),
        [0, 0, 128, 255, 255],
    ),
    "only zeros": (grey_tiff(np.float32([0, 0]), bits=32), [0, 0]),
}


@pytest.mark.parametrize("name", GREYS)
def test_deep_greys_are_scaled_to_8_bits(tmp_path: Path, name: str) -> None:
    content, expected = GREYS[name]
    (tmp_path / "a.tiff").write_bytes(content)
    shown = np.asarray(open_image(tmp_path / "a.tiff"))  # (1, width, 3)
    assert shown[0].tolist() == [[grey] * 3 for grey in expected]
    assert decode.is_deep_grey(ImageLocation(tmp_path / "a.tiff"))


def test_float_greys_from_8_bits_round_trip(tmp_path: Path) -> None:
    greys = np.arange(256)
    (tmp_path / "a.tiff").write_bytes(grey_tiff(np.float32(greys / 255), bits=32))
    assert np.asarray(open_image(tmp_path / "a.tiff"))[0, :, 0].tolist() == greys.tolist()


def test_16_bit_colours_keep_their_range(tmp_path: Path) -> None:
    """Pillow takes their high byte, so that greys and colours are read alike."""
    pixels = bytes([0, *struct.pack(">3H", 32768, 65535, 255)])
    write_png(tmp_path / "a.png", [(b"IDAT", zlib.compress(pixels))], depth=16, colour=2)
    assert open_image(tmp_path / "a.png").getpixel((0, 0)) == (128, 255, 0)
    assert not decode.is_deep_grey(ImageLocation(tmp_path / "a.png"))


def test_a_tiff_with_an_unsupported_pixel_format_has_a_reason(tmp_path: Path) -> None:
    (tmp_path / "a.tiff").write_bytes(grey_tiff(np.float64([0, 1]), bits=64))
    with pytest.raises(ImageProblem, match="a TIFF with an unsupported pixel format"):
        open_image(tmp_path / "a.tiff")


def write_png(
    path: Path, chunks: list[tuple[bytes, bytes]], depth: int = 8, colour: int = 0
) -> None:
    """A picture of one pixel."""
    header = (b"IHDR", struct.pack(">IIBBBBB", 1, 1, depth, colour, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n"
    for kind, body in (header, *chunks, (b"IEND", b"")):
        checksum = zlib.crc32(kind + body)
        content += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)
    path.write_bytes(content)


def metadata_chunk(kind: str, size: int) -> tuple[bytes, bytes]:
    packed = zlib.compress(bytes(size))
    if kind == "iCCP":
        return b"iCCP", b"profile\0\0" + packed
    if kind == "zTXt":
        return b"zTXt", b"workflow\0\0" + packed
    return b"iTXt", b"workflow\0\1\0\0\0" + packed


PIXEL = (b"IDAT", zlib.compress(b"\0\x80"))


@pytest.mark.parametrize("kind", ["iCCP", "zTXt", "iTXt"])
@pytest.mark.parametrize("behind", [False, True], ids=["before the pixels", "after the pixels"])
def test_a_png_with_a_large_profile_or_comment_is_decoded(
    tmp_path: Path, kind: str, behind: bool
) -> None:
    chunks = [metadata_chunk(kind, 5 << 20), PIXEL]
    write_png(tmp_path / "a.png", chunks[::-1] if behind else chunks)
    assert open_image(tmp_path / "a.png").getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize("kind", ["iCCP", "zTXt", "iTXt"])
def test_metadata_bombs_are_refused_with_a_clear_reason(tmp_path: Path, kind: str) -> None:
    write_png(tmp_path / "a.png", [metadata_chunk(kind, 17 << 20), PIXEL])
    with pytest.raises(ImageProblem) as problem:
        open_image(tmp_path / "a.png")
    assert problem.value.status is Status.BAD_IMAGE
    assert problem.value.reason == "a.png: its colour profile or comment is larger than 16 MiB"


def test_damaged_metadata_of_an_intact_image_is_ignored(tmp_path: Path) -> None:
    image = Image.new("RGB", (6, 2), (0, 200, 0))
    exif = image.getexif()
    exif[0x0112], exif[0x011A] = 6, 72.0  # the second, a resolution, gets a type it cannot have
    damaged = exif.tobytes().replace(b"\x01\x1a\x00\x05", b"\x01\x1a\x00\x02")
    image.save(tmp_path / "a.png", exif=damaged)
    assert open_image(tmp_path / "a.png").size == (2, 6)
    image.save(tmp_path / "a.png", exif=damaged.replace(b"MM", b"??"))
    assert open_image(tmp_path / "a.png").size == (6, 2)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (struct.error("unpack"), "red.png: unpack"),
        (KeyError(7), "red.png: 7"),
        (PermissionError(13, "Permission denied", "/roots/in/red.png"), "red.png: Permission"),
        (MemoryError(), "needs more memory to decode than is available"),
        (Image.DecompressionBombError(), "more pixels than the limit of 100,000,000"),
    ],
)
def test_any_decoder_error_is_a_bad_image(
    root: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def fail(*_: object, **__: object) -> Image.Image:
        raise error

    monkeypatch.setattr(decode.Image, "open", fail)
    with pytest.raises(ImageProblem, match=reason) as problem:
        open_image(root / "in" / "red.png")
    assert problem.value.status is Status.BAD_IMAGE


def test_damaged_files_are_decoded_or_refused(tmp_path: Path) -> None:
    dice = np.random.default_rng(1)
    noise = Image.effect_noise((20, 14), 80).convert("RGB")
    for name in ("PNG", "JPEG", "GIF", "WEBP", "BMP"):
        whole = io.BytesIO()
        noise.save(whole, format=name)
        outcomes = set()
        for _ in range(60):
            damaged = bytearray(whole.getvalue())
            for _ in range(int(dice.choice([1, 4, 16]))):
                damaged[dice.integers(len(damaged))] = dice.integers(256)
            path = tmp_path / "a.png"
            path.write_bytes(damaged[: len(damaged) // int(dice.choice([1, 2]))])
            try:
                outcomes.add(open_image(path).mode)
            except ImageProblem as problem:
                outcomes.add(problem.status)
        assert outcomes <= {"RGB", Status.BAD_IMAGE}
        assert Status.BAD_IMAGE in outcomes


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    image = Image.effect_noise((6, 2), 90).convert("RGB")
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(tmp_path / "a.png"))
    assert expected.size == ((6, 2) if orientation < 5 else (2, 6))
    assert open_image(tmp_path / "a.png").tobytes() == expected.tobytes()


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (100, 90), (1600, 900)])
def test_a_photo_is_decoded_no_larger_than_needed(tmp_path: Path, size: tuple[int, int]) -> None:
    photograph = Image.radial_gradient("L").resize(size).convert("RGB")
    photograph.save(tmp_path / "a.jpg", quality=95)
    whole = open_image(tmp_path / "a.jpg")
    small = open_image(tmp_path / "a.jpg", min_size=200)
    assert whole.size == size
    assert max(small.size) >= min(200, max(size))
    assert max(small.size) <= 400
    shrunk = np.asarray(whole.resize(small.size), dtype=float)
    assert np.abs(shrunk - np.asarray(small, dtype=float)).mean() < 3


@pytest.mark.parametrize("size", [(4000, 1), (1, 4000), (1, 1)])
def test_a_line_of_pixels_is_decoded_too(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, (90, 90, 90)).save(tmp_path / "a.jpg")
    small = open_image(tmp_path / "a.jpg", min_size=200)
    assert min(small.size) == 1
    assert small.getpixel((0, 0)) == (90, 90, 90)


def test_a_crop_keeps_its_pixels(tmp_path: Path) -> None:
    Image.radial_gradient("L").resize((800, 800)).save(tmp_path / "a.jpg")
    place = ImageLocation(tmp_path / "a.jpg", box=(100, 100, 500, 400))
    assert open_image(place, min_size=50).size == (400, 300)


def test_the_first_frame_of_an_animation_is_used(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (3, 3), colour) for colour in ("red", "blue")]
    path = tmp_path / "a.jpg"  # a GIF by another name, as real datasets hold
    frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:])
    assert open_image(path).getpixel((1, 1)) == (255, 0, 0)
