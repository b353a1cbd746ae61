"""Masks of clouds from QA_PIXEL and SCL."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from cookbook_utils.clouds import LANDSAT_BITS, SENTINEL_2_CLASSES, cloud_mask, mask_clouds
from cookbook_utils.stacking import stack_pixels, unstack_labels

from .factories import make_scene

# Values of QA_PIXEL and their bits: table 6-3, "Landsat 8-9 Pixel Quality Assessment (QA_PIXEL)
# Value Interpretations", of the Landsat 8-9 Collection 2 Level 2 Science Product Guide.
GUIDE = {
    1: {"fill"},
    21824: set(),  # clear, all confidences low
    21826: {"dilated_cloud"},
    21888: {"water"},
    21890: {"dilated_cloud", "water"},
    22080: set(),  # cloud of medium confidence, for which the bit of cloud is not set
    22144: {"water"},  # the same over water
    22280: {"cloud"},
    23888: {"cloud_shadow"},
    23952: {"cloud_shadow", "water"},
    24088: {"cloud", "cloud_shadow"},
    24216: {"cloud", "cloud_shadow", "water"},
    24344: {"cloud", "cloud_shadow"},
    24472: {"cloud", "cloud_shadow", "water"},
    30048: {"snow"},
    54596: {"cirrus"},
    54852: {"cirrus"},
    55052: {"cirrus", "cloud"},
}
# Values of SCL, table "Scene classification" of the Sentinel-2 Products Specification Document.
SCL = {
    0: {"fill", "no_data"},
    1: {"saturated_or_defective"},
    2: {"dark_area"},
    3: {"cloud_shadow"},
    4: {"vegetation"},
    5: {"not_vegetated"},
    6: {"water"},
    7: {"unclassified"},
    8: {"cloud", "cloud_medium_probability"},
    9: {"cloud", "cloud_high_probability"},
    10: {"cirrus", "thin_cirrus"},
    11: {"snow"},
}
KINDS = {
    "landsat_qa_pixel": (GUIDE, LANDSAT_BITS, "uint16"),
    "sentinel2_scl": (SCL, SENTINEL_2_CLASSES, "uint8"),
}


def with_quality(values, kind="landsat_qa_pixel", chunks=None):
    """Return a scene, or a series for 3-D values, with a quality band."""
    values = np.asarray(values)
    *times, ny, nx = values.shape
    scene = make_scene(ny=ny, nx=nx)
    if times:
        dates = np.datetime64("2017-10-22", "ns") + np.arange(times[0]) * np.timedelta64(16, "D")
        scene = scene.drop_vars("time").expand_dims(time=dates)
    dims = (*["time"] * len(times), "y", "x")
    quality = xr.DataArray(values, dims=dims, attrs={"quality_kind": kind})
    if chunks is not None:
        scene, quality = scene.chunk(y=chunks, x=chunks), quality.chunk(y=chunks, x=chunks)
    return scene.assign_coords(quality=quality)


def disk(mask, margin):
    """Widen a mask by hand: all pixels within `margin` of one of it."""
    widened = np.zeros_like(mask)
    y, x = np.indices(mask.shape)
    for i, j in np.argwhere(mask):
        widened |= (y - i) ** 2 + (x - j) ** 2 <= margin**2
    return widened


@pytest.mark.parametrize("kind", KINDS)
def test_each_class_is_found_by_its_name(kind):
    values, classes, dtype = KINDS[kind]
    scene = with_quality(np.array([list(values)], dtype), kind)
    for name in classes:
        expected = [name in names for names in values.values()]
        assert cloud_mask(scene, classes=[name]).values[0].tolist() == expected, name
    default = {"cloud", "cloud_shadow", "snow", "fill"}
    expected = [bool(default & names) for names in values.values()]
    mask = cloud_mask(scene)
    assert mask.values[0].tolist() == expected
    assert mask.dtype == bool and mask.name == "cloud_mask"
    assert mask.attrs["classes"] == "cloud cloud_shadow snow fill"


def test_masked_pixels_are_nodata_and_the_mask_is_kept():
    quality = np.full((4, 5), 21824, np.uint16)
    quality[1, 2], quality[3, 3] = 22280, 21888
    scene = with_quality(quality)
    masked = mask_clouds(scene)
    expected = scene.values.copy()
    expected[:, 1, 2] = np.nan
    np.testing.assert_array_equal(masked.values, expected)
    assert masked.dtype == np.float32 and masked.dims == scene.dims and masked.attrs == scene.attrs
    np.testing.assert_array_equal(masked.cloud_mask, quality == 22280)
    assert masked.cloud_mask.dims == ("y", "x")
    xr.testing.assert_identical(masked.drop_vars("cloud_mask").coords, scene.coords)
    samples = stack_pixels(masked)
    assert samples.sizes["pixel"] == 19 and not samples.cloud_mask.any()
    labels = unstack_labels(np.zeros(19, int), samples, masked)
    assert int((labels == 255).sum()) == 1


def test_a_second_mask_is_added_to_the_first():
    scene = with_quality([[8, 11, 4]], "sentinel2_scl")
    both = mask_clouds(mask_clouds(scene, classes=["cloud"]), classes=["snow"])
    assert both.cloud_mask.values.tolist() == [[True, True, False]]
    assert np.isnan(both.values).any(0).tolist() == [[True, True, False]]


@pytest.mark.parametrize("margin", [1, 3, 40])
@pytest.mark.parametrize("chunks", [None, 5, (7, 13, 1)])
def test_the_margin_crosses_chunks(margin, chunks):
    """It is a disk, whatever the chunks, even if they are smaller than the margin."""
    rng = np.random.default_rng(3)
    quality = np.where(rng.random((21, 21)) < 0.01, 22280, 21824).astype(np.uint16)
    quality[0, 0] = 22280
    scene = with_quality(quality, chunks=chunks)
    mask = cloud_mask(scene, classes=["cloud"], margin=margin)
    assert (mask.chunks is None) == (chunks is None)
    np.testing.assert_array_equal(mask, disk(quality == 22280, margin))


def test_each_date_has_its_own_mask():
    quality = np.full((3, 6, 7), 4, np.uint8)
    quality[1, 2, 3] = 9
    quality[2, 5, 6] = 3
    for chunks in (None, 4):
        series = with_quality(quality, "sentinel2_scl", chunks)
        mask = cloud_mask(series, margin=1)
        assert mask.dims == ("time", "y", "x")
        expected = np.stack([disk(np.isin(date, (3, 9)), 1) for date in quality])
        np.testing.assert_array_equal(mask, expected)
        masked = mask_clouds(series, margin=1)
        assert masked.dims == series.dims
        np.testing.assert_array_equal(np.isnan(masked).all("band"), expected)
        one = mask_clouds(series.isel(time=1), margin=1)
        np.testing.assert_array_equal(one.cloud_mask, expected[1])


def test_fill_has_no_margin():
    """The gaps of Landsat 7 would swallow the scene."""
    quality = np.full((5, 9), 21824, np.uint16)
    quality[:, 0] = 1
    quality[2, 7] = 22280
    mask = cloud_mask(with_quality(quality), margin=1)
    np.testing.assert_array_equal(mask, disk(quality == 22280, 1) | (quality == 1))


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_without_quality_are_fill(kind):
    """Alignment with a larger grid makes floats of the quality band, with NaN."""
    cloudy, clear = {"landsat_qa_pixel": (22280, 21824), "sentinel2_scl": (9, 4)}[kind]
    values = np.array([[np.nan, cloudy, clear]])
    assert cloud_mask(with_quality(values, kind)).values.tolist() == [[True, True, False]]
    only = cloud_mask(with_quality(values, kind, chunks=1), classes=["cloud"])
    assert only.values.tolist() == [[False, True, False]]


def test_lazy_scenes_stay_lazy():
    def fail(block):
        raise AssertionError("computed")

    scene = with_quality(np.full((8, 8), 22280, np.uint16), chunks=4)
    lazy = da.map_blocks(fail, scene.quality.data, dtype=np.uint16, meta=np.empty((0, 0), "u2"))
    scene = scene.assign_coords(quality=(("y", "x"), lazy, scene.quality.attrs))
    masked = mask_clouds(scene, margin=2)
    assert masked.chunks is not None and masked.cloud_mask.chunks is not None
    with pytest.raises(AssertionError, match="computed"):
        masked.compute()


def test_what_cannot_be_masked_is_named():
    scene = with_quality([[22280, 21824]])
    landsat = r"one of 'fill', 'dilated_cloud'.*got 'vegetation'"
    for change, error, message in (
        ({"classes": "cloud"}, TypeError, "classes must be a sequence of names, got 'cloud'"),
        ({"classes": []}, ValueError, "at least one class"),
        ({"classes": ["vegetation"]}, ValueError, landsat),
        ({"classes": [3]}, TypeError, "a name in classes must be one of"),
        ({"margin": -1}, ValueError, "margin must be an integer of at least 0"),
        ({"margin": 1.5}, TypeError, "margin must be an integer"),
    ):
        for function in (cloud_mask, mask_clouds):
            with pytest.raises(error, match=message):
                function(scene, **change)
    bare = scene.drop_vars("quality")
    other = scene.assign_coords(quality=scene.quality.assign_attrs(quality_kind="modis"))
    for wrong, error, message in (
        (bare, ValueError, "must have the coordinate quality"),
        (other, ValueError, "quality_kind, one of .* got 'modis'"),
        (scene.values, TypeError, "scene must be an xarray.DataArray"),
        (scene.isel(y=0), ValueError, "must have the dimensions"),
    ):
        with pytest.raises(error, match=message):
            cloud_mask(wrong)
    with pytest.raises(TypeError, match="scene must hold floats"):
        mask_clouds((scene * 10_000).astype("int16").assign_coords(scene.coords))
    with pytest.raises(ValueError, match="one of 'fill', 'cloud'.*got 'dilated_cloud'"):
        cloud_mask(with_quality([[9]], "sentinel2_scl"), classes=["dilated_cloud"])
