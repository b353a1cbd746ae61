from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from cookbook_utils import _checks

from .factories import make_grid, make_scene


def test_require_dims_takes_any_order():
    scene = make_scene().transpose("x", "band", "y")
    _checks.require_dims(scene, ("band", "y", "x"), "scene")
    _checks.require_dims(scene.expand_dims("time"), ("band", "y"), "scene", allow_extra=True)


def test_require_dims_names_what_is_missing_and_what_is_extra():
    scene = make_scene().isel(band=0, drop=True).expand_dims("spectrum")
    with pytest.raises(ValueError, match=r"scene lacks \['band'\] and has unexpected \['spectrum'"):
        _checks.require_dims(scene, ("band", "y", "x"), "scene")
    with pytest.raises(TypeError, match="scene must be an xarray.DataArray, found ndarray"):
        _checks.require_dims(scene.values, ("band", "y", "x"), "scene")


def test_valid_pixels_of_floats_and_integers():
    scene = make_scene()
    scene[2, 1, 3] = np.nan
    expected = np.ones((5, 6), bool)
    expected[1, 3] = False
    np.testing.assert_array_equal(_checks.valid_pixels(scene), expected)

    whole = (scene * 10_000).fillna(-9999).astype("int16")
    assert _checks.valid_pixels(whole).all()
    for place in (whole.attrs, whole.encoding):
        place["_FillValue"] = -9999
        np.testing.assert_array_equal(_checks.valid_pixels(whole), expected)
        place.clear()


def test_valid_pixels_stays_lazy():
    assert _checks.valid_pixels(make_scene(chunks=2)).chunks is not None


@pytest.mark.parametrize("dtype", ["int16", "uint16", "int32"])
def test_mask_and_float_is_exact(dtype):
    values = xr.DataArray(
        np.array([0, 1, 32767, 5], dtype), dims="x", attrs={"_FillValue": 5, "sensor": "TM"}
    )
    result = _checks.mask_and_float(values)
    np.testing.assert_array_equal(result, [0, 1, 32767, np.nan])
    assert result.attrs == {"sensor": "TM"}
    assert values.attrs["_FillValue"] == 5


def test_require_same_grid():
    grid = make_grid()
    _checks.require_same_grid(grid, make_scene())
    for other, found in [
        (make_grid(left=330_015.0), "differ in x: 6 from 330015.0"),
        (make_grid(ny=4), "differ in y"),
        (make_grid(crs="EPSG:32612"), "CRS: WGS 84 / UTM zone 11N against WGS 84 / UTM zone 12N"),
        (make_grid(crs=None), "against none"),
    ]:
        with pytest.raises(ValueError, match=found) as error:
            _checks.require_same_grid(grid, other)
        assert "regridding.regrid" in str(error.value)


def test_require_reflectance():
    _checks.require_reflectance(make_scene(), "ndvi")
    with pytest.raises(
        ValueError, match="ndvi needs reflectance.*'digital number'.*to_reflectance"
    ):
        _checks.require_reflectance(make_scene(units="digital number"), "ndvi")
    with pytest.raises(ValueError, match="found standardized values"):
        _checks.require_reflectance(make_scene().assign_attrs(scaling="standardized"), "ndvi")
