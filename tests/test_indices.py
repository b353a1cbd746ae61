from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from cookbook_utils.indices import burn_severity, dnbr, mndwi, nbr, ndvi

from .factories import make_scene

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize(
    ("index", "plus", "minus"),
    [(ndvi, "nir", "red"), (mndwi, "green", "swir1"), (nbr, "nir", "swir2")],
)
@pytest.mark.parametrize("chunks", [None, 2])
def test_against_the_formula(index, plus, minus, chunks):
    scene = make_scene(chunks=chunks)
    scene = scene.where(scene.x > scene.x[0])
    result = index(scene.transpose("y", "band", "x"))
    one, other = scene.sel(band=plus).values, scene.sel(band=minus).values
    np.testing.assert_allclose(result, (one - other) / (one + other), rtol=1e-6)
    assert (result.chunks is None) == (chunks is None)
    assert result.dims == ("y", "x")
    assert result.dtype == np.float32
    assert result.name == index.__name__
    assert result.attrs["units"] == "1"
    assert result.rio.crs == "EPSG:32611"
    assert set(result.coords) == {"y", "x", "time", "spatial_ref"}


def test_several_scenes():
    scenes = xr.concat([make_scene(), make_scene(seed=1)], "time")
    xr.testing.assert_allclose(ndvi(scenes)[1], ndvi(scenes[1]))


@pytest.mark.parametrize("values", [(0, 0), (0, -0.01), (-0.02, -0.01)])
def test_no_index_without_light(values):
    scene = make_scene(np.reshape(values, (2, 1, 1)), bands=("red", "nir"))
    assert ndvi(scene).isnull().all()


@pytest.mark.parametrize("chunks", [None, 1])
@pytest.mark.parametrize(
    ("index", "plus", "minus"),
    [(ndvi, "nir", "red"), (mndwi, "green", "swir1"), (nbr, "nir", "swir2")],
)
def test_reflectance_below_0_counts_as_0(index, plus, minus, chunks):
    values = np.array([[0.02, 0.01, -0.01], [-0.01, -0.01, 0.03]])[..., np.newaxis]
    scene = make_scene(values, bands=(plus, minus), ny=3, nx=1, chunks=chunks)
    np.testing.assert_array_equal(index(scene).values.ravel(), [1, 1, -1])


def test_refusals():
    with pytest.raises(
        ValueError,
        match=r"scene for ndvi must have each of the bands 'nir', 'red' once, got \['red'",
    ):
        ndvi(make_scene(bands=("red", "green")))
    with pytest.raises(
        ValueError, match="scene must hold reflectance .* for mndwi, .*to_reflectance"
    ):
        mndwi(make_scene(units="digital number"))
    with pytest.raises(ValueError, match="must have each of the bands .* once"):
        ndvi(make_scene().drop_vars("band"))
    with pytest.raises(
        ValueError, match=r"each of the bands 'nir', 'red' once, got \['red', 'red', 'nir'\]"
    ):
        ndvi(make_scene(bands=("red", "red", "nir")))
    with pytest.raises(ValueError, match="it lacks .*band"):
        ndvi(make_scene()[0])


@pytest.mark.parametrize("index", [ndvi, mndwi])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "bool", "complex64", "U4", "object"])
def test_reflectance_is_of_floats(index, dtype):
    # With unsigned integers, red - nir would wrap around.
    with pytest.raises(TypeError, match="^scene must hold"):
        index(make_scene().astype(dtype))
    with pytest.raises(TypeError, match="^scene must be an xarray.DataArray"):
        index(make_scene().values)


@pytest.mark.parametrize("index", [ndvi, mndwi])
@pytest.mark.parametrize("chunks", [None, 2])
@pytest.mark.parametrize("key", ["_FillValue", "missing_value", "nodata"])
def test_nodata_has_no_index(index, chunks, key):
    scene = make_scene(chunks=chunks)
    expected = index(scene.where(scene.x > scene.x[0]))
    nodata = scene.where(scene.x > scene.x[0], 9999).assign_attrs(scene.attrs | {key: 9999})
    xr.testing.assert_identical(index(nodata).compute(), expected.compute())


@pytest.mark.parametrize("chunks", [None, 2])
def test_dnbr_is_the_loss_between_two_dates(chunks):
    before = make_scene(chunks=chunks)
    after = make_scene(seed=1, chunks=chunks).assign_coords(time=np.datetime64("2018-08-01", "ns"))
    result = dnbr(before, after.transpose("y", "band", "x"))
    assert (result.chunks is None) == (chunks is None)
    np.testing.assert_array_equal(result, nbr(before).values - nbr(after).values)
    assert result.dims == ("y", "x")
    assert set(result.coords) == {"y", "x", "spatial_ref"}
    with pytest.raises(ValueError, match="before must not be later than after"):
        dnbr(after, before)
    with pytest.raises(ValueError, match="grids must be equal, got different x"):
        dnbr(before, after.assign_coords(x=after.x + 30))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_burn_severity_includes_the_lower_threshold(dtype):
    values = [-0.56, -0.5, -0.25, -0.1, 0.0999, 0.1, 0.27, 0.44, 0.66, 1.3, 1.36, np.nan]
    difference = xr.DataArray(np.array(values, dtype), dims="x")
    expected = [255, 0, 1, 2, 2, 3, 4, 5, 6, 6, 255, 255]
    for given in (difference, difference.chunk(x=4)):
        np.testing.assert_array_equal(burn_severity(given), expected)
    assert burn_severity(difference).dtype == np.uint8
    with pytest.raises(ValueError, match="from -2 to 2, as dnbr returns it, got 1360"):
        burn_severity((difference * 1000).round())
    with pytest.raises(TypeError, match="difference must hold floats"):
        burn_severity(difference.fillna(0).astype(int))
