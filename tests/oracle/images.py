"""A folder of PNG and JPEG images of many sizes and colour modes, and what PIL makes of them.

Writes to FOLDER:
    data/CLASS/NAME         the images
    expected.safetensors    CLASS/NAME: (3, SIZE, SIZE), 8-bit
"""

import argparse
import pathlib

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

rng = np.random.default_rng(1)


def smooth(width, height):
    """A few blobs of colour."""
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def expected(image, size):
    """The centre, scaled down or on black."""
    image = image.convert("RGB")
    side = max(min(image.size), size)
    width, height = min(image.width, side), min(image.height, side)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    centre = image.crop((left, top, left + width, top + height))
    if side > size:
        fitted = centre.resize((size, size), Image.Resampling.BILINEAR)
    else:
        fitted = Image.new("RGB", (size, size))
        fitted.paste(centre, ((size - width) // 2, (size - height) // 2))
    return np.ascontiguousarray(np.asarray(fitted).transpose(2, 0, 1))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--size", type=int, default=32)
    arguments = parser.parse_args()
    data = arguments.folder / "data"
    for width, height in ((32, 32), (64, 64), (100, 37), (33, 90), (200, 20), (9, 31), (7, 5)):
        for mode in ("RGB", "L", "P", "RGBA", "LA", "1"):
            path = data / mode / f"{width}x{height}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            smooth(width, height).convert(mode).save(path)
        for mode, name, options in (
            ("RGB", "420", {}),
            ("RGB", "444", {"quality": 95, "subsampling": 0}),
            ("RGB", "progressive", {"progressive": True}),
            ("L", "grey", {}),
            ("CMYK", "cmyk", {}),
        ):
            path = data / name / f"{width}x{height}.jpeg"
            path.parent.mkdir(parents=True, exist_ok=True)
            smooth(width, height).convert(mode).save(path, **options)
    images = {path.relative_to(data).as_posix(): path for path in data.rglob("*.*")}
    save_file({name: expected(Image.open(path), arguments.size) for name, path in images.items()},
              arguments.folder / "expected.safetensors")


if __name__ == "__main__":
    main()
