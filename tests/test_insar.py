"""Reading EGMS deliveries, whole and damaged, and filling gaps within the range of the data."""

from __future__ import annotations

import copy
import zipfile

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.interpolate import PchipInterpolator

from cookbook_utils import _gaps, insar
from cookbook_utils.datasets import DataUnavailableError
from cookbook_utils.insar import fill_gaps, open_points
from cookbook_utils.shards import PointShards, ShardWriter
from cookbook_utils.simulate import simulate_site, write_site

CSV = """\
pid,mp_type,latitude,longitude,easting,height_ortho,mean_velocity,extra,20200115,20200103
a1,0,38.7,13.1,4598603.43,-46.6,-2.1,7,1.5,0.5
b2,1,38.8,13.2,4598603.44,12.0,,8,,-0.5
"""


def make_points(displacement, days=None, **extra):
    displacement = np.asarray(displacement, np.float32)
    days = np.arange(displacement.shape[1]) * 6 if days is None else days
    time = pd.Timestamp("2020-01-01") + pd.to_timedelta(days, unit="D")
    data = {"displacement": (("point", "time"), displacement), **extra}
    return xr.Dataset(data, {"time": time.to_numpy("datetime64[ns]")}, {"crs": "EPSG:4326"})


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text(CSV)
    return path


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "points.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("points.xml", "<BURST/>")
        file.writestr("points.csv", CSV)
    return path


# -- reading ------------------------------------------------------------------------------------


def test_csv_and_zip_read_alike(csv, archive):
    one, two = open_points(csv), open_points(archive)
    xr.testing.assert_identical(one, two)
    assert one.displacement.dims == ("point", "time")
    assert one.displacement.dtype == np.float32
    # in order of date, whatever the order in the file
    assert one.time.dt.strftime("%Y%m%d").values.tolist() == ["20200103", "20200115"]
    np.testing.assert_array_equal(one.displacement, [[0.5, 1.5], [-0.5, np.nan]])
    assert one.pid.values.tolist() == ["a1", "b2"]
    assert one.longitude.values.tolist() == [13.1, 13.2]
    assert one.easting.values.tolist() == [4598603.43, 4598603.44]  # float32 would round to 0.5 m
    assert one.height.attrs["units"] == "m"
    assert one.mean_velocity.attrs["units"] == "mm/yr"
    assert np.isnan(one.mean_velocity[1])
    assert one.attrs["static_features"] == "height mean_velocity"
    assert "units" not in one.extra.attrs


def test_no_file_is_unpacked(archive):
    open_points(archive)
    assert [path.name for path in archive.parent.iterdir()] == ["points.zip"]


def test_the_real_island_of_ustica(real_data):
    path = real_data / "ustica" / "EGMS_L2b_022_0845_IW2_VV_2020_2024_1.zip"
    if not path.is_file():
        pytest.skip(f"COOKBOOK_DATA has no {path.name}")
    points = open_points(path)
    assert dict(points.sizes) == {"point": 11590, "time": 210}
    with zipfile.ZipFile(path) as file, file.open(path.stem + ".csv") as stream:
        frame = pd.read_csv(stream)
    dates = points.time.dt.strftime("%Y%m%d").values
    np.testing.assert_array_equal(points.displacement, frame[dates].to_numpy(np.float32))
    np.testing.assert_array_equal(points.longitude, frame.longitude)
    np.testing.assert_array_equal(points.height, frame.height_ortho.astype("f4"))
    np.testing.assert_array_equal(points.pid, frame.pid)
    assert {len(points[name].attrs["units"]) > 0 for name in points.data_vars} == {True}
    steps = np.unique(np.diff(points.time) / np.timedelta64(1, "D"))
    assert steps.tolist() == [6, 12, 24]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pid,latitude,20200103\na,1,2\n", "lacks the columns longitude; it has pid, latitude"),
        ("latitude,longitude\n", "lacks the columns pid"),
        ("pid,latitude,longitude,height\na,1,2,3\n", "no columns of dates"),
        ("pid,latitude,longitude,20201399\na,1,2,3\n", "not dates: 20201399"),
        ("pid,latitude,longitude,20200103,20200103\na,1,2,3,4\n", "20200103 more than once"),
        ("pid,latitude,longitude,20200103\n", "must hold points, got only a header"),
        ("pid,latitude,longitude,20200103\na,1,2,3\nb,1,2\n", "cannot be parsed: .*3"),
        ("pid,latitude,longitude,20200103\na,1,2,x\n", "cannot be parsed: .*x"),
        (
            "pid,latitude,longitude,20200103\na,1,,3\n",
            "longitude must be from -180 to 180 degrees, got nan at the point a",
        ),
        (
            "pid,latitude,longitude,20200103\na,95,2,3\n",
            "latitude must be from -90 to 90 degrees, got 95.0 at the point a: are .* swapped",
        ),
        ("", "lacks the columns"),
    ],
)
def test_a_csv_that_is_not_one_of_egms_is_refused(csv, text, message):
    csv.write_text(text)
    with pytest.raises(ValueError, match=rf"points\.csv.*{message}"):
        open_points(csv)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "must hold one CSV, got 0: it holds nothing"),
        (["a.xml"], "must hold one CSV, got 0: it holds a.xml"),
        (["a.csv", "b.CSV"], "must hold one CSV, got 2: it holds a.csv, b.CSV"),
    ],
)
def test_a_zip_without_one_csv_is_refused(tmp_path, names, message):
    path = tmp_path / "points.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, CSV)
    with pytest.raises(ValueError, match=message):
        open_points(path)


