"""Scenes of files of every format, made by GDAL, rasterio, rio or xarray, and what is refused."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import dask
import numpy as np
import pytest
import rasterio
import rasterio.shutil
import rioxarray  # noqa: F401  registers the accessor
import xarray as xr
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.transform import Affine, from_origin

from cookbook_utils.clouds import cloud_mask
from cookbook_utils.datasets import _driver, _open_rasters, open_scene, open_scenes
from cookbook_utils.interimage import InterImageKMeans

from .deliveries import LANDSAT_8, pack_tar, pack_zip, write_landsat, write_safe

UTM = from_origin(500_000, 4_000_000, 30, 30)
DAY = "2025-06-01"


def numbers(count=2, shape=(50, 70), dtype="uint16", seed=0):
    """Return digital numbers (band, y, x), with a nodata corner of 0."""
    values = np.random.default_rng(seed).integers(1, 9000, (count, *shape)).astype(dtype)
    values[:, :5, :5] = 0
    return values


def write(path, values, *, driver="GTiff", crs="EPSG:32633", transform=UTM, names=None, **profile):
    """Write an array (band, y, x) by rasterio, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = values.shape
    with rasterio.open(
        path, "w", driver=driver, count=count, height=height, width=width, dtype=values.dtype,
        crs=crs, transform=transform, **profile,
    ) as file:  # fmt: skip
        file.write(values)
        for number, name in enumerate(names or (), 1):
            file.set_band_description(number, name)
    return path


def expected(path, scale=1e-4, offset=0.0, numbers=None):
    """Return what rasterio reads, in the arithmetic of float32, with NaN where GDAL masks."""
    with rasterio.open(path) as file:
        numbers = numbers or file.indexes
        values, masks = file.read(numbers), file.read_masks(numbers)
    exact = np.float32 if np.can_cast(values.dtype, np.float32) else np.float64
    result = values.astype(exact) * exact(scale) + exact(offset)
    return np.where(masks != 0, result, np.nan).astype(np.float32)


def same(scene, reference):
    return np.array_equal(scene.values, reference, equal_nan=True) and scene.dtype == "float32"


NAMED = {"bands": ["red", "nir"], "date": DAY, "scale": 1e-4}


# -- formats ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32", "float64"])
def test_geotiff_equals_rasterio(tmp_path, dtype):
    top = 200 if dtype == "uint8" else 9000
    values = (numbers() % top).astype(dtype)
    path = write(tmp_path / "Szene für Müller 1#2.tif", values, nodata=0, tiled=True,
                 blockxsize=16, blockysize=16, compress="deflate")  # fmt: skip
    scene = open_scene(path, **NAMED, offset=-0.1, chunks=32)
    assert scene.dims == ("band", "y", "x")
    assert scene.chunks[1:] == ((32, 18), (32, 32, 6))
    assert same(scene, expected(path, offset=-0.1))
    assert list(scene.band.values) == ["red", "nir"]
    assert scene.rio.crs == "EPSG:32633"
    assert scene.rio.transform() == UTM
    assert scene.time.values == np.datetime64(DAY, "ns")
    assert scene.attrs["units"] == "1"
    assert scene.attrs["date"] == DAY


@pytest.mark.parametrize("driver", ["COG", "VRT", "ENVI", "JP2OpenJPEG", "HFA", "PNG"])
def test_formats_of_gdal(tmp_path, driver):
    source = write(tmp_path / "source.tif", numbers(2 if driver != "PNG" else 1), nodata=0)
    path = tmp_path / f"copy.{driver.lower()[:3]}"
    lossless = {"QUALITY": "100", "REVERSIBLE": "YES", "YCBCR420": "NO"}
    options = lossless if driver == "JP2OpenJPEG" else {}
    rasterio.shutil.copy(source, path, driver=driver, **options)
    names = ["red", "nir"] if driver != "PNG" else ["red"]
    scene = open_scene(path, bands=names, date=DAY, scale=1e-4)
    assert same(scene, expected(path))
    assert same(scene, expected(source))


def test_files_of_rio(tmp_path):
    """`rio convert` and `rio stack` make the files, and the scale is theirs."""
    source = write(tmp_path / "a.tif", numbers(1), nodata=0)
    stacked = tmp_path / "stack.tif"
    for arguments in (["stack", str(source), str(source), "-o", str(stacked)],):
        code = "from rasterio.rio.main import main_group; main_group()"
        subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)
    assert same(open_scene(stacked, **NAMED), expected(stacked))


@pytest.mark.parametrize("step", [(30, 30), (30, -20), (12.5, 12.5)])
def test_south_up_and_oblong_pixels(tmp_path, step):
    grid = Affine(step[0], 0, 500_000, 0, step[1], 4_000_000)
    path = write(tmp_path / "a.tif", numbers(), transform=grid, nodata=0)
    scene = open_scene(path, **NAMED, chunks=16)
    assert same(scene, expected(path))
    assert np.sign(np.diff(scene.y.values)).tolist() == [np.sign(step[1])] * 49


