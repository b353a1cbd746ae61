"""Colors of labels and classes that differ under every kind of color vision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

import numpy as np

from cookbook_utils._conventions.labels import NODATA_LABEL

LABEL_COLORS = (
    "#0072B2", "#F0E442", "#D55E00", "#CC79A7", "#000000", "#56B4E9",
    "#E69F00", "#009E73", "#663333", "#332288", "#666633", "#AA3377",
)  # fmt: skip
"""Color of each label number from 0 to 11: 0 to 7 from Okabe & Ito, 8 to 11 from Tol.

Consecutive numbers contrast, and all colors differ under the three kinds of dichromacy. Each number
from 12 to 1023 has the color that differs most from those of all smaller numbers (Glasbey et al.
2007), and larger numbers have the same colors again. The eye cannot tell so many colors apart
reliably: read the number under the cursor of an interactive view, or use fewer clusters.

References
----------
M. Okabe and K. Ito (2008), Color Universal Design, https://jfly.uni-koeln.de/color/
P. Tol (2021), Colour Schemes, SRON/EPS/TN/09-002 issue 3.2, https://personal.sron.nl/~pault/
C. Glasbey et al. (2007), Colour displays for categorical images, doi:10.1002/col.20327
"""

CLASS_COLORS = {
    # water masks and change maps
    "land": "#CCBB44", "water": "#0072B2", "lost": "#882255", "gained": "#56B4E9",
    # land cover of the simulated lake
    "clear_water": "#0072B2", "muddy_water": "#56B4E9", "salt_flat": "#F0E442",
    "alluvium": "#E69F00", "dark_rock": "#663333", "shrub": "#666633", "crops": "#009E73",
    # land cover of the simulated coast
    "sea": "#0072B2", "mangrove": "#225522", "cropland": "#009E73", "built_up": "#D55E00",
    "bare_soil": "#E69F00", "sand": "#F0E442",
    # deformation regimes of the simulated InSAR points
    "stable": "#009E73", "creep": "#E69F00", "accelerating": "#D55E00", "seasonal": "#AA3377",
    "snow_gaps": "#56B4E9", "noise": "#000000",
}  # fmt: skip
"""Color of each class of the cookbook by its name; water is blue in every map.

The classes of one map differ under the three kinds of dichromacy. The sources are those of
`LABEL_COLORS`.
"""

NODATA_COLOR = "#D9D9D9"
"""Color of pixels and points without data."""

MOST_COLORS = 1024
"""Number of colors of labels; those of larger numbers repeat."""

LEAST_CONTRAST = 3
"""Least contrast of a line and its ground (WCAG 2.2, success criterion 1.4.11)."""

# Linear RGB as seen by normal vision, protanopes, deuteranopes and tritanopes: Machado, Oliveira &
# Fernandes (2009), doi:10.1109/TVCG.2009.113, severity 1.0.
_VISION = np.array([
    [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
     [-0.003882, -0.048116, 1.051998]],
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
     [-0.011820, 0.042940, 0.968881]],
    [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
     [0.004733, 0.691367, 0.303900]],
])  # fmt: skip
# Linear sRGB to CIE XYZ, white D65 (IEC 61966-2-1).
_XYZ = np.array([
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
])  # fmt: skip


def contrast_on_white(color: str) -> float:
    """Return the contrast ratio of a color, as hexadecimal text, and white (WCAG 2.2)."""
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    return 1.05 / (_linear(rgb) @ _XYZ[1] + 0.05)


def label_color(number: int) -> str:
    """Return the color of a label number as hexadecimal text."""
    if number < len(LABEL_COLORS):
        return LABEL_COLORS[number]
    # Fewer colors take less time, and are the first of the others.
    n_colors = NODATA_LABEL if number < NODATA_LABEL else MOST_COLORS
    return _distinct_colors(n_colors)[number % n_colors]


def class_color(name: str) -> str | None:
    """Return the color of a class by its name, or None if `CLASS_COLORS` has no such class.

    Spaces count as underscores, and a number before or after the name is ignored: clusters called
    "1 sea" and "2 sea" are both sea.
    """
    words = [word for word in name.lower().replace("_", " ").split() if not word.isdecimal()]
    return CLASS_COLORS.get("_".join(words))


def colors_of(numbers: Iterable[int], names: Mapping[int, str]) -> dict[int, str]:
    """Return the color of each label number: that of its class if the class is known, else its own.

    If the own color of an unnamed number is that of a known class, the number gets the own color of
    a named number instead, which is free. Colors depend on `names` only, so that a number has one
    color in all maps of a series.
    """
    known = {n: color for n, name in names.items() if (color := class_color(name))}
    taken = set(known.values())
    spare = [color for n in sorted(known) if (color := label_color(n)) not in taken]
    alike = [n for n, color in enumerate(LABEL_COLORS) if color in taken and n not in known]
    known |= dict(zip(alike, spare, strict=False))
    return {n: known.get(n) or label_color(n) for n in numbers}


@cache
def _distinct_colors(n_colors: int) -> tuple[str, ...]:
    """Return colors: `LABEL_COLORS`, then each time the one that differs most from all before.

    Candidates form a lattice of 16 steps per channel. The difference of two colors is the smallest
    CIELAB distance over the kinds of vision. White and `NODATA_COLOR` count as taken.
    """
    lattice = np.stack(np.meshgrid(*[np.arange(16) * 17] * 3, indexing="ij"), axis=-1).reshape(
        -1, 3
    )
    seen = _lab(lattice)
    taken = [*LABEL_COLORS, NODATA_COLOR, "#FFFFFF"]
    fixed = _lab(np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in taken]))
    nearest = np.full(len(lattice), np.inf)
    for color in fixed.swapaxes(0, 1):
        nearest = np.minimum(nearest, _difference(seen, color))
    colors = list(LABEL_COLORS)
    while len(colors) < n_colors:
        chosen = nearest.argmax()
        colors.append("#{:02X}{:02X}{:02X}".format(*lattice[chosen]))
        nearest = np.minimum(nearest, _difference(seen, seen[:, chosen]))
    return tuple(colors)


def _lab(rgb: np.ndarray) -> np.ndarray:
    """Return colors (n, RGB) from 0 to 255 as CIELAB, shape (vision, n, 3)."""
    xyz = np.clip(_linear(rgb) @ _VISION.transpose(0, 2, 1), 0, 1) @ _XYZ.T / _XYZ.sum(axis=1)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _linear(rgb: np.ndarray) -> np.ndarray:
    """Return sRGB values from 0 to 255 as linear ones from 0 to 1 (IEC 61966-2-1)."""
    share = rgb / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def _difference(colors: np.ndarray, color: np.ndarray) -> np.ndarray:
    """Return the smallest distance over the kinds of vision of `colors` (vision, n, 3) from one."""
    return np.linalg.norm(colors - color[:, None], axis=-1).min(axis=0)