@pytest.mark.parametrize("keep", [0, 10, -1, -100])
def test_a_zip_cut_short_is_refused(archive, keep):
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"points\.zip is damaged"):
        open_points(archive)


def test_a_zip_with_altered_bytes_is_refused(tmp_path):
    path = tmp_path / "points.zip"
    lines = "".join(f"p{i},1,2,{i}\n" for i in range(1000))
    with zipfile.ZipFile(path, "w") as file:  # stored: only the checksum can tell
        file.writestr("points.csv", "pid,latitude,longitude,20200103\n" + lines)
    path.write_bytes(path.read_bytes().replace(b"p500,1,2,500", b"p500,1,2,599"))
    with pytest.raises(ValueError, match="damaged.*CRC"):
        open_points(path)


HEADER = "pid,latitude,longitude,20200103,20200109"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        # numpy.datetime64 in nanoseconds would wrap to 2084 and 1816
        ("pid,latitude,longitude,15000101,20200109", "15000101 must be a date from 1978-06-27"),
        ("pid,latitude,longitude,20200103,99991231", "99991231 must be .* today, got 9999-12-31"),
        ("pid,latitude,longitude,19780626,20200109", "19780626 must be a date"),
        ("pid,latitude,longitude,20200103,20201340", "not dates: 20201340"),
        ("pid,latitude,longitude,20200103,00000000", "not dates: 00000000"),
        ("pid,latitude,longitude,20200103,20210229", "not dates: 20210229"),
        # dates in other formats would leave the series and become features
        ("pid,latitude,longitude,20200103,2020-01-09", "neither words nor dates .* '2020-01-09'"),
        ("pid,latitude,longitude,20200103,D20200109", "'D20200109'"),
        ("pid,latitude,longitude,20200103,d_2020_01_09", "'d_2020_01_09'"),
        ("pid,latitude,longitude,20200103,202001091", "'202001091'"),
        ("pid,latitude,longitude,20200103,٢٠٢٠٠١٠٩", "neither words nor dates"),
        ("pid,latitude,longitude,20200103,", "neither words nor dates .* ''"),
        # names that would replace what is returned
        ("pid,latitude,longitude,20200103,displacement", "the columns displacement, names"),
        ("pid,latitude,longitude,20200103,time", "the columns time, names"),
        ("pid,latitude,longitude,20200103,filled_fraction", "columns filled_fraction, names"),
        ("pid,latitude,longitude,20200103,pid", "pid more than once"),
        ("pid,latitude,longitude,20200103, latitude", "latitude more than once"),
        ("pid;latitude;longitude;20200103;20200109", "lacks .* separated by commas"),
    ],
)
def test_a_column_is_a_date_or_a_feature_of_its_own(csv, header, message):
    csv.write_text(f"{header}\na,38.7,13.2,1,2\n")
    with pytest.raises(ValueError, match=rf"points\.csv.*{message}"):
        open_points(csv)