def test_netcdf_and_zarr(tmp_path):
    red, nir = numbers()
    source = write(tmp_path / "a.tif", numbers(), nodata=0)
    grid = open_scene(source, **NAMED)
    made = xr.Dataset(
        {"red": (("y", "x"), red), "nir": (("y", "x"), nir)}, {"y": grid.y, "x": grid.x}
    ).rio.write_crs("EPSG:32633")
    for name in made:
        made[name].attrs = {"scale_factor": 1e-4, "add_offset": -0.1}
        made[name].attrs["_FillValue"] = np.uint16(0)
    made = made.assign_coords(time=np.datetime64(DAY, "ns"))
    made.to_netcdf(tmp_path / "a b.nc")
    made.to_zarr(tmp_path / "a.zarr")
    for path in (tmp_path / "a b.nc", tmp_path / "a.zarr"):
        scene = open_scene(path, chunks=32)
        assert same(scene, expected(source, offset=-0.1)[[0, 1]])
        assert list(scene.band.values) == ["red", "nir"]
        assert scene.rio.crs == "EPSG:32633"
        assert scene.time.values == np.datetime64(DAY, "ns")
        west = scene.odc.geobox.geographic_extent.boundingbox
        box = (west.left, west.bottom, (west.left + west.right) / 2, west.top)
        part = open_scene(path, bbox=box)
        assert part.sizes["x"] in (35, 36, 37) and part.sizes["y"] == 50
        assert same(part, scene.values[..., : part.sizes["x"]])
    with rasterio.open(f"netcdf:{tmp_path / 'a b.nc'}:red") as file:
        assert np.array_equal(file.read(1), red)


def test_netcdf_made_by_gdal(tmp_path):
    source = write(tmp_path / "a.tif", numbers(1, dtype="int16"), nodata=0)
    rasterio.shutil.copy(source, tmp_path / "a.nc", driver="NetCDF")
    scene = open_scene(tmp_path / "a.nc", date=DAY, scale=1e-4)
    reference = expected(source)
    assert same(scene.sortby("y", ascending=False), reference)
    assert list(scene.band.values) == ["Band1"]


def test_series_in_zarr_to_another_grid(tmp_path):
    values = np.random.default_rng(0).random((3, 2, 40, 40)).astype("float32")
    time = np.array(["2025-01-01", "2025-02-01", "2025-03-01"], "M8[ns]")
    y, x = 4_000_000 - 30 * np.arange(40), 500_000 + 30 * np.arange(40)
    made = xr.DataArray(
        values, {"time": time, "band": ["red", "swir16"], "y": y, "x": x},
        ("time", "band", "y", "x"), name="reflectance",
    ).rio.write_crs(32633)  # fmt: skip
    made.to_dataset().to_zarr(tmp_path / "a.zarr")
    series = open_scenes(tmp_path / "a.zarr")
    assert list(series.band.values) == ["red", "swir1"]
    assert same(series, values)
    coarse = open_scenes(tmp_path / "a.zarr", resolution=60, bands=["red"])
    assert coarse.sizes["time"] == 3
    assert abs(coarse.sizes["x"] - 20) <= 1
    with pytest.raises(ValueError, match="source must have one date, got 3"):
        open_scene(tmp_path / "a.zarr")


def cube(names=("red", "nir"), dtype="int16", **attrs):
    """Return a Dataset of packed numbers on a grid in UTM, as CF describes it."""
    y, x = 4_000_000 - 30.0 * np.arange(50), 500_000 + 30.0 * np.arange(70)
    maps = {
        name: (("y", "x"), plane, {"scale_factor": 1e-4, **attrs})
        for name, plane in zip(names, numbers(len(names), dtype=dtype), strict=True)
    }
    return xr.Dataset(maps, {"y": y, "x": x}).rio.write_crs(32633)


@pytest.mark.parametrize(
    "limits",
    [
        {"valid_range": np.array([1, 5000], "int16")},
        {"valid_min": np.int16(1), "valid_max": np.int16(5000)},
        {"valid_range": np.array([1e-4, 0.5])},  # floats limit unpacked values
    ],
)
def test_numbers_outside_of_the_valid_range_of_cf_are_nodata(tmp_path, limits):
    cube(**limits).to_netcdf(tmp_path / "a.nc")
    stored = numbers(dtype="int16")
    wanted = np.where((stored >= 1) & (stored <= 5000), stored * np.float32(1e-4), np.nan)
    assert same(open_scene(tmp_path / "a.nc", date=DAY), wanted.astype(np.float32))


def test_a_valid_range_of_unsigned_numbers_in_signed_ones(tmp_path):
    made = cube(dtype="int8", _Unsigned="true", valid_range=np.array([1, -6], "int8"))
    made.to_netcdf(tmp_path / "a.nc")
    stored = numbers(dtype="int8").view("uint8")
    scene = open_scene(tmp_path / "a.nc", date=DAY)
    assert np.array_equal(scene.isnull(), (stored < 1) | (stored > 250))


@pytest.mark.parametrize(("name", "fill"), [("QA_PIXEL", 1), ("SCL", 0)])
def test_nodata_of_the_quality_band_of_a_cube_is_fill(tmp_path, name, fill):
    quality = np.full((50, 70), 4, "uint16")
    quality[7, 9] = fill
    made = cube(("red",)).assign({name: (("y", "x"), quality, {"_FillValue": np.uint16(fill)})})
    made.to_netcdf(tmp_path / "a.nc")
    mask = cloud_mask(open_scene(tmp_path / "a.nc", date=DAY), classes=["fill"])
    assert np.argwhere(mask.values).tolist() == [[7, 9]]


