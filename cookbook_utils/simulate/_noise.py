"""Noise as a pure function of position and seed: hashed integers, gradient noise and fractals.

Positions are meters east and north of a center; fields are float32 and broadcast to (y, x).

References
----------
.. [1] K. Perlin (2002). Improving noise. ACM Trans. Graphics 21(3), 681-682.
"""

from __future__ import annotations

import numpy as np


def uniform(i: np.ndarray, j: np.ndarray, seed: int) -> np.ndarray:
    """Hash two integer arrays and a seed to numbers distributed uniformly in [0, 1]."""
    return _hash(i, j, seed).astype("f4") / np.float32(2**32)


def triangular(i: np.ndarray, j: np.ndarray, seed: int) -> np.ndarray:
    """Hash to numbers with a triangular distribution on [-1, 1], whose variance is 1 / 6."""
    return uniform(i, j, seed) + uniform(i, j, seed + 1) - 1


def fractal(
    x: np.ndarray,
    y: np.ndarray,
    seed: int,
    *,
    scale: float,
    step: float,
    octaves: int = 12,
    gain: float = 0.5,
    ridged: bool = False,
) -> np.ndarray:
    """Sum octaves of gradient noise.

    The first octave has the wavelength `scale` (m); each further one has half the wavelength and
    `gain` times the amplitude. Octaves whose wavelength is shorter than two pixels of `step` meters
    are left out. Ridged noise has sharp crests; an octave has a small amplitude where the previous
    octave is low.
    """
    total, amplitude, weight = np.float32(0), np.float32(1), np.float32(1)
    for octave in range(octaves):
        if scale < 2 * step:
            break
        layer = gradient_noise(x / np.float32(scale), y / np.float32(scale), seed * 64 + octave)
        if ridged:
            layer = weight * (1 - 2 * np.abs(layer)) ** 2
            weight = np.clip(0.35 + 1.6 * layer, 0, 1)
        total = total + amplitude * layer
        scale, amplitude = scale / 2, amplitude * np.float32(gain)
    return total


def ramp(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """Rise smoothly from 0 at `low` to 1 at `high`."""
    t = np.clip((value - low) * np.float32(1 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)


def gradient_noise(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Compute Perlin's gradient noise [1] on a lattice of spacing 1; values are within +-0.71."""
    x, y = np.broadcast_arrays(x, y)
    i, j = np.floor(x).astype("i4"), np.floor(y).astype("i4")
    u, v = x - i, y - j
    i0, j0 = i.min(), j.min()
    width = i.max() - i0 + 2
    # The gradient of a lattice node is computed once, however many pixels share the node.
    nodes = np.meshgrid(np.arange(i0, i0 + width), np.arange(j0, j.max() + 2))
    angle = uniform(*nodes, seed).ravel() * np.float32(2 * np.pi)
    gx, gy = np.cos(angle), np.sin(angle)
    node = (j - j0) * width + (i - i0)

    def corner(di: int, dj: int) -> np.ndarray:
        k = node + (di + dj * width)
        return gx[k] * (u - di) + gy[k] * (v - dj)

    su, sv = (t * t * t * (t * (t * 6 - 15) + 10) for t in (u, v))
    low, high = (corner(0, d) * (1 - su) + corner(1, d) * su for d in (0, 1))
    return low * (1 - sv) + high * sv


class NoiseFields:
    """The fractal noise of one block of pixels; each number selects an independent field.

    Parameters
    ----------
    e, n : numpy.ndarray of float32, broadcast to (y, x)
        Pixel centers in meters east and north of the center.
    seed : int
        Random seed of the world.
    step : float
        Width of a pixel in meters.
    """

    def __init__(self, e: np.ndarray, n: np.ndarray, seed: int, step: float) -> None:
        self._e, self._n, self._seed, self._step = e, n, seed, step

    def fractal(
        self,
        number: int,
        scale: float,
        *,
        x: np.ndarray | None = None,
        y: np.ndarray | None = None,
        **options: float,
    ) -> np.ndarray:
        """Compute field `number` as `fractal` does, at `e` and `n` unless `x` or `y` is given."""
        x = self._e if x is None else x
        y = self._n if y is None else y
        options |= {"scale": scale, "step": self._step}
        return fractal(x, y, self.seed_of(number), **options)

    def uniform(self, i: np.ndarray, j: np.ndarray, number: int) -> np.ndarray:
        """Compute `uniform` of two integer arrays for field `number`."""
        return uniform(i, j, self.seed_of(number))

    def seed_of(self, number: int) -> int:
        """Return the seed of field `number`."""
        return self._seed * 100 + number


def _hash(i: np.ndarray, j: np.ndarray, seed: int) -> np.ndarray:
    """Mix two integer arrays and a seed into uint32 whose bits look random."""
    h = i.astype("u4") * np.uint32(0x85EBCA6B) + j.astype("u4") * np.uint32(0xC2B2AE35)
    h ^= np.uint32(int(seed) * 0x9E3779B1 & 0xFFFFFFFF)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
        h ^= h >> np.uint32(shift)
        h *= np.uint32(factor)
    return h