def test_a_date_of_the_future_is_refused(csv):
    coming = (pd.Timestamp.now("UTC") + pd.Timedelta("3D")).strftime("%Y%m%d")
    csv.write_text(f"pid,latitude,longitude,{coming}\na,38.7,13.2,1\n")
    with pytest.raises(ValueError, match=f"{coming} must be a date"):
        open_points(csv)


def test_both_names_of_the_height_are_too_many(csv):
    csv.write_text("pid,latitude,longitude,20200103,height,height_ortho\na,38.7,13.2,1,2,3\n")
    with pytest.raises(ValueError, match="the columns height_ortho, height, names"):
        open_points(csv)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a,38.7,13.2,1,2\nb,38.7,13.2,1\n", "line 3 has 4 cells, expected 5"),
        ("a,38.7,13.2,1,2\n\nb,38.7,13.2,1,x\n", "line 4 has 'x' in the column 20200109"),
        ('a,38.7,13.2,"1,5",2\n', "line 2 has '1,5' in the column 20200103, expected a number"),
        ("a,38,7,13,2,1,5,2,0\n", "line 2 has 9 cells, expected 5"),
        ("a,north,13.2,1,2\n", "line 2 has 'north' in the column latitude"),
        (
            "a,38.7,13.2,1,2\nb,38.7,13.2,1,2\na,38.8,13.2,1,2\n",
            "pid must hold .* got 'a' more than once",
        ),
        (",38.7,13.2,1,2\n", "1 of 1 points have an empty pid"),
        ("a,38.7,181,1,2\n", "longitude must be .* got 181.0 at the point a: convert 0 to 360"),
        ("a,nan,13.2,1,2\n", "latitude must be .* got nan at the point a"),
        ("a,38.7,13.2,1,inf\n", "20200109 must hold displacements .* got inf at the point a"),
        ("a,38.7,13.2,1e39,2\n", "20200103 must hold displacements"),
        ("a,38.7,13.2,1,-9999\n", "20200109 must hold .* got -9999.0 at the point a: leave"),
    ],
)
def test_a_cell_that_is_wrong_is_named(csv, lines, message):
    csv.write_text(f"{HEADER}\n{lines}")
    with pytest.raises(ValueError, match=rf"points\.csv.*{message}"):
        open_points(csv)


def test_lines_that_end_in_carriage_returns_alone_are_refused(csv):
    csv.write_bytes(f"{HEADER}\ra,38.7,13.2,1,2\r".encode())
    with pytest.raises(ValueError, match=r"points\.csv .* a line contains a carriage return"):
        open_points(csv)


def test_an_infinite_feature_is_named(csv):
    csv.write_text("pid,latitude,longitude,height,20200103\na,38.7,13.2,1e300,1\n")
    with pytest.raises(ValueError, match="column height must hold finite numbers .* point a"):
        open_points(csv)


def test_spellings_of_a_csv_read_alike(csv):
    plain = f"{HEADER}\na,38.7,13.2,1,\nb,38.8,13.2,3,4\n"
    csv.write_text(plain)
    expected = open_points(csv)
    quoted = ("\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in
                        plain.splitlines()))  # fmt: skip
    for text in (
        "\ufeff" + plain,
        plain.replace("\n", "\r\n"),
        quoted.replace('""', ""),
        plain.replace("38.7,13.2,1", "38.7 , 13.2 , 1").replace(",longitude", ", longitude"),
        plain.replace("\n", "\n\n"),
        plain.rstrip(),
    ):
        csv.write_bytes(text.encode())
        xr.testing.assert_identical(open_points(csv), expected)


PLACED = "pid,latitude,longitude,easting,northing,20200103\na,{},4598603.43,1739722.18,1\n"


def test_swapped_coordinates_are_found_by_easting_and_northing(csv):
    csv.write_text(PLACED.format("13.171103,38.690708"))
    with pytest.raises(ValueError, match="longitude and latitude are swapped"):
        open_points(csv)
    csv.write_text(PLACED.format("38.790708,13.171103"))
    with pytest.warns(UserWarning, match="1 of 1 points .* more than 1 km from their easting"):
        open_points(csv)