@pytest.mark.parametrize(("name", "fill"), [("QA_PIXEL", 1), ("SCL", 0)])
def test_the_quality_band_of_a_cube_comes_along_to_another_grid(tmp_path, name, fill):
    quality = np.arange(50 * 70, dtype="uint16").reshape(50, 70) % 12
    made = cube().assign({name: (("y", "x"), quality)}).expand_dims(time=[np.datetime64(DAY, "ns")])
    made.to_netcdf(tmp_path / "a.nc")
    whole = open_scene(tmp_path / "a.nc")
    like = xr.Dataset({}, {"y": whole.y - 300, "x": whole.x}).rio.write_crs(32633)  # ten pixels
    scene = open_scene(tmp_path / "a.nc", like=like)
    assert same(scene[:, :40], whole[:, 10:].values)
    assert np.array_equal(scene.quality[:40], quality[10:])
    assert (scene.quality[40:] == fill).all()
    assert scene.quality.attrs == whole.quality.attrs
    coarse = open_scene(tmp_path / "a.nc", resolution=60)
    assert coarse.quality.shape == coarse.shape[1:] and np.isin(coarse.quality, quality).all()


def test_bands_of_one_name_are_refused(tmp_path):
    cube(names=("swir16", "swir1")).to_netcdf(tmp_path / "a.nc")
    with pytest.raises(ValueError, match="bands of distinct names, got swir16, swir1"):
        open_scene(tmp_path / "a.nc", date=DAY)


def test_a_cube_with_another_dimension_names_it(tmp_path):
    cube().to_dataarray("wavelength").to_dataset(name="r").to_netcdf(tmp_path / "a.nc")
    with pytest.raises(ValueError, match=r"time and band at most, got r .*wavelength"):
        open_scene(tmp_path / "a.nc", date=DAY)


def test_times_of_a_cube_are_sorted(tmp_path):
    time = np.array(["2025-03-01", "2025-01-01", "2025-02-01"], "M8[ns]")
    made = cube(("red",)).expand_dims(time=time).copy(deep=True)
    made["red"][:] += np.arange(3, dtype="int16")[:, None, None] * 100
    made["SCL"] = made["red"] % 12
    made.to_zarr(tmp_path / "a.zarr")
    series = open_scenes(tmp_path / "a.zarr")
    assert np.array_equal(series.time, np.sort(time))
    first = numbers(1, dtype="int16")[0] + np.array([100, 200, 0])[:, None, None]
    assert same(series[:, 0], first.astype(np.float32) * np.float32(1e-4))
    assert np.array_equal(series.quality, first % 12)


@pytest.mark.parametrize("time", [[2019, 2020], ["a", "b"], [np.datetime64(DAY, "ns")] * 2, None])
def test_times_that_are_no_distinct_dates_are_refused(tmp_path, time):
    made = xr.concat([cube(("red",))] * 2, "time")
    made = made if time is None else made.assign_coords(time=time)
    made.to_netcdf(tmp_path / "a.nc")
    with pytest.raises(ValueError, match="must (have times that are dates|hold each time once)"):
        open_scenes(tmp_path / "a.nc")


def test_a_given_date_replaces_the_only_one_of_a_cube(tmp_path):
    made = cube(("red", "SCL")).expand_dims(time=[np.datetime64("2020-02-02", "ns")])
    made.to_netcdf(tmp_path / "a.nc")
    scene = open_scene(tmp_path / "a.nc", date=DAY)
    assert scene.time.values == scene.quality.time.values == np.datetime64(DAY, "ns")


@pytest.mark.parametrize(
    "crs", ['LOCAL_CS["site",UNIT["metre",1]]', "+proj=eqc +a=1737400 +b=1737400 +units=m"]
)
def test_a_crs_that_is_none_of_the_earth_is_refused(tmp_path, crs):
    path = write(tmp_path / "a.tif", numbers(), crs=crs)
    with pytest.raises(ValueError, match="a.tif must be in a CRS of the Earth, got"):
        open_scene(path, **NAMED)
    cube().rio.write_crs(crs).to_netcdf(tmp_path / "a.nc")
    with pytest.raises(ValueError, match="a.nc must be in a CRS of the Earth, got"):
        open_scene(tmp_path / "a.nc", date=DAY, bbox=(14, 36, 15, 37))


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_nodata_counts_beside_an_internal_mask(tmp_path, dtype):
    values = numbers(dtype=dtype)
    path = write(tmp_path / "a.tif", values, nodata=0)
    mask = np.full((50, 70), 255, "uint8")
    mask[20:30] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write_mask(mask)
    scene = open_scene(path, **NAMED)
    assert np.array_equal(scene.isnull(), (values == 0) | (mask == 0))


def test_names_of_bands_are_found_in_any_case(tmp_path):
    """Not by their order: the file has the near infrared first."""
    path = write(tmp_path / "a.tif", numbers(), names=["NIR", "Red"])
    nir, red = expected(path)
    scene = open_scene(path, date=DAY, scale=1e-4)
    assert list(scene.band.values) == ["nir", "red"]
    for bands in (["red", "nir"], ["Red", "NIR"]):
        chosen = open_scene(path, bands=bands, date=DAY, scale=1e-4)
        assert list(chosen.band.values) == ["red", "nir"]
        assert same(chosen, np.stack([red, nir]))


