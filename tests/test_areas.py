"""Areas of pixels in every kind of CRS, and of the masks and classes on a grid."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from cookbook_utils import areas
from cookbook_utils.metrics import label_change

from .factories import make_grid, make_labels

pytestmark = pytest.mark.filterwarnings("error")


def test_pixel_area_in_a_projected_crs():
    area = areas.pixel_area_km2(make_grid(step=30))
    assert float(area) == pytest.approx(9e-4)
    assert area.attrs["units"] == "km2"
    # EPSG:2225 counts in US survey feet.
    feet = areas.pixel_area_km2(make_grid(step=100, left=6.5e6, top=2e6, crs="EPSG:2225"))
    assert float(feet) == pytest.approx((100 * 1200 / 3937) ** 2 / 1e6)


def test_pixel_area_in_a_geographic_crs():
    grid = make_grid(ny=4, nx=3, step=0.001, left=46, top=-16, crs="EPSG:4326")
    area = areas.pixel_area_km2(grid)
    # Closed form for the area between two parallels of the WGS 84 ellipsoid.
    a, f = 6378137.0, 1 / 298.257223563
    e = np.sqrt(f * (2 - f))

    def zone(latitude):
        s = np.sin(np.radians(latitude))
        return (a * (1 - f)) ** 2 / 2 * (s / (1 - (e * s) ** 2) + np.arctanh(e * s) / e)

    expected = np.radians(0.001) * (zone(grid.y + 0.0005) - zone(grid.y - 0.0005)) / 1e6
    np.testing.assert_allclose(area, expected, rtol=1e-6)
    assert area.dims == ("y",)
    # Rows shrink away from the equator, and latitude decreases along y.
    assert (np.diff(area) < 0).all()


def test_world_area():
    grid = make_grid(ny=180, nx=360, step=1.0, left=-180, top=90, crs="EPSG:4326")
    total = areas.pixel_area_km2(grid).sum() * 360
    assert float(total) == pytest.approx(510_065_622, rel=1e-4)


@pytest.mark.parametrize("rows", [np.arange(89.5, -90, -1), np.linspace(-90, 90, 181), [-45, 45]])
@pytest.mark.parametrize("crs", ["EPSG:4326", "+proj=longlat +R=6371000"])
def test_the_globe_is_covered_once(rows, crs):
    grid = xr.Dataset(coords={"y": np.asarray(rows, float), "x": np.arange(0.0, 360)})
    ellipsoid = make_grid(crs=crs).rio.crs.to_dict()
    total = 4 * np.pi * 6371.0**2 if "R" in ellipsoid else 510_065_621.7
    area = areas.pixel_area_km2(grid.rio.write_crs(crs)).sum() * 360
    assert float(area) == pytest.approx(total, rel=1e-8)


@pytest.mark.parametrize(
    ("crs", "longitude", "latitude"),
    [
        ("EPSG:3857", 10, 60), ("EPSG:3857", -180, 80), ("EPSG:3857", 0, -45),
        ("EPSG:3413", -45, 90), ("EPSG:3413", 10, 60), ("EPSG:32611", -126, 38),
        ("ESRI:54030", 0, 62), ("EPSG:32611", -117, 38), ("EPSG:3035", 10, 50),
        ("EPSG:6933", 10, 70), ("EPSG:2225", -122, 40), ("EPSG:27700", -2, 52),
    ],
)  # fmt: skip
def test_pixels_have_their_true_area_in_any_projection(crs, longitude, latitude):
    pyproj = pytest.importorskip("pyproj")
    crs = pyproj.CRS(crs)
    to_map = pyproj.Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True)
    step = 500 / crs.axis_info[0].unit_conversion_factor
    x, y = np.add.outer(to_map.transform(longitude, latitude), step * np.arange(-2, 3))
    grid = xr.Dataset(coords={"y": y[::-1], "x": x}).rio.write_crs(crs)
    area = areas.pixel_area_km2(grid)
    # Geodesics between the corners of the pixel in the middle.
    left, right, low, high = (
        *(x[2] + step * np.array([-0.5, 0.5])),
        *(y[2] + step * np.array([-0.5, 0.5])),
    )
    corners = to_map.transform(
        [left, right, right, left], [low, low, high, high], direction="INVERSE"
    )
    expected, _ = crs.get_geod().polygon_area_perimeter(*corners)
    middle = area if area.ndim == 0 else area[2, 2]
    error = areas.AREA_TOLERANCE if area.ndim == 0 else 1e-4
    assert float(middle) == pytest.approx(abs(expected) / 1e6, rel=error)
    mask = xr.DataArray(np.ones((5, 5), bool), grid.coords, ("y", "x"))
    assert areas.area_km2(mask) == pytest.approx(25 * float(middle), rel=5e-3)


def test_pixel_area_across_the_antimeridian():
    grid = make_grid(ny=2, nx=4, step=1.0, left=178, top=60, crs="EPSG:4326")
    across = grid.assign_coords(x=[178.5, 179.5, -179.5, -178.5])
    xr.testing.assert_equal(areas.pixel_area_km2(across), areas.pixel_area_km2(grid))


def test_pixel_area_refuses():
    for wrong in (None, np.ones((2, 2)), [[1]]):
        with pytest.raises(TypeError, match="template must be an xarray.DataArray or Dataset"):
            areas.pixel_area_km2(wrong)
    with pytest.raises(ValueError, match="latitudes of template must be .* got 90 to 91"):
        areas.pixel_area_km2(make_grid(ny=2, step=1, left=0, top=91.5, crs="EPSG:4326"))
    with pytest.raises(ValueError, match="x of template must be .* finite numbers, got nan"):
        areas.pixel_area_km2(make_grid(nx=3).assign_coords(x=[0, 30, np.nan]))
    with pytest.raises(ValueError, match="x of template must be .* got none"):
        areas.pixel_area_km2(make_grid().rename(x="lon"))
    with pytest.raises(
        ValueError,
        match="spatial_ref must hold a coordinate reference system, got one that cannot be read",
    ):
        junk = xr.DataArray(0, attrs={"crs_wkt": "junk"})
        areas.pixel_area_km2(make_grid().assign_coords(spatial_ref=junk))
    with pytest.raises(ValueError, match="must have a CRS, got none"):
        areas.pixel_area_km2(make_grid(crs=None))
    with pytest.raises(ValueError, match="at least 2 pixels along x, got 1"):
        areas.pixel_area_km2(make_grid(nx=1))
    with pytest.raises(ValueError, match="y of template must be regular, .* steps from -60 to -30"):
        areas.pixel_area_km2(make_grid().isel(y=[0, 1, 3]))
    with pytest.raises(ValueError, match="projected or geographic CRS, got WGS 84"):
        areas.pixel_area_km2(make_grid(crs="EPSG:4978"))


@pytest.mark.parametrize("chunks", [None, 1])
def test_area_of_a_mask(chunks):
    mask = make_labels([[1, 0, 1], [255, 1, 0]], step=1000)
    mask = mask if chunks is None else mask.chunk(chunks)
    assert areas.area_km2(mask) == pytest.approx(3)
    assert areas.area_km2(mask.transpose() == 1) == pytest.approx(3)


def test_area_weighs_rows_in_degrees():
    mask = make_labels([[1, 1], [0, 1]], step=0.1, left=20, top=70, crs="EPSG:4326")
    rows = areas.pixel_area_km2(mask)
    assert areas.area_km2(mask) == pytest.approx(float(2 * rows[0] + rows[1]))
    assert areas.class_areas(mask)[0] == pytest.approx(float(rows[1]))


def test_area_refuses():
    with pytest.raises(ValueError, match=r"mask must hold only 0, 1 and 255 .* got \[2\]"):
        areas.area_km2(make_labels([[0, 2], [2, 0]]))
    with pytest.raises(ValueError, match=r"mask must .* unexpected \['time'\]"):
        areas.area_km2(make_labels([[0, 1], [1, 0]]).expand_dims("time"))


def test_class_areas_by_number():
    found = areas.class_areas(make_labels([[3, 0, 3], [255, 3, 7]], step=1000))
    expected = pd.Series([1.0, 3.0, 1.0], pd.Index([0, 3, 7], name="class"), name="area_km2")
    pd.testing.assert_series_equal(found, expected)


def test_class_areas_by_name():
    labels = make_labels([[2, 0], [255, 2]], step=1000)
    labels.attrs |= {"flag_values": [0, 1, 2], "flag_meanings": "land clear_water lost"}
    assert areas.class_areas(labels).to_dict() == {"land": 1.0, "clear_water": 0.0, "lost": 2.0}
    with pytest.raises(ValueError, match=r"only the flag_values \[0, 1, 2\].* got \[5\]"):
        areas.class_areas(labels.where(labels != 2, 5).astype("uint8"))
    labels.attrs["flag_values"] = [0, 1]
    with pytest.raises(ValueError, match="2 flag_values and 3 flag_meanings"):
        areas.class_areas(labels)


@pytest.mark.parametrize(
    "grid",
    [
        dict(step=30),
        dict(step=0.01, left=46, top=-16, crs="EPSG:4326"),
        dict(step=30, left=5e6, top=8e6, crs="EPSG:3857"),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_areas_are_the_sums_over_pixels_for_any_chunks(grid, dtype):
    numbers = np.random.default_rng(0).choice([0, 1, 7, 255], (61, 47)).astype("uint8")
    labels = make_labels(numbers, **grid).astype(dtype)
    area = areas.pixel_area_km2(labels)
    found = areas.class_areas(labels)
    assert found.index.tolist() == [0, 1, 7]
    for number, size in found.items():
        assert size == pytest.approx(float(((labels == number) * area).sum()), rel=1e-12)
    for chunks in ({"y": 10, "x": 9}, {"y": -1, "x": 20}):
        pd.testing.assert_series_equal(
            areas.class_areas(labels.chunk(chunks)), found, rtol=1e-12, atol=0
        )
        mask = (labels == 7).chunk(chunks)
        assert areas.area_km2(mask) == pytest.approx(found[7], rel=1e-12)


def test_class_areas_need_whole_numbers():
    with pytest.raises(ValueError, match=r"labels must be whole numbers .* got 0\.5"):
        areas.class_areas(make_labels([[0, 1], [1, 0]]) / 2)


@pytest.mark.parametrize("chunks", [None, 1])
def test_areas_of_maps_as_files_store_them(chunks):
    labels = make_labels([[2, 0], [255, 2]], step=1000)
    floats = labels.where(labels != 255).drop_attrs(deep=False)
    stored = [
        floats, labels.astype("int16").where(labels != 255, -1).assign_attrs(_FillValue=-1),
        labels.transpose(),
    ]  # fmt: skip
    for array in stored:
        array = array if chunks is None else array.chunk(chunks)
        assert areas.class_areas(array).to_dict() == {0: 1.0, 2: 2.0}
        assert areas.area_km2(array.where(array != 2, 1).assign_attrs(array.attrs)) == 2.0
    text = labels.assign_attrs(flag_values="[2, 0]", flag_meanings="sea land")
    assert areas.class_areas(text).to_dict() == {"sea": 2.0, "land": 1.0}


@pytest.mark.parametrize("function", [areas.class_areas, areas.area_km2])
def test_areas_refuse_wrong_types(function):
    labels = make_labels([[0, 1], [1, 0]])
    for wrong in (None, labels.values, labels.to_dataset(), labels.astype(str), labels * 1j):
        with pytest.raises(TypeError, match="^(labels|mask) must "):
            function(wrong)
    with pytest.raises(ValueError, match="^(labels|mask) must have a CRS"):
        function(make_labels([[0, 1], [1, 0]], crs=None))
    with pytest.raises(ValueError, match="^(labels|mask) must have a size of at least 1"):
        function(labels[:0])


@pytest.mark.parametrize("crs", ["EPSG:27572", "EPSG:27571", "EPSG:2154"])
def test_areas_in_projections_of_a_crs_in_grads(crs):
    """The French Lambert zones count their longitudes in grads from Paris."""
    import pyproj

    center = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(2.5, 47.5)
    grid = make_grid(ny=2, nx=2, step=1000, left=center[0], top=center[1], crs=crs)
    x, y = (np.array(grid[dim])[[0, 1, 1, 0]] for dim in "xy")
    y = np.repeat(np.array(grid.y), 2)
    to_degrees = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    area, _ = pyproj.Geod(ellps="WGS84").polygon_area_perimeter(*to_degrees.transform(x, y))
    assert float(areas.pixel_area_km2(grid).mean()) == pytest.approx(abs(area) / 1e6, rel=2e-3)


def test_pixels_off_the_map_have_no_area():
    disk = "+proj=geos +h=35785831 +lon_0=0 +sweep=y"
    labels = make_labels(np.ones((4, 4)), step=3.5e6, left=-7e6, top=7e6, crs=disk)
    for function in (areas.area_km2, areas.class_areas):
        with pytest.raises(ValueError, match="must be inside the domain of the CRS, got"):
            function(labels)
    inside = labels.where(areas.pixel_area_km2(labels).notnull(), 255).astype("uint8")
    assert areas.area_km2(inside) == areas.class_areas(inside)[1] > 0


@pytest.mark.parametrize("columns", [361, 720])
def test_ground_is_not_counted_twice(columns):
    labels = make_labels(np.ones((2, columns)), step=1.0, left=-180.5, top=50, crs="EPSG:4326")
    with pytest.raises(ValueError, match=f"at most 360 degrees, got {columns} pixels of 1 degrees"):
        areas.class_areas(labels)
    assert areas.class_areas(labels[:, :360]).sum() > 0


def test_a_255_beside_another_nodata_value_may_be_a_class():
    labels = make_labels([[0, 255], [1, 2]]).astype("uint16").assign_attrs(_FillValue=99)
    for function in (areas.class_areas, lambda labels: label_change(labels, labels)):
        with pytest.raises(ValueError, match="got 255, while their nodata value is 99"):
            function(labels)
    assert areas.class_areas(labels.where(labels != 255, 99).astype("uint16")).size == 3
    wide = labels.assign_attrs(_FillValue=65535)
    assert areas.class_areas(wide).index.tolist() == [0, 1, 2, 255]
    assert label_change(wide, wide) == 0


def test_coordinates_in_km_have_no_area_in_meters():
    labels = make_labels([[0, 1], [1, 2]])
    km = labels.assign_coords({d: (labels[d] / 1000).assign_attrs(units="km") for d in "yx"})
    with pytest.raises(ValueError, match="x must be in the unit of its CRS, metre, got 'km'"):
        areas.class_areas(km)