def test_points_outside_of_europe_are_warned_of(csv):
    csv.write_text("pid,latitude,longitude,20200103\na,13.2,38.7,1\n")
    with pytest.warns(UserWarning, match="latitude 13.2 to 13.2, outside of Europe: are the two"):
        open_points(csv)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file .*nothing.zip"):
        open_points(tmp_path / "nothing.zip")


# -- gaps ---------------------------------------------------------------------------------------

VALUES = st.floats(-100, 100, width=32)


@st.composite
def series(draw):
    n = draw(st.integers(1, 12))
    days = np.sort(draw(st.sets(st.integers(0, 60), min_size=n, max_size=n).map(list)))
    values = draw(hnp.arrays(np.float32, (3, n), elements=VALUES | st.just(np.nan)))
    return days, values


@settings(max_examples=75, deadline=None)
@given(series(), st.sampled_from(["linear", "pchip"]), st.sampled_from([None, "1D", "7D"]))
def test_filling_keeps_what_is_there_and_stays_within_its_neighbors(case, method, step):
    days, values = case
    filled = fill_gaps(make_points(values, days), method=method, step=step)
    result = filled.displacement.values
    at = (filled.time.values - np.datetime64("2020-01-01")) / np.timedelta64(1, "D")
    for before, after, fraction in zip(values, result, filled.filled_fraction.values, strict=True):
        there = np.isfinite(before)
        if not there.any():
            assert np.isnan(after).all() and np.isnan(fraction)
            continue
        known = dict(zip(days[there].tolist(), before[there].tolist(), strict=True))
        seen = [day in known for day in at]
        assert fraction == pytest.approx(1 - np.mean(seen))
        for day, value in zip(at, after, strict=True):
            earlier = [known[d] for d in known if d <= day]
            later = [known[d] for d in known if d >= day]
            if day in known:
                assert value == pytest.approx(known[day], abs=1e-4)
            elif not earlier:
                assert value == later[0]
            elif not later:
                assert value == earlier[-1]
            else:
                low, high = sorted([earlier[-1], later[0]])
                assert low - 1e-4 <= value <= high + 1e-4


@settings(max_examples=50, deadline=None)
@given(series())
def test_the_cubic_is_that_of_scipy_and_the_line_that_of_numpy(case):
    days, values = case
    points = make_points(values, days)
    curves = {method: fill_gaps(points, method=method, step="1D") for method in ("linear", "pchip")}
    at = (curves["linear"].time.values - np.datetime64("2020-01-01")) / np.timedelta64(1, "D")
    for i, row in enumerate(values):
        there = np.isfinite(row)
        if there.any():
            known, inside = days[there], at.clip(days[there][0], days[there][-1])
            line = np.interp(inside, known, row[there])
            np.testing.assert_allclose(curves["linear"].displacement[i], line, atol=1e-4)
        if there.sum() > 1:
            curve = PchipInterpolator(known, row[there].astype(float))(inside)
            np.testing.assert_allclose(curves["pchip"].displacement[i], curve, atol=1e-4)


def test_observations_come_back_bit_for_bit():
    values = np.random.default_rng(0).normal(size=(50, 40)).astype("f4")
    values[:, ::7] = np.nan
    for method in ("linear", "pchip"):
        filled = fill_gaps(make_points(values), method=method).displacement.values
        np.testing.assert_array_equal(filled[np.isfinite(values)], values[np.isfinite(values)])


@pytest.mark.parametrize("method", ["linear", "pchip"])
@pytest.mark.parametrize("step", [None, "6D"])
def test_lazy_and_in_memory_agree(method, step):
    values = np.random.default_rng(0).normal(size=(23, 40)).astype("f4")
    values[np.random.default_rng(1).random(values.shape) < 0.3] = np.nan
    points = make_points(values, np.arange(40) * 6 + np.arange(40) % 3)
    lazy = points.chunk(point=5, time=11)
    with dask.config.set(scheduler=lambda *_: pytest.fail("computed while being set up")):
        filled = fill_gaps(lazy, method=method, step=step)
    assert isinstance(filled.displacement.data, da.Array)
    expected = fill_gaps(points, method=method, step=step)
    xr.testing.assert_equal(filled.compute(), expected)
    assert expected.displacement.dims == ("point", "time")