def test_near_infrared_as_alpha_band_is_refused(tmp_path):
    """GDAL declares the fourth band of bytes alpha unless it is told otherwise."""
    bands = ["red", "green", "blue", "nir"]
    path = write(tmp_path / "a.tif", numbers(4, dtype="uint8"), names=bands)
    with pytest.raises(ValueError, match=r"'nir' as a band of values, got band 4 as alpha.*_4 und"):
        open_scene(path, date=DAY, scale=1 / 255)
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [*file.colorinterp[:3], ColorInterp.undefined]
    assert list(open_scene(path, date=DAY, scale=1 / 255).band.values) == bands


def test_zip_with_one_raster(tmp_path):
    source = write(tmp_path / "a.tif", numbers(), nodata=0)
    with zipfile.ZipFile(tmp_path / "a b.zip", "w") as archive:
        archive.write(source, "in/a.tif")
        archive.writestr("readme.txt", "")
    assert same(open_scene(tmp_path / "a b.zip", **NAMED), expected(source))


def test_a_part_of_a_file_opens_by_the_name_that_the_error_gives(tmp_path):
    path = write(tmp_path / "parts.tif", numbers(1), nodata=0)
    with rasterio.open(path) as file:
        profile = file.profile
    with rasterio.open(path, "w", **profile | {"APPEND_SUBDATASET": "YES"}) as file:
        file.write(numbers(1, seed=1))
    name = f"GTIFF_DIR:2:{path}"
    scene = open_scene(name, bands=["red"], date=DAY, scale=1e-4)
    assert same(scene, expected(name))
    with pytest.raises(OSError, match="GTIFF_DIR:9"):
        open_scene(f"GTIFF_DIR:9:{path}", bands=["red"], date=DAY, scale=1e-4)


@pytest.mark.parametrize("packed", [False, True])
def test_a_relative_path_holds_in_any_working_directory(tmp_path, monkeypatch, packed):
    path = write(tmp_path / "a b#1%20ü.tif", numbers(), names=["red", "nir"])
    if packed:
        with zipfile.ZipFile(tmp_path / "scene.zip", "w") as archive:
            archive.write(path, "in/a.tif")
    monkeypatch.chdir(tmp_path)
    scene = open_scene("scene.zip" if packed else path.name, date="2025-06-01", scale=1e-4)
    monkeypatch.chdir("/")
    assert same(scene, expected(path))


@pytest.mark.parametrize("form", ["file://{}", "{}"])
def test_addresses_of_files_of_this_machine(tmp_path, form):
    """Those that `pathlib` makes stand for spaces and accents by numbers."""
    path = write(tmp_path / "ü 1%20.tif", numbers())
    address = form.format(path) if "file" in form else path.as_uri()
    assert same(open_scene(address, **NAMED), expected(path))


def test_single_band_files_by_order_and_by_name(tmp_path):
    paths = [write(tmp_path / f"B{k}.tif", numbers(1, seed=k), nodata=0) for k in (4, 5)]
    reference = np.concatenate([expected(path) for path in paths])
    assert same(open_scene([str(path) for path in paths], **NAMED), reference)
    by_name = dict(zip(("red", "nir08"), paths, strict=True))
    scene = open_scene(by_name, date=DAY, scale={"red": 1e-4, "nir08": 1e-4})
    assert same(scene, reference)
    both = write(tmp_path / "both.tif", numbers())
    with pytest.raises(ValueError, match="several of one band each, got .*both.tif with 2 bands"):
        open_scene([both], bands=["red"], date=DAY, scale=1e-4)
    one = open_scene(by_name, bands=["nir08"], date=DAY, scale=1e-4)
    assert same(one, reference[1:])


def test_bands_of_several_resolutions(tmp_path):
    fine = write(tmp_path / "red.tif", numbers(1, (60, 60)), transform=from_origin(0, 600, 10, 10))
    coarse = write(
        tmp_path / "swir.tif", numbers(1, (30, 30)), transform=from_origin(0, 600, 20, 20)
    )
    files = {"red": fine, "swir16": coarse}
    scene = open_scene(files, date=DAY, scale=1e-4, nodata=0, chunks=32)
    assert list(scene.band.values) == ["red", "swir1"]
    assert scene.rio.transform() == from_origin(0, 600, 10, 10)
    repeated = numbers(1, (30, 30))[0].repeat(2, 0).repeat(2, 1).astype("float32")
    repeated = np.where(repeated == 0, np.nan, repeated * np.float32(1e-4))
    assert np.array_equal(scene[1].values, repeated, equal_nan=True)
    low = open_scene(files, date=DAY, scale=1e-4, nodata=0, resolution=20)
    assert low.shape == (2, 30, 30)
    assert np.array_equal(low[1].values, repeated[::2, ::2], equal_nan=True)


def test_coarser_pixels_are_means_of_the_valid_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(_driver, "MEAN_PIXELS", 3000)
    values = numbers(1, (60, 90))
    values[0, 10:15, :45] = 0
    path = write(tmp_path / "a.tif", values, nodata=0)
    scene = open_scene(path, bands=["red"], date=DAY, scale=1e-4, resolution=150, chunks=8,
                       resampling="average")  # fmt: skip
    cells = expected(path)[0].reshape(12, 5, 18, 5)
    counts = np.isfinite(cells).sum((1, 3))
    means = np.where(counts, np.nansum(cells, (1, 3)) / np.maximum(counts, 1), np.nan)
    assert np.isnan(means).any()
    np.testing.assert_allclose(scene[0], means, rtol=1e-5)


