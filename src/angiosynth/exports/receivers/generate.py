"""Draw pairs of a synthetic TOF-MRA patch and its vessel label from the generator next to this file. Needs torch and numpy.

    python __init__.py 100 pairs --seed 1

writes image-000-000.png (grey levels) and label-000-000.png (0 and 255) and so on, anterior up. medigan calls `generate`.
"""

from __future__ import annotations

import argparse
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

BATCH = 256  # pairs drawn at once; the same as at the lab that trained the generator, so that a seed gives the same pairs
HERE = Path(__file__).parent


class PairNetwork(nn.Module):
    """Map standard normal numbers (n, latent) to pairs (n, 2, x, y): channel 0 is the image in [-1, 1], 1 the label before thresholding.

    Args:
        model_file: the exported program.
    """

    def __init__(self, model_file: str | Path) -> None:
        super().__init__()
        # In a tuple, so that it is no submodule: exported programs do not support train() and eval().
        self.program = (torch.export.load(str(model_file)).module(),)

    def forward(self, noise: Tensor) -> Tensor:
        pairs: Tensor = self.program[0](noise)
        return pairs


def generate(
    model_file: str | Path,
    num_samples: int,
    output_path: str | Path = "pairs",
    save_images: bool = True,
    seed: int | None = None,
    threshold: float | None = None,
) -> list[np.ndarray]:
    """Draw pairs; the parameters up to `save_images` are medigan's.

    Args:
        model_file: the exported program, with generator.json next to it.
        num_samples: number of pairs.
        output_path: folder for the images.
        save_images: whether to write images; otherwise the pairs are returned.
        seed: equal seeds give equal pairs; None gives other pairs each time.
        threshold: threshold of labels; None uses that of the set.

    Returns:
        Pairs (x, y, 2) uint8 in RAS+ order, grey levels 0..255 for [-1, 1] and labels 0 or 1; empty if images are written.
    """
    metadata = json.loads((Path(model_file).parent / "generator.json").read_text(encoding="utf-8"))
    cut = metadata["threshold"] if threshold is None else threshold
    pairs = drawn(PairNetwork(model_file), metadata["latent"], num_samples, seed, cut)
    if not save_images:
        return list(pairs)
    folder = Path(output_path)
    folder.mkdir(parents=True, exist_ok=True)
    for number, pair in enumerate(pairs):
        for channel, (name, scale) in enumerate((("image", 1), ("label", 255))):
            (folder / f"{name}-{number // 1000:03d}-{number % 1000:03d}.png").write_bytes(
                png(np.rot90(pair[:, :, channel] * np.uint8(scale)))
            )
    return []


@torch.no_grad()
def drawn(network: PairNetwork, latent: int, count: int, seed: int | None, threshold: float) -> Iterator[np.ndarray]:
    """Yield pairs (x, y, 2), drawn in batches."""
    random = torch.Generator()
    if seed is None:
        random.seed()
    else:
        random.manual_seed(seed)
    for start in range(0, count, BATCH):
        output = network(torch.randn(min(BATCH, count - start), latent, generator=random)).float().numpy()
        levels = np.clip(np.rint((output[:, 0] + np.float32(1.0)) * np.float32(127.5)), 0, 255).astype(np.uint8)
        yield from np.stack([levels, (output[:, 1] > threshold).astype(np.uint8)], axis=3)


def png(picture: np.ndarray) -> bytes:
    """Encode grey levels (rows, columns) uint8 as a PNG file."""
    rows = b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(picture))
    header = struct.pack(">IIBBBBB", picture.shape[1], picture.shape[0], 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    body = b"".join(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int)
    arguments = parser.parse_args()
    generate(HERE / "generator.pt2", arguments.count, arguments.folder, True, arguments.seed)


if __name__ == "__main__":
    main()