def test_how_much_was_filled_is_reported(monkeypatch):
    monkeypatch.setattr(_gaps, "SERIES_PER_BLOCK", 2)  # several blocks
    values = [[1, np.nan, 3, 4], [np.nan] * 4, [1, 2, 3, 4]]
    height = ("point", [1.0, 2.0, 3.0])
    points = make_points(values, height=height)
    filled = fill_gaps(points)
    np.testing.assert_array_equal(filled.filled_fraction, [0.25, np.nan, 0])
    assert filled.attrs == {
        "crs": "EPSG:4326",
        "fill_method": "linear",
        "filled_fraction": 0.125,
        "n_missing_points": 1,
    }
    np.testing.assert_array_equal(filled.height, [1, 2, 3])
    assert np.isnan(points.displacement[0, 1])  # the input is as it was


@pytest.mark.parametrize(
    ("points", "options", "message"),
    [
        (make_points([[1, 2]]), {"method": "cubic"}, "one of 'linear', 'pchip', got 'cubic'"),
        (make_points([[1, 2]]), {"step": "0D"}, "step must be .* longer than 0, got '0D'"),
        (make_points([[1, 2]]), {"step": "-6D"}, "step must be .* longer than 0"),
        (make_points([[1, 2]], [6, 0]), {}, "must be strictly increasing"),
        (make_points([[1, 2]], [6, 6]), {}, "must be strictly increasing"),
        (xr.Dataset({"x": 1}), {}, r"must have displacement \(point, time\), got \['x'\]"),
        (make_points([[1, 2]]).rename(point="row"), {}, r"got \('row', 'time'\)"),
        (make_points([[1, 2]]).isel(time=[]), {}, "size of at least 1"),
        (make_points([[1, 2]]).drop_vars("time"), {}, "must have the coordinate time, got"),
        (make_points([[1, 2]]).assign_coords(time=pd.DatetimeIndex(["2020-01-01", "NaT"])), {},
         "got NaT"),
        (make_points([[1, np.inf]]), {}, "displacement must be finite"),
        (make_points([[1, 2]]).astype("f8") * 1e300, {}, "displacement must be finite"),
        (make_points([[1, 2]]), {"step": "1ns"}, "at most 100000 dates, got '1ns'"),
        (make_points([[1, 2]]), {"step": "bananas"}, "step must be a timedelta"),
        (make_points([[1, 2]]), {"step": np.timedelta64("NaT")}, "step must be a timedelta"),
    ],
)  # fmt: skip
def test_filling_refuses_what_it_cannot_do(points, options, message):
    with pytest.raises(ValueError, match=message):
        fill_gaps(points, **options)


@pytest.mark.parametrize(
    ("points", "options", "message"),
    [
        (make_points([[1, 2]]).displacement, {}, "points must be an xarray.Dataset, got DataArray"),
        (None, {}, "points must be an xarray.Dataset, got NoneType"),
        (make_points([[1, 2]]).astype(complex), {}, "of points must hold real numbers"),
        (make_points([[1, 2]]).astype(str), {}, "of points must hold real numbers"),
        (make_points([[1, 2]]).assign_coords(time=["20200103", "20200109"]), {}, "datetime64"),
        (make_points([[1, 2]]).assign_coords(time=[0, 6]), {}, "datetime64 .* got dtype int64"),
        (make_points([[1, 2]]).assign_coords(time=pd.date_range("2020", periods=2, tz="UTC")),
         {}, "without a time zone"),
        (make_points([[1, 2]]), {"step": 6}, "step must be a timedelta such as '6D', got 6"),
        (make_points([[1, 2]]), {"method": None}, "method must be one of"),
    ],
)  # fmt: skip
def test_filling_refuses_types(points, options, message):
    with pytest.raises(TypeError, match=message):
        fill_gaps(points, **options)


def test_a_declared_nodata_value_is_a_gap():
    points = make_points([[1, -9999, 3]])
    points["displacement"].attrs["_FillValue"] = -9999.0
    filled = fill_gaps(points)
    assert filled.displacement.values.tolist() == [[1, 2, 3]]
    assert "_FillValue" not in filled.displacement.attrs


def test_infinite_displacement_is_refused_on_compute_of_lazy_series():
    with pytest.raises(ValueError, match="displacement must be finite"):
        fill_gaps(make_points([[1, np.inf]]).chunk(point=1)).compute()