def test_bbox_selects_the_pixels_that_it_touches(tmp_path):
    path = write(tmp_path / "a.tif", numbers(), crs="EPSG:4326", nodata=0,
                 transform=from_origin(10, 50, 0.1, 0.1))  # fmt: skip
    part = open_scene(path, **NAMED, bbox=(10.25, 49.0, 11.0, 49.85))
    assert same(part, expected(path)[:, 1:10, 2:10])
    with pytest.raises(ValueError, match="bbox must overlap the scenes, which cover 10.0000, 45"):
        open_scene(path, **NAMED, bbox=(0, 0, 1, 1))


# -- names, scale, nodata, date ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("west", "box"),
    [
        (350, (-9.99, 0, -9.95, 60)),
        (179.98, (-179.99, 0, -179.96, 60)),
        (-181, (179.02, 0, 180, 60)),
    ],
)
@pytest.mark.parametrize("cube", [False, True])
def test_longitudes_beyond_180_degrees(tmp_path, west, box, cube):
    """From 0 to 360 degrees, or across the antimeridian."""
    values = numbers(1)
    path = write(tmp_path / "a.tif", values, crs="EPSG:4326",
                 transform=from_origin(west, 10, 0.001, 0.001))  # fmt: skip
    how = {"bands": ["red"], "date": DAY, "scale": 1e-4}
    scene = open_scene(path, **how)
    if cube:
        path = tmp_path / "a.nc"
        scene.to_dataset("band").drop_attrs(deep=False).to_netcdf(path)
        how = {"date": DAY}
    found = open_scene(path, bbox=box, **how)
    inside = (scene.x - found.x[0] > -1e-6) & (scene.x - found.x[-1] < 1e-6)
    assert np.array_equal(found, scene[:, :, inside.values], equal_nan=True)
    assert abs((float(found.x[0]) - box[0] + 180) % 360 - 180) < 0.0011
    with pytest.raises(ValueError, match="longitudes from -180 to 180 to be brought to another"):
        open_scene(path, crs="EPSG:3857", resolution=100, **how)


def test_a_box_across_the_edge_of_a_grid_around_the_earth_is_refused(tmp_path):
    """Half of it would be absent, without a word."""
    path = write(tmp_path / "a.tif", numbers(1, (9, 360)), crs="EPSG:4326",
                 transform=from_origin(0, 10, 1, 1))  # fmt: skip
    how = {"bands": ["red"], "date": DAY, "scale": 1e-4}
    with pytest.raises(ValueError, match="one side of the edge .* 0 to 360, got -10 to 10"):
        open_scene(path, bbox=(-10, 2, 10, 8), **how)
    assert open_scene(path, bbox=(-10, 2, 0, 8), **how).x[[0, -1]].values.tolist() == [350.5, 359.5]
    assert open_scene(path, bbox=(170, 2, 180, 8), **how).x[[0, -1]].values.tolist() == [
        170.5,
        179.5,
    ]


def test_a_grid_that_overlaps_nothing_is_refused(tmp_path):
    path = write(tmp_path / "a.tif", numbers(1))
    how = {"bands": ["red"], "date": DAY, "scale": 1e-4}
    scene = open_scene(path, **how)
    scene.to_dataset("band").drop_attrs(deep=False).to_netcdf(tmp_path / "a.nc")
    far = scene.assign_coords(x=scene.x + 1e5)
    for source, given in ((path, how), (tmp_path / "a.nc", {"date": DAY})):
        with pytest.raises(ValueError, match="scenes must overlap the grid that they are broug"):
            open_scene(source, like=far, **given)


@pytest.mark.parametrize("form", [2, 3])
def test_the_only_grid_mapping_counts_without_a_link(tmp_path, form):
    """Of variables that were written with an encoding of their own, xarray loses the link."""
    scene = open_scene(write(tmp_path / "a.tif", numbers(1)), bands=["red"], date=DAY, scale=1e-4)
    data = scene.to_dataset("band").drop_attrs(deep=False)
    encoding = {"red": {"dtype": "int16", "scale_factor": 1e-4, "_FillValue": -1}}
    data.to_zarr(tmp_path / "a.zarr", encoding=encoding, zarr_format=form)
    data.to_netcdf(tmp_path / "a.nc", encoding=encoding)
    for name in ("a.zarr", "a.nc"):
        found = open_scene(tmp_path / name, date=DAY)
        assert found.rio.crs == scene.rio.crs
        np.testing.assert_allclose(found, scene, atol=6e-5)
    two = data.assign(other=data.spatial_ref).reset_coords()
    two.to_netcdf(tmp_path / "two.nc", encoding=encoding)
    with pytest.raises(ValueError, match="must have a CRS"):
        open_scene(tmp_path / "two.nc", date=DAY)


