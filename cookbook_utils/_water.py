"""The water rule of `labels.water_table`: its thresholds, its input and its doubtful decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from cookbook_utils._checks import require_dims
from cookbook_utils._conventions.bands import positions_of, require_reflectance
from cookbook_utils._conventions.grids import require_same_grid, same_coordinate
from cookbook_utils._conventions.labels import as_labels, map_dtype, nodata_label
from cookbook_utils._conventions.nodata import mask_and_float
from cookbook_utils._samples import sums_by_label
from cookbook_utils.indices import mndwi, ndvi

WATER_BANDS = ("green", "red", "nir", "swir1")
"""Bands that `water_table` uses."""
WATER_MAX_EVI2 = 0.1
"""Largest EVI2 of water; vegetation on dry and flooded ground exceeds it (Zou et al. 2018)."""
WATER_MAX_NIR = 0.22
"""Largest NIR reflectance of water: turbid water reaches 0.2, snow and salt exceed it (Hall et al.
1995)."""
WATER_MAX_SWIR1 = 0.1
"""Largest SWIR1 reflectance of water, which absorbs it even if turbid; clouds, salt and bare soil
exceed it."""
WATER_MAX_DISSENT = 0.2
"""Fraction of the pixels of a cluster that may be classified differently from the cluster without a
warning. Noise and mixed pixels of the shore make up a few percent."""


def water_sums(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return, for each label, the number of pixels, the sums of the bands and how many pass."""
    if not labels.size:
        return np.zeros((nodata_label(labels.dtype), len(WATER_BANDS) + 2))
    pieces = np.array_split(values, len(values) // 500_000 + 1)  # bounds memory for the indices
    passing = np.concatenate([water_rule(piece)["margin"].values > 0 for piece in pieces])
    return sums_by_label(labels, [np.ones(len(labels)), *values.T, passing])


def water_rule(reflectance: np.ndarray) -> xr.Dataset:
    """Return the indices of spectra (n, `WATER_BANDS`), and their margins under the rule."""
    spectra = xr.DataArray(
        reflectance.clip(0), dims=("cluster", "band"), coords={"band": list(WATER_BANDS)},
        attrs={"units": "1"},
    )  # fmt: skip
    # Single pixels may have any value; `labels.water_table` checks the means of clusters.
    with np.errstate(over="ignore", invalid="ignore"):
        red, nir, swir1 = (spectra.sel(band=band, drop=True) for band in WATER_BANDS[1:])
        table = xr.Dataset({"mndwi": mndwi(spectra), "ndvi": ndvi(spectra)})
        table["evi2"] = 2.5 * (nir - red) / (nir + 2.4 * red + 1)
        table["nir"], table["swir1"] = nir, swir1
        conditions = [
            WATER_MAX_EVI2 - table["evi2"],
            # MNDWI > NDVI or MNDWI > EVI2; fmin since NDVI may be undefined over dark water.
            table["mndwi"] - np.fmin(table["ndvi"], table["evi2"]),
            WATER_MAX_NIR - nir,
            WATER_MAX_SWIR1 - swir1,
        ]
        table["margin"] = "cluster", np.minimum.reduce([c.values for c in conditions])
    return table


def water_spectra(scene: xr.DataArray) -> xr.DataArray:
    """Return the `WATER_BANDS` of reflectance as floats, NaN for nodata, or raise."""
    require_dims(scene, ["band"], "scene", allow_extra=True)
    if scene.dtype.kind != "f":
        raise TypeError(
            f"scene must hold reflectance as floats, got dtype {scene.dtype}: "
            "call cookbook_utils.scaling.to_reflectance(scene) first"
        )
    return mask_and_float(_select_bands(scene, WATER_BANDS, "scene", "is_water"))


def bands_of(scene: Any) -> list[str]:
    """Return the names of the bands of a scene, or of the first one of a list."""
    first = scene[0] if isinstance(scene, list | tuple) and len(scene) else scene
    require_dims(first, ["band"], "scene", allow_extra=True)
    return first.get_index("band").tolist()


def spectral_pairs(
    scene: Any, labels: Any, bands: Sequence[str], what: str
) -> list[tuple[xr.DataArray, xr.DataArray]]:
    """Return pairs of a scene of `bands` and its labels, checked and aligned for `what`.

    All labels have the dtype of the widest.
    """
    is_list = [isinstance(given, list | tuple) for given in (scene, labels)]
    if not any(is_list):
        dtype = map_dtype(labels)
        return [_spectral_pair(scene, labels, "scene", "labels", bands, what, dtype)]
    if not all(is_list):
        raise TypeError(
            "scene and labels must be both an xarray.DataArray or both a list, got "
            f"{type(scene).__name__} and {type(labels).__name__}"
        )
    if len(scene) != len(labels) or not len(scene):
        raise ValueError(
            "scene and labels must be lists of one length, at least 1, got "
            f"{len(scene)} and {len(labels)}"
        )
    dtype = np.result_type(*map(map_dtype, labels))
    return [
        _spectral_pair(*pair, f"scene[{i}]", f"labels[{i}]", bands, what, dtype)
        for i, pair in enumerate(zip(scene, labels, strict=True))
    ]


def _spectral_pair(
    scene: Any,
    labels: Any,
    scene_name: str,
    labels_name: str,
    bands: Sequence[str],
    what: str,
    dtype: np.dtype,
) -> tuple[xr.DataArray, xr.DataArray]:
    """Return one pair of `spectral_pairs`, aligned by position and without other coordinates."""
    labels = as_labels(labels, labels_name, allow_extra=True, dtype=dtype)
    if "band" in labels.dims:
        raise ValueError(f"{labels_name} must have no dimension 'band', got {labels.dims}")
    require_dims(scene, (*labels.dims, "band"), scene_name)
    scene = _select_bands(scene, bands, scene_name, what)
    scene = require_same_grid(labels, mask_and_float(scene))
    for dim in (set(labels.dims) - {"y", "x"}) & set(labels.coords) & set(scene.coords):
        one, two = labels[dim].values, scene[dim].values
        if not same_coordinate(one, two):
            raise ValueError(
                f"{scene_name} and {labels_name} must have the same {dim}, got "
                f"{two.astype(str).tolist()} and {one.astype(str).tolist()}"
            )
    return scene.drop_vars(scene.coords), labels.drop_vars(labels.coords)


def _select_bands(scene: xr.DataArray, bands: Sequence[str], name: str, what: str) -> xr.DataArray:
    """Return `bands` of the reflectance that `what` needs, or raise unless each is there once."""
    require_reflectance(scene, what)
    return scene.isel(band=positions_of(scene, bands, name))


def require_plausible(means: np.ndarray) -> None:
    """Raise ValueError unless the mean spectra of clusters are reflectance."""
    if not ((means > -0.2) & (means < 2)).all():
        raise ValueError(
            "scene must hold reflectance, got clusters with mean values from "
            f"{means.min():.3g} to {means.max():.3g}: use the scene before it was standardized, or "
            "after scaling.to_reflectance"
        )


def water_doubts(table: pd.DataFrame) -> list[str]:
    """Return messages about the uncertain decisions in the result of `labels.water_table`."""
    doubts = []
    if not table["water"].any():
        doubt = f"no cluster of {len(table)} is water"
        if table["margin"].notna().any():
            nearest = table["margin"].idxmax()
            figures = table.loc[nearest, "mndwi":"margin"]
            named = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
            doubt += f": cluster {nearest} comes nearest, with {named}"
        doubts.append(doubt)
    dissent = table["share_passing"].where(~table["water"], 1 - table["share_passing"])
    for cluster, row in table[dissent > WATER_MAX_DISSENT].iterrows():
        kind = "water" if row["water"] else "land"
        doubts.append(
            f"cluster {cluster} is mixed: it counts as {kind}, and "
            f"{row['share_passing']:.1%} of its {row['pixels']} pixels are water by themselves"
        )
    for cluster, row in table[table["margin"].isna()].iterrows():
        doubts.append(
            f"cluster {cluster} is too dark to be judged and counts as land: the mean of its "
            f"{row['pixels']} pixels is above 0 in neither green nor SWIR1"
        )
    return doubts