# -- shards and the catalog -----------------------------------------------------------------------


def test_points_come_back_from_shards_lazily(tmp_path):
    folder = write_site(tmp_path, "insar_nordnes", n_points=300, shard_size=128)
    points = open_points(folder, chunks=70)
    expected = simulate_site("insar_nordnes", n_points=300)
    assert points.displacement.chunks[0] == (70, 70, 70, 70, 20)
    xr.testing.assert_equal(points.compute(), expected)
    assert points.attrs["static_features"] == expected.attrs["static_features"]
    for name in expected.data_vars:
        assert points[name].attrs == expected[name].attrs
    # as dask sends it to a worker
    again = copy.copy(PointShards(folder))
    np.testing.assert_array_equal(again.read("point"), np.arange(300))


def test_shards_without_series_are_refused(tmp_path):
    with ShardWriter(tmp_path, {"dynamic": ["a"]}) as writer:
        writer.append([0], [0], [0], dynamic=[[1]])
    with pytest.raises(ValueError, match="no features displacement; it has dynamic"):
        open_points(tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1500-01-01", "2020-01-09"], "displacement must be a date from 1978-06-27"),
        (["2020-01-03", "9999-12-31"], "today, got 9999-12-31"),
        (["2020-01-09", "2020-01-03"], "must be strictly increasing dates"),
        (["2020-01-09", "2020-01-09T00:00"], "must be strictly increasing dates"),
        (["first", "second"], "dates such as 2020-01-03, got 'first'"),
        (["2020-01-03T00:00Z", "2020-01-09T00:00Z"], "without a time zone"),
    ],
)
def test_shards_whose_dates_cannot_be_are_refused(tmp_path, names, message):
    with ShardWriter(tmp_path, {"displacement": names, "static": ["height"]}) as writer:
        writer.append([0], [0], [0], displacement=[[1, 2]], static=[[3]])
    with pytest.raises(ValueError, match=message):
        open_points(tmp_path)


def test_static_features_replace_no_series(tmp_path):
    features = {"displacement": ["2020-01-03"], "static": ["displacement"]}
    with ShardWriter(tmp_path, features) as writer:
        writer.append([0], [0], [0], displacement=[[1]], static=[[3]])
    with pytest.raises(ValueError, match="static features named displacement"):
        open_points(tmp_path)


def read(reader, **options):
    return getattr(insar, reader)(**options).read()


def test_the_reader_of_simulated_points_says_how_to_make_them(tmp_path):
    options = {"name": "insar_nordnes", "folder": tmp_path.as_uri(), "made_by": "make it"}
    with pytest.raises(DataUnavailableError, match="no points in .*insar_nordnes; run `make it`"):
        read("PointsReader", **options)
    write_site(tmp_path / "simulated", "insar_nordnes", n_points=50)
    assert read("PointsReader", **options).sizes["point"] == 50


def test_the_reader_of_real_points_goes_by_the_registry(tmp_path, archive, monkeypatch):
    monkeypatch.setattr(insar, "fetch", lambda dataset, file, folder: folder / dataset / file)
    (tmp_path / "ustica").mkdir()
    archive.rename(tmp_path / "ustica" / "a.zip")
    options = {"dataset": "ustica", "file": "a.zip", "folder": tmp_path.as_uri()}
    assert read("EGMSReader", **options).sizes["point"] == 2


@pytest.mark.parametrize("variables", [5, {"height": 3}, [{}]])
def test_points_whose_variables_are_described_in_another_way(tmp_path, variables):
    features = {"displacement": ["2020-01-01"], "static": ["height"]}
    with ShardWriter(tmp_path, features, attrs={"variables": variables}) as writer:
        writer.append([0], [20], [69], displacement=[[0]], static=[[1]])
    with pytest.raises(ValueError, match="variables in its attrs must map"):
        open_points(tmp_path)


@pytest.mark.parametrize("step", [None, "3650D"])
def test_dates_that_no_span_of_time_joins(step):
    time = np.array(["1680-01-01", "2261-01-01"], "datetime64[ns]")
    points = xr.Dataset({"displacement": (("point", "time"), [[0.0, 1.0]])}, {"time": time})
    with pytest.raises(ValueError, match="must lie within 290 years, got 1680-01-01"):
        fill_gaps(points, step=step)