def test_what_the_file_declares_is_taken(tmp_path):
    path = write(tmp_path / "a.tif", numbers(), names=["swir16", "red"], nodata=0)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (2.75e-5, 1e-4), (-0.2, 0)
        file.update_tags(ns="IMAGERY", ACQUISITIONDATETIME="2025-06-01T10:20:30Z")
    scene = open_scene(path)
    assert list(scene.band.values) == ["swir1", "red"]
    assert scene.time.values == np.datetime64("2025-06-01T10:20:30", "ns")
    assert same(scene[:1], expected(path, 2.75e-5, -0.2, [1]))
    assert same(open_scene(path, bands=["red"]), expected(path, 1e-4, 0, [2]))
    assert same(open_scene(path, bands=["red"], scale=1e-5), expected(path, 1e-5, 0, [2]))
    assert same(open_scene(path, bands={"blue": 2}), expected(path, 1e-4, 0, [2]))


def test_masks_and_nodata_of_bands(tmp_path):
    """An alpha band, a mask file, and a nodata value that is given."""
    alpha = np.full((1, 50, 70), 255, "uint16")
    alpha[:, :20, :30] = 0
    path = write(tmp_path / "alpha.tif", np.concatenate([numbers(), alpha]))
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp.gray, ColorInterp.undefined, ColorInterp.alpha]
    scene = open_scene(path, **NAMED)
    assert scene.shape == (2, 50, 70)
    assert np.isnan(scene.values[:, :20, :30]).all()
    reference = numbers()[:, 20:].astype("float32") * np.float32(1e-4)
    assert np.array_equal(scene.values[:, 20:], reference)

    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False):
        path = write(tmp_path / "mask.tif", numbers())
        with rasterio.open(path, "r+") as file:
            file.write_mask(alpha[0] > 0)
    assert (tmp_path / "mask.tif.msk").exists()
    scene = open_scene(path, **NAMED)
    assert np.isnan(scene.values[:, :20, :30]).all() and not np.isnan(scene.values[:, 30:]).any()
    coarse = open_scene(path, **NAMED, resolution=60)
    assert np.isnan(coarse.values[:, :9, :14]).all() and not np.isnan(coarse.values[:, 15:]).any()

    files = [write(tmp_path / f"{k}.tif", numbers(1), nodata=k) for k in (0, 7777)]
    scene = open_scene(files, **NAMED)
    assert np.isnan(scene[0].values[:5, :5]).all()
    assert (scene[1].values[:5, :5] == 0).all()
    given = open_scene(files, **NAMED, nodata={"nir": 0})
    assert np.isnan(given[1].values[:5, :5]).all()


def test_infinite_and_nan_nodata_of_floats(tmp_path):
    values = np.random.default_rng(0).random((1, 50, 70)).astype("float32")
    values[0, :3] = np.nan
    values[0, 3:5] = -np.inf
    path = write(tmp_path / "a.tif", values, nodata=-np.inf)
    scene = open_scene(path, bands=["red"], date=DAY)
    assert np.isnan(scene.values[0, :5]).all()
    assert np.array_equal(scene.values[0, 5:], values[0, 5:])


BAD = {
    "no date": ({"date": None}, "date must be given, because .*a.tif declares none"),
    "not a date": ({"date": "June"}, "date must be a date"),
    "no scale": (
        {"scale": None},
        "scale and offset to reflectance must be given, because",
    ),
    "scale of 1": ({"scale": 1}, "scale and offset to reflectance must be given"),
    "scale too large": ({"scale": 0.5}, "scale must be a number from 1e-06 to 1, at most 0.1"),
    "offset in DN": ({"offset": -1000}, "offset must be a finite number from -1.0 to 1.0"),
    "no names": ({"bands": None}, "bands must name the 2 bands of .*a.tif"),
    "too few names": ({"bands": ["red"]}, "bands must name the 2 bands"),
    "equal names": ({"bands": ["red", "red"]}, "bands must be distinct names"),
    "a number beyond": ({"bands": {"red": 3}}, "number of each band, from 1 to 2, got 3"),
    "another band": ({"scale": {"blue": 1e-4}}, "got the band 'blue'"),
    "bbox": ({"bbox": (5, 0, 4, 1)}, "west below east"),
    "crs without resolution": ({"crs": "EPSG:4326"}, "resolution must be given with the crs"),
    "no crs": ({"crs": "EPSG:x", "resolution": 1}, "crs must be a CRS such as"),
    "resampling": ({"resampling": "best"}, "resampling must be one of"),
    "options": ({"storage_options": {"secrets": 1}}, "storage_options must be among"),
    "resolution": ({"resolution": 1e-9}, "resolution must lead to at most"),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_arguments(tmp_path, case):
    changed, message = BAD[case]
    path = write(tmp_path / "a.tif", numbers(), nodata=0)
    with pytest.raises(ValueError, match=message):
        open_scene(path, **NAMED | changed)


def test_a_wrong_scale_shows_when_it_is_computed(tmp_path):
    path = write(tmp_path / "a.tif", numbers(), nodata=0)
    with pytest.raises(ValueError, match="must lead to reflectance, got .*% of the values"):
        open_scene(path, **NAMED | {"scale": 0.01}).compute()
    values = numbers().astype("int16")
    values[:, :20] = -9999
    path = write(tmp_path / "b.tif", values)
    with pytest.raises(ValueError, match="b.tif, band [12], below -0.25 with the scale 0.0001"):
        open_scene(path, **NAMED).compute()
    assert np.isnan(open_scene(path, **NAMED, nodata=-9999).values[:, :20]).all()


# -- rasters that are no scene ------------------------------------------------------------------


def palette(path):
    write(path, numbers(1, dtype="uint8"))
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {0: (0, 0, 0, 255), 1: (255, 0, 0, 255)})


