"""Common style of all figures: names, colours, and small PNG files that are identical in every run.

Colours are those of Okabe and Ito, which are distinguishable with all kinds of colour vision. A training set has the same colour in all
figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from angiosynth.generators.registry import title_of
from angiosynth.runtime.output import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLES = {"package": "a package", "scratch": "from scratch"}
# Real, threshold and scratch have fixed styles; generators take colours from the palette in the order of params.yaml.
FIXED = {"real": ("#222222", "o"), "threshold": ("#8C8C8C", "X"), "scratch": ("#D55E00", "o")}
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#0072B2", "#7A4FB5", "#8B5A2B", "#A3A500", "#E7298A")
SIGNS = ("s", "^", "D", "v", "P", "<", ">", "h", "p")  # one more than PALETTE, so that repeated colours have other markers
ACCENT = PALETTE[1]  # for figures of a single generator
VESSEL = "#F5A623"  # outline of a label on a grey patch
OTHER = "#CC79A7"  # for unknown names
HIT, MISSED, EXTRA = "#D9D9D9", "#E69F00", "#0A84D6"  # true positive, false negative, false positive, on black

DPI = 110
STYLE: dict[str, Any] = {
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "text.parse_math": False,  # names may contain dollar signs
}


def name_of(data: str) -> str:
    """Display name of a training set or of a start."""
    return TITLES.get(data, title_of(data))


@dataclass(frozen=True)
class Look:
    """Colours, markers and order of training sets and starts; `generators` are in the order of params.yaml."""

    generators: tuple[str, ...]

    @classmethod
    def of(cls, evaluation: Mapping[str, Any]) -> Look:
        """Build from the content of metrics/evaluation.json."""
        return cls(tuple(evaluation["generators"]))

    def colour(self, data: str) -> str:
        """Colour "#rrggbb"; purple for unknown names."""
        if data in FIXED:
            return FIXED[data][0]
        return PALETTE[self.generators.index(data) % len(PALETTE)] if data in self.generators else OTHER

    def marker(self, data: str) -> str:
        """Return the marker in matplotlib's notation."""
        if data in FIXED:
            return FIXED[data][1]
        return SIGNS[self.generators.index(data) % len(SIGNS)] if data in self.generators else "o"

    def ordered(self, starts: Iterable[str]) -> list[str]:
        """Sort starts: unknown ones, real, generators, threshold, scratch. Scratch is last, so that its thick line is drawn on top."""
        known = ["real", *self.generators, "threshold", "scratch"]
        return sorted(starts, key=lambda start: (known.index(start) if start in known else -1, start))


@contextmanager
def drawn(path: Path, width: float, height: float, dpi: int = DPI) -> Iterator[Figure]:
    """Yield an empty figure (sizes in inches), which is then written to `path` as a PNG with a palette and without metadata.

    Raises:
        InputError: the file cannot be written.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    # Start from matplotlib's defaults, so that a user's matplotlibrc does not affect the files.
    settings: dict[Any, Any] = dict(matplotlib.rcParamsDefault)
    with matplotlib.rc_context(settings | STYLE | {"backend": "agg"}):
        figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
        canvas: Any = FigureCanvasAgg(figure)
        yield figure
        canvas.draw()  # once; Figure.savefig draws twice, and would compress the picture only to be read again
    palette = Image.new("P", (1, 1))
    palette.putpalette(_palette().tobytes())
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    small = picture.quantize(palette=palette, dither=Image.Dither.NONE)
    with whole_file(path) as temporary:
        small.save(temporary, format="png", optimize=True)


def _palette() -> NDArray[np.uint8]:
    """Palette (256, rgb) of 64 greys and all colours in use, each in 16 steps towards white for antialiased edges.

    A palette computed from the picture would merge the few pixels of two similar colours. Pillow drops the last two bits of a level before
    it searches the nearest colour, so more greys would have no effect; only white must be exact.
    """
    levels = np.append(np.arange(0, 252, 4), 255) / 255
    greys = np.repeat(levels[:, None], 3, axis=1)
    colours = sorted({*PALETTE, FIXED["scratch"][0], VESSEL, EXTRA, OTHER})
    ramps = [1 - strength * (1 - rgb(colour)) for colour in colours for strength in np.linspace(1 / 16, 1, 16)]
    every = np.ones((256, 3))
    every[: len(greys) + len(ramps)] = np.concatenate([greys, np.array(ramps)])
    palette: NDArray[np.uint8] = np.rint(every * 255).astype(np.uint8)
    return palette


def show_picture(axes: Axes, picture: NDArray[Any], aspect: float = 1.0) -> None:
    """Show a picture (x, y[, rgb]) without axes and with y upwards: anterior is at the top, the patient's left at the left."""
    axes.imshow(np.swapaxes(picture, 0, 1), origin="lower", cmap="gray", aspect=aspect, interpolation="nearest", vmin=0, vmax=1)
    axes.set_axis_off()


def rgb(colour: str) -> NDArray[np.float32]:
    """Convert "#rrggbb" to three numbers in 0..1."""
    return np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)], np.float32) / np.float32(255)
