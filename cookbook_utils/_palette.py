"""Colors of labels and classes, which every kind of color vision tells apart."""

from __future__ import annotations

from functools import cache

import numpy as np

from cookbook_utils._conventions.labels import NODATA_LABEL

LABEL_COLORS = (
    "#0072B2", "#F0E442", "#D55E00", "#CC79A7", "#000000", "#56B4E9",
    "#E69F00", "#009E73", "#663333", "#332288", "#666633", "#AA3377",
)  # fmt: skip
"""Color of each label number: 0 to 7 from Okabe & Ito, 8 to 11 from Tol.

Neighbors in number contrast, and all differ under the three kinds of dichromacy. Numbers from 12
to 254 have colors, too: each is the one that differs most from all before it (Glasbey et al. 2007).
The eye cannot tell so many apart reliably; use the cursor of a view, or fewer clusters.

References
----------
M. Okabe and K. Ito (2008), Color Universal Design, https://jfly.uni-koeln.de/color/
P. Tol (2021), Colour Schemes, SRON/EPS/TN/09-002 issue 3.2, https://personal.sron.nl/~pault/
C. Glasbey et al. (2007), Colour displays for categorical images, doi:10.1002/col.20327
"""

CHANGE_COLORS = {"land": "#CCBB44", "water": "#0072B2", "lost": "#882255", "gained": "#56B4E9"}
"""Color of each class of a water mask or change map, by its name; the same sources."""

MISSING_COLOR = "#D9D9D9"
"""Color of a missing pixel in a label map."""

# Linear RGB as the normal eye, protanopes, deuteranopes and tritanopes see it: Machado, Oliveira &
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


def label_color(number: int) -> str:
    """Return the color of a label number, 0 to 254, as hexadecimal text."""
    return LABEL_COLORS[number] if number < len(LABEL_COLORS) else _further_colors()[number]


@cache
def _further_colors() -> tuple[str, ...]:
    """Return 255 colors: `LABEL_COLORS`, then each time the one that differs most from all before.

    They are picked from a lattice of 16 steps a channel. A difference is the CIELAB distance for
    the vision that sees it least. White and the gray of missing pixels are kept away from, too.
    """
    lattice = np.stack(np.meshgrid(*[np.arange(16) * 17] * 3, indexing="ij"), axis=-1).reshape(
        -1, 3
    )
    seen = _lab(lattice)
    taken = [*LABEL_COLORS, MISSING_COLOR, "#FFFFFF"]
    fixed = _lab(np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in taken]))
    nearest = np.full(len(lattice), np.inf)
    for color in fixed.swapaxes(0, 1):
        nearest = np.minimum(nearest, _difference(seen, color))
    colors = list(LABEL_COLORS)
    while len(colors) < NODATA_LABEL:
        chosen = nearest.argmax()
        colors.append("#{:02X}{:02X}{:02X}".format(*lattice[chosen]))
        nearest = np.minimum(nearest, _difference(seen, seen[:, chosen]))
    return tuple(colors)


def _lab(rgb: np.ndarray) -> np.ndarray:
    """Return colors (n, RGB) from 0 to 255 as CIELAB, shape (vision, n, 3)."""
    share = rgb / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    xyz = np.clip(linear @ _VISION.transpose(0, 2, 1), 0, 1) @ _XYZ.T / _XYZ.sum(axis=1)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _difference(colors: np.ndarray, color: np.ndarray) -> np.ndarray:
    """Return how far `colors` (vision, n, 3) are from one, for the vision that sees it least."""
    return np.linalg.norm(colors - color[:, None], axis=-1).min(axis=0)