def gcps(path):
    points = [GroundControlPoint(r, c, c * 30, r * -30) for r in (0, 49) for c in (0, 69)]
    with rasterio.open(
        path, "w", driver="GTiff", width=70, height=50, count=1, dtype="uint16"
    ) as f:
        f.gcps = points, rasterio.crs.CRS.from_epsg(32633)


NO_SCENE = {
    "palette": (palette, "got indices into a palette"),
    "complex": (
        lambda path: write(path, numbers(1).astype("complex64")),
        "hold real numbers",
    ),
    "no crs": (lambda path: write(path, numbers(1), crs=None), "must be georeferenced"),
    "no grid": (lambda path: write(path, numbers(1), transform=Affine.identity()), "georeferenced"),
    "rotated": (
        lambda path: write(path, numbers(1), transform=UTM * Affine.rotation(20)),
        "must be georeferenced",
    ),
    "ground control points": (gcps, "got ground control points only: warp it first"),
}


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("case", NO_SCENE)
def test_rasters_that_are_no_scene(tmp_path, case):
    make, message = NO_SCENE[case]
    make(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=message):
        open_scene(tmp_path / "a.tif", bands=["red"], date=DAY, scale=1e-4)


@pytest.mark.parametrize("name", ["a.tif", "a.nc", "a.zarr", "a.json", "a.zip", "a.tar"])
def test_absent_and_damaged_files(tmp_path, name):
    with pytest.raises(OSError, match="a\\.") as raised:
        open_scene(tmp_path / name, **NAMED)
    assert "\n" not in str(raised.value)
    (tmp_path / name).write_bytes(b"no raster " * 100)
    with pytest.raises((OSError, ValueError), match="a\\.") as raised:
        open_scene(tmp_path / name, **NAMED)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_cut_short_or_removed_names_itself(tmp_path):
    path = write(tmp_path / "a.tif", numbers(shape=(500, 700)), nodata=0)
    scene = open_scene(path, **NAMED)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(OSError, match="a.tif must be a readable raster"):
        scene.compute()
    path.unlink()
    with pytest.raises(OSError, match="a.tif must be a readable file, got none there"):
        scene.compute()


@pytest.mark.parametrize("source", [3, None, [], {}, [1], {"red": 1}, b"a.tif", object()])
def test_sources_of_a_wrong_type(source):
    with pytest.raises((TypeError, ValueError), match="source must"):
        open_scene(source, **NAMED)


# -- series -------------------------------------------------------------------------------------


def test_a_file_that_was_replaced_is_read_anew(tmp_path):
    path = write(tmp_path / "scene.tif", numbers(), nodata=0)
    scene = open_scene(path, **NAMED)
    assert same(scene, expected(path))
    write(tmp_path / "other.tif", numbers(seed=1), nodata=0).replace(path)
    assert same(scene, expected(path))


def test_files_stay_open_for_one_thread_at_a_time_and_not_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr(_open_rasters, "_idle", [])
    monkeypatch.setattr(_open_rasters, "MAX_IDLE", 3)
    paths = [write(tmp_path / f"{i}.tif", numbers(seed=i), nodata=0) for i in range(4)]
    scenes = [open_scene(path, **NAMED, chunks={"y": 10, "x": 70}) for path in paths]
    with dask.config.set(scheduler="threads", num_workers=4):
        for scene, path in zip(scenes, paths, strict=True):
            for _ in range(3):
                assert same(scene, expected(path))
    datasets = [raster.dataset for _, raster in _open_rasters._idle]
    assert 0 < len(datasets) <= 3
    assert len(set(map(id, datasets))) == len(datasets)
    assert not any(dataset.closed for dataset in datasets)


def test_series_of_shifted_scenes(tmp_path):
    places = [(0, 600), (100, 500)]
    paths = [
        write(tmp_path / f"{k}.tif", numbers(1, (40, 40), seed=k), nodata=0,
              transform=from_origin(*place, 10, 10))
        for k, place in enumerate(places)
    ]  # fmt: skip
    named = {"bands": ["red"], "scale": 1e-4}
    series = open_scenes(paths, dates=["2025-02-01", "2025-01-01"], **named)
    assert series.shape == (2, 1, 50, 50)
    assert (np.diff(series.time.values) > np.timedelta64(0)).all()
    assert same(series[1, 0, :40, :40], expected(paths[0])[0])
    assert same(series[0, 0, 10:, 10:], expected(paths[1])[0])
    assert np.isnan(series[1, 0, 40:]).all()
    mosaic = open_scenes(paths, dates=[DAY, DAY], **named)
    assert mosaic.shape == (1, 1, 50, 50)
    with pytest.raises(ValueError, match="dates must differ between scenes on one grid"):
        open_scenes([paths[0], paths[0]], dates=[DAY, DAY], **named)
    with pytest.raises(ValueError, match="dates must be one for each of the 2 sources, got 1"):
        open_scenes(paths, dates=[DAY], **named)


def test_two_utm_zones_need_a_stated_grid(tmp_path):
    paths = [
        write(tmp_path / f"{zone}.tif", numbers(1, (40, 40)), crs=f"EPSG:326{zone}", nodata=0,
              transform=from_origin(left, 5_000_000, 100, 100))
        for zone, left in ((32, 733_000), (33, 263_000))
    ]  # fmt: skip
    named = {"dates": ["2025-01-01", "2025-02-01"], "bands": ["red"], "scale": 1e-4}
    with pytest.raises(ValueError, match="one CRS, got EPSG:32632 and EPSG:32633: give the crs"):
        open_scenes(paths, **named)
    series = open_scenes(paths, crs="EPSG:32632", resolution=100, **named)
    assert series.rio.crs == "EPSG:32632"
    assert (np.isfinite(series).sum(("band", "y", "x")) > 1400).all()
    like = open_scenes(paths[:1], **named | {"dates": ["2025-01-01"]})
    again = open_scenes(paths, like=like, **named)
    assert np.array_equal(again.x, like.x) and again.sizes["time"] == 2


def test_scenes_reach_the_estimator(tmp_path):
    path = write(tmp_path / "a.tif", numbers(), nodata=0)
    model = InterImageKMeans(n_clusters=2, engine="numpy").fit([open_scene(path, **NAMED)])
    assert model.labels_[0].shape == (50, 70)


def test_real_scene_equals_rasterio(real_data):
    paths = [real_data / "betsiboka" / f"betsiboka_2020-01-27_B0{k}.tiff" for k in (4, 5)]
    scale = 1 / 65535
    scene = open_scene([str(path) for path in paths], **NAMED | {"scale": scale}, nodata=0)
    reference = np.concatenate([expected(path, scale) for path in paths])
    with rasterio.open(paths[0]) as file:
        empty = file.read(1) == 0
    assert np.array_equal(scene[0].values[~empty], reference[0][~empty])
    assert np.isnan(scene[0].values[empty]).all()


# -- deliveries ---------------------------------------------------------------------------------


def test_landsat_as_delivered(tmp_path):
    folder = tmp_path / "one"
    write_landsat(folder)
    tar = pack_tar(folder, tmp_path / "scene.tar")
    scene = open_scene(folder, bands=["red", "swir1"])
    assert scene.attrs["sensor"] == "Landsat 8 OLI"
    assert scene.attrs["quantity"] == "surface reflectance"
    for k, number in enumerate((4, 6)):
        (path,) = folder.glob(f"*_SR_B{number}.TIF")
        with rasterio.open(path) as file:
            raw = file.read(1)
        reference = raw.astype("float32") * np.float32(2.75e-5) + np.float32(-0.2)
        assert np.array_equal(scene[k], np.where(raw == 0, np.nan, reference), equal_nan=True)
    (path,) = folder.glob("*_QA_PIXEL.TIF")
    with rasterio.open(path) as file:
        assert np.array_equal(scene.quality, file.read(1))
    assert scene.quality.attrs == {"quality_kind": "landsat_qa_pixel"}
    assert cloud_mask(scene).dtype == bool
    for other in (tar, next(folder.glob("*_MTL.txt"))):
        assert same(open_scene(other, bands=["red", "swir1"]), scene.values)
    assert list(open_scene(folder).band.values)[:3] == ["coastal", "blue", "green"]


def test_a_folder_of_deliveries_is_a_series(tmp_path):
    later = "LC08_L2SP_042033_20171107_20200903_02_T1"
    write_landsat(tmp_path / "scenes" / "one")
    write_landsat(tmp_path / "scenes" / "two", later)
    series = open_scenes(tmp_path / "scenes", bands=["nir"])
    assert series.sizes["time"] == 1  # of one day: a mosaic
    write_landsat(tmp_path / "flat")
    write_landsat(tmp_path / "flat", later)
    assert open_scenes(tmp_path / "flat", bands=["nir"]).shape == series.shape


def test_scenes_of_two_levels_are_no_series(tmp_path):
    """The atmosphere would pass for a change."""
    write_landsat(tmp_path / "a")
    product = LANDSAT_8.replace("L2SP", "L1TP").replace("20171022_", "20171107_")
    write_landsat(tmp_path / "b", product, DATE_ACQUIRED="2017-11-07")
    with pytest.raises(ValueError, match="must be of one quantity, got surface .* and top-of-atmo"):
        open_scenes(tmp_path)


def test_sentinel_2_as_delivered(tmp_path):
    safe, _ = write_safe(tmp_path)
    scene = open_scene(safe, bands=["red", "nir"])
    (path,) = safe.rglob("*_B04_10m.jp2")
    with rasterio.open(path) as file:
        raw = file.read(1)
    reference = raw.astype("float32") * np.float32(1e-4) + np.float32(-0.1)
    assert np.array_equal(scene[0], np.where(raw == 0, np.nan, reference), equal_nan=True)
    assert scene.attrs["quantity"] == "surface reflectance"
    assert scene.quality.attrs == {"quality_kind": "sentinel2_scl"}
    packed = pack_zip(safe, tmp_path / "safe.zip")
    assert same(open_scene(packed, bands=["red", "nir"]), scene.values)
    every = open_scene(safe)
    assert "rededge1" in every.band and every.shape[1:] == scene.shape[1:]
