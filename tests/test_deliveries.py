"""Deliveries of points: tables of EGMS in tiles, time series of MintPy, into memory and shards."""

from __future__ import annotations

import csv
import os
import sys
import warnings
import zipfile

import h5py
import numpy as np
import pandas as pd
import pyproj
import pytest
import xarray as xr

from cookbook_utils._deliveries import egms, mintpy
from cookbook_utils._deliveries.egms import EgmsTable
from cookbook_utils.insar import fill_gaps, open_points
from cookbook_utils.reservoir import embed_shards
from cookbook_utils.shards import PointShards, ShardWriter

from .factories import without_fsync  # noqa: F401

DATES = ["20200103", "20200109", "20200115"]
LEVEL_2 = [
    "pid", "mp_type", "latitude", "longitude", "easting", "northing", "height", "height_wgs84",
    "line", "pixel", "rmse", "temporal_coherence", "amplitude_dispersion", "incidence_angle",
    "track_angle", "los_east", "los_north", "los_up", "mean_velocity", "mean_velocity_std",
    "acceleration", "acceleration_std", "seasonality", "seasonality_std",
]  # fmt: skip
LEVEL_3 = [
    "pid", "easting", "northing", "height", "rmse", "mean_velocity", "mean_velocity_std",
    "acceleration", "acceleration_std", "seasonality", "seasonality_std",
]  # fmt: skip
to_meters = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:3035", always_xy=True)


def rows_of(first, n, dates=DATES):
    """Points of Level 2 as rows, which depend on their number only."""
    rows = []
    for k in range(first, first + n):
        longitude, latitude = round(13 + k / 1000, 6), round(38.5 + k / 1000, 6)
        easting, northing = (f"{x:.2f}" for x in to_meters.transform(longitude, latitude))
        rows.append(
            [f"a{k:04}", 0, latitude, longitude, easting, northing, k, k + 40, k, k, 1.5, 0.9, 0.2,
             37.3, 191.4, 0.594, -0.12, 0.795, -k / 10, 0.1, 0.2, 0.1, 1.0, 0.1,
             *(round(k / 10 + int(date[4:]) / 100, 1) for date in dates)]
        )  # fmt: skip
    return rows


def write_table(path, rows, names=LEVEL_2, dates=DATES, **style):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, **style).writerows([[*names, *dates], *rows])
    return path


def packed(path, member, *, name=None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(member, name or member.name)
        file.writestr(member.with_suffix(".xml").name, "<BURST/>")
    return path


def both(source, folder, **options):
    """Points in memory, after asserting that those from shards have the same values."""
    points = open_points(source, **options)
    lazy = open_points(source, folder=folder, **options)
    assert lazy.displacement.chunks is not None
    assert lazy.attrs == points.attrs
    loaded = lazy.compute()
    assert set(points.variables) - set(loaded.variables) <= {"easting", "northing"}
    for name in loaded.variables:
        np.testing.assert_array_equal(loaded[name], points[name])
        assert loaded[name].attrs == points[name].attrs
        assert loaded[name].dtype.kind == points[name].dtype.kind
    return points


# -- EGMS -----------------------------------------------------------------------------------------


def test_the_real_island_of_ustica_in_shards_equals_that_in_memory(real_data, tmp_path):
    path = real_data / "ustica" / "EGMS_L2b_022_0845_IW2_VV_2020_2024_1.zip"
    if not path.is_file():
        pytest.skip(f"COOKBOOK_DATA has no {path.name}")
    points = both(path, tmp_path / "shards")
    with zipfile.ZipFile(path) as file, file.open(path.stem + ".csv") as stream:
        frame = pd.read_csv(stream)
    dates = points.time.dt.strftime("%Y%m%d").values
    np.testing.assert_array_equal(points.displacement, frame[dates].to_numpy(np.float32))
    np.testing.assert_array_equal(points.seasonality, frame.seasonality.astype("f4"))


def test_tiles_follow_each_other(tmp_path):
    one = write_table(tmp_path / "one.csv", rows_of(0, 5))
    two = write_table(tmp_path / "two.csv", rows_of(5, 4))
    archive = packed(tmp_path / "Zwei Kacheln ü.ZIP", two, name="two.CSV")
    two.unlink()
    points = both([one, archive], tmp_path / "shards")
    assert points.pid.values.tolist() == [f"a{k:04}" for k in range(9)]
    assert points.attrs["static_features"] == (
        "height mean_velocity temporal_coherence amplitude_dispersion"
    )
    assert points.height_wgs84.attrs["units"] == "m"
    whole = write_table(tmp_path / "whole.csv", rows_of(0, 9))
    expected = open_points(whole).assign_attrs(title=points.attrs["title"])
    xr.testing.assert_identical(points, expected)


def test_a_folder_of_tiles_is_read_in_the_order_of_their_names(tmp_path):
    folder = tmp_path / "tiles"
    folder.mkdir()
    write_table(folder / "b.csv", rows_of(0, 2))
    packed(folder / "a.zip", write_table(tmp_path / "a.csv", rows_of(2, 2)))
    (folder / "README.txt").write_text("two tiles")
    points = both(folder, tmp_path / "shards")
    assert points.pid.values.tolist() == ["a0002", "a0003", "a0000", "a0001"]


@pytest.mark.parametrize(("letter", "direction"), [("E", "toward the east"), ("U", "upward")])
def test_level_3_has_a_component_and_coordinates_of_its_grid(tmp_path, letter, direction):
    rows = [[f"10L{k}", 4597550 + 100 * k, 1739750, -47.8, 3.5, -1.5, 0.1, -0.36, 0.22, 0.9, 0.2,
             5.3, "", 4.2] for k in range(3)]  # fmt: skip
    path = tmp_path / f"EGMS_L3_E45N17_100km_{letter}_2020_2024_1.csv"
    points = both(write_table(path, rows, LEVEL_3), tmp_path / "shards")
    assert points.displacement.attrs["long_name"] == f"displacement {direction}"
    assert points.mean_velocity.attrs["long_name"] == f"mean velocity {direction}"
    assert points.attrs["static_features"] == "height mean_velocity"
    x, y = to_meters.transform(points.longitude.values, points.latitude.values)
    np.testing.assert_allclose(x, [4597550, 4597650, 4597750], atol=1e-3)
    np.testing.assert_allclose(y, 1739750, atol=1e-3)
    assert np.isnan(points.displacement[:, 1]).all()


def test_names_of_columns_may_be_in_upper_case(tmp_path):
    expected = open_points(write_table(tmp_path / "points.csv", rows_of(0, 3)))
    path = tmp_path / "points.csv"
    write_table(path, rows_of(0, 3), [name.upper() for name in LEVEL_2], quoting=csv.QUOTE_ALL)
    xr.testing.assert_identical(open_points(path), expected)


def test_the_same_points_in_two_tiles_are_taken_once(tmp_path):
    one = write_table(tmp_path / "one.csv", rows_of(0, 6))
    two = write_table(tmp_path / "two.csv", rows_of(4, 6))
    with pytest.warns(UserWarning, match="2 points are in several files, among them .*one.csv"):
        points = both([one, two], tmp_path / "shards")
    assert points.pid.values.tolist() == [f"a{k:04}" for k in range(10)]


def test_other_points_of_the_same_pid_are_refused(tmp_path):
    one = write_table(tmp_path / "one.csv", rows_of(0, 6))
    rows = rows_of(4, 6)
    rows[1][-1] += 0.1
    two = write_table(tmp_path / "two.csv", rows)
    for options in ({}, {"folder": tmp_path / "shards"}):
        with pytest.raises(ValueError, match="same values .* of the same pid, .* for 'a0005'"):
            open_points([one, two], **options)
    assert not (tmp_path / "shards").exists()


@pytest.mark.parametrize(("dates", "expected"), [("common", 2), ("all", 4)])
def test_tiles_of_other_dates(tmp_path, dates, expected):
    one = write_table(tmp_path / "one.csv", rows_of(0, 3))
    other = ["20200109", "20200103", "20200121"]
    two = write_table(tmp_path / "two.csv", rows_of(3, 3, other), dates=other)
    message = "one.csv must have the dates .* none for 2020-01-21 .* the 2 dates that all have"
    with pytest.raises(ValueError, match=message):
        open_points([one, two])
    points = both([one, two], tmp_path / dates, dates=dates)
    assert points.sizes["time"] == expected
    assert points.displacement.sel(time="2020-01-09").values[4] == np.float32(0.4 + 1.09).round(1)
    if dates == "all":
        assert np.isnan(points.displacement.values).sum() == 6
        assert not np.isnan(fill_gaps(points).displacement).any()


def test_tiles_without_a_common_date_are_refused(tmp_path):
    one = write_table(tmp_path / "one.csv", rows_of(0, 3))
    other = ["20210109"]
    two = write_table(tmp_path / "two.csv", rows_of(3, 3, other), dates=other)
    with pytest.raises(ValueError, match="at least one common date, got none"):
        open_points([one, two], dates="common")
    with pytest.warns(UserWarning, match="have no date in common") as caught:
        open_points([one, two], dates="all")
    assert caught[0].filename == __file__


def named(tmp_path, *names, rows=rows_of, columns=LEVEL_2):
    paths = [tmp_path / name for name in names]
    return [write_table(path, rows(9 * k, 4), columns) for k, path in enumerate(paths)]


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    names = "EGMS_L2b_022_0845_IW2_VV_2020_2024_1.csv", "EGMS_L2b_117_0227_IW2_VV_2020_2024_1.csv"
    with pytest.raises(ValueError, match="of Level 2b, track 022, .* of Level 2b, track 117"):
        open_points(named(tmp_path, *names))
    names = "EGMS_L2b_022_0845_IW2_VV_2020_2024_1.csv", "EGMS_L2A_022_0846_IW2_VV_2020_2024_1.csv"
    with pytest.raises(ValueError, match="of Level 2a, track 022: displacements of different"):
        open_points(named(tmp_path, *names))
    names = "EGMS_L3_E45N17_100km_E_2020_2024_1.csv", "EGMS_L3_E45N17_100km_U_2020_2024_1.csv"
    with pytest.raises(ValueError, match="toward the east, .* displacements upward: open each"):
        open_points(named(tmp_path, *names))
    one, two = named(tmp_path, "one.csv", "two.csv")
    write_table(two, [row[:10] + row[11:] for row in rows_of(9, 3)], [*LEVEL_2[:10], *LEVEL_2[11:]])
    with pytest.raises(ValueError, match="the same columns as .*, got rmse in only one"):
        open_points([one, two])
    descending = rows_of(9, 3)
    for row in descending:
        row[15] = -0.62
    write_table(two, descending)
    with pytest.raises(ValueError, match="seen from opposite sides, .*0.59 and -0.62"):
        open_points([one, two])


def test_static_features_are_chosen_by_name(tmp_path):
    path = write_table(tmp_path / "points.csv", rows_of(0, 3))
    folder = tmp_path / "shards"
    both(path, folder, static_features=["seasonality", "acceleration"])
    assert PointShards(folder).features["static"] == ["seasonality", "acceleration"]
    assert "height" in PointShards(folder).features["other"]
    for wrong, error in [
        ("height", TypeError),
        ([3], TypeError),
        (["speed"], ValueError),
        (["height", "height"], ValueError),
        (["easting"], ValueError),
    ]:
        with pytest.raises(error, match="static_features must be distinct columns among mp_type"):
            open_points(path, static_features=wrong)
    with pytest.raises(ValueError, match="other features: static, it must be"):
        open_points(path, folder=folder)


def test_points_without_any_feature(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text("pid,latitude,longitude,20200103\na,38.7,13.2,1\n")
    points = both(path, tmp_path / "shards")
    assert list(points) == ["displacement"] and points.attrs["static_features"] == ""


def test_shards_of_a_delivery_are_embedded(tmp_path):
    path = write_table(tmp_path / "points.csv", rows_of(0, 80))
    open_points(path, folder=tmp_path / "shards", shard_size=30)
    target = embed_shards(tmp_path / "shards", tmp_path / "embedded", n_features=2)
    features = PointShards(target).features
    assert list(features) == ["dynamic", "static"] and len(features["static"]) == 4


# -- streaming ------------------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path):
    """A zip of 100 000 points."""
    path = tmp_path / "many.csv"
    head = ",".join(["pid", "latitude", "longitude", "height", *DATES])
    rows = (
        f"p{k},{38 + k / 1e5:.6f},13.2,{k % 100},{k % 7},,{k % 11 / 10}" for k in range(100_000)
    )
    path.write_text("\n".join([head, *rows, ""]))
    return packed(tmp_path / "many.zip", path)


def test_many_points_are_read_and_written_in_blocks(many, tmp_path, monkeypatch):
    monkeypatch.setattr(egms, "BYTES_PER_BATCH", 1 << 18)
    sizes = [block.size for block in EgmsTable(many).blocks()]
    assert sum(sizes) == 100_000 and max(sizes) < 10_000
    written = []
    append = ShardWriter.append

    def counted(self, points, *place, **features):
        written.append(len(points))
        assert self._n_pending < 8192
        append(self, points, *place, **features)

    monkeypatch.setattr(ShardWriter, "append", counted)
    lazy = open_points(many, folder=tmp_path / "shards", shard_size=8192, chunks=10_000)
    assert sum(written) == 100_000 and max(written) < 10_000
    assert len(list((tmp_path / "shards").glob("shard-*"))) == 13
    expected = open_points(many)
    np.testing.assert_array_equal(lazy.displacement, expected.displacement)
    np.testing.assert_array_equal(lazy.pid, expected.pid)


def test_an_interrupted_call_is_resumed(many, tmp_path, monkeypatch):
    monkeypatch.setattr(egms, "BYTES_PER_BATCH", 1 << 18)
    options = {"folder": tmp_path / "shards", "shard_size": 8192}

    def stop_at(n):
        def bar(blocks, *, desc, total):
            for k, block in enumerate(blocks):
                if desc == "writing points" and k == n:
                    raise KeyboardInterrupt
                yield block

        return bar

    for n in (3, 7):
        with pytest.raises(KeyboardInterrupt):
            open_points(many, progress=stop_at(n), **options)
    first = (tmp_path / "shards" / "shard-00000.parquet").stat().st_mtime_ns
    with pytest.raises(ValueError, match="is not complete"):
        open_points(tmp_path / "shards")
    resumed = open_points(many, **options)
    assert (tmp_path / "shards" / "shard-00000.parquet").stat().st_mtime_ns == first
    np.testing.assert_array_equal(resumed.displacement, open_points(many).displacement)
    np.testing.assert_array_equal(resumed.pid, [f"p{k}" for k in range(100_000)])


def test_nothing_is_written_of_a_table_whose_last_line_is_wrong(many, tmp_path):
    with zipfile.ZipFile(many) as file:
        text = file.read("many.csv").decode()
    path = tmp_path / "wrong.csv"
    path.write_text(text + "p5,38.7,13.2,1,2,3,4\n")
    folder = tmp_path / "shards"
    with pytest.raises(ValueError, match="must hold each value once, got 'p5' more than once"):
        open_points(path, folder=folder)
    path.write_text(text + "p100001,38.7,13.2,1,2,x,4\n")
    with pytest.raises(ValueError, match="line 100002 has 'x' in the column 20200109"):
        open_points(path, folder=folder)
    assert not folder.exists()


def test_a_complete_folder_is_left_as_it_is(tmp_path):
    path = write_table(tmp_path / "points.csv", rows_of(0, 3))
    folder = tmp_path / "shards"
    open_points(path, folder=folder)
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    open_points(path, folder=folder)
    assert before == {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    write_table(path, rows_of(0, 4))
    with pytest.raises(ValueError, match="already holds shards with other attrs: sources, it must"):
        open_points(path, folder=folder)
    with pytest.raises(ValueError, match="folder must be None for a folder of shards"):
        open_points(folder, folder=tmp_path / "new")


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        ([], FileNotFoundError, "must be a folder of shards, or of points as .csv, .zip or"),
        (["timeseries.h5", "timeseries_ERA5.h5"], ValueError, "several deliveries, timeseries.h5"),
        (["timeseries.h5", "points.csv"], ValueError, "several deliveries, points.csv, timeseries"),
    ],
)
def test_a_folder_that_is_none_of_points(tmp_path, names, error, message):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(error, match=message):
        open_points(tmp_path)


def test_files_of_file_managers_are_no_deliveries(tmp_path):
    folder = tmp_path / "tiles"
    folder.mkdir()
    path = write_table(folder / "points.csv", rows_of(0, 3))
    expected = open_points(path)
    (folder / "._points.csv").write_bytes(b"\0\5\26\7")
    xr.testing.assert_identical(open_points(folder), expected)
    with zipfile.ZipFile(tmp_path / "points.zip", "w") as file:
        file.write(path, "tiles/points.csv")
        file.writestr("__MACOSX/tiles/._points.csv", b"\0\5\26\7")
    xr.testing.assert_identical(open_points(tmp_path / "points.zip"), expected)


def test_a_folder_that_cannot_hold_the_shards(tmp_path):
    path = write_table(tmp_path / "points.csv", rows_of(0, 3))
    with pytest.raises(ValueError, match="folder must be another one than that of the source"):
        open_points(path, folder=tmp_path)
    with pytest.raises(OSError, match="cannot write 'manifest.json' in"):
        open_points(path, folder=path / "shards")


def test_an_identifier_that_is_too_long_for_shards(tmp_path):
    path = write_table(tmp_path / "points.csv", [*rows_of(0, 3), ["ä" * 17, *rows_of(3, 1)[0][1:]]])
    assert open_points(path).pid.values[3] == "ä" * 17
    with pytest.raises(ValueError, match="points.csv: a pid must have at most 32 bytes in shards"):
        open_points(path, folder=tmp_path / "shards")
    assert not (tmp_path / "shards").exists()


def test_layers_are_none_of_egms(tmp_path):
    path = write_table(tmp_path / "points.csv", rows_of(0, 3))
    with pytest.raises(ValueError, match="layers must be None for points of EGMS"):
        open_points(path, layers=path)


# -- identifiers in shards ------------------------------------------------------------------------


def test_identifiers_come_back(tmp_path):
    with ShardWriter(tmp_path, {"a": ["x"]}, shard_size=2, with_pids=True) as writer:
        writer.append([0, 1, 2], [1, 2, 3], [1, 2, 3], pid=["ä", "b" * 32, ""], a=[[1], [2], [3]])
    shards = PointShards(tmp_path)
    assert shards.has_pids
    assert shards.read("pid").tolist() == ["ä", "b" * 32, ""]
    assert shards.read("pid", slice(1, 2)).tolist() == ["b" * 32]
    shards.verify()
    with pytest.raises(ValueError, match="other pids: it must be None, got True"):
        ShardWriter(tmp_path, {"a": ["x"]}, shard_size=2)


def test_identifiers_that_cannot_be(tmp_path):
    writer = ShardWriter(tmp_path / "with", {"a": ["x"]}, with_pids=True)
    for pid, error, message in [
        (None, ValueError, "pid must be given, got None"),
        ([5], TypeError, "pid must be text, got dtype int64"),
        ([b"a"], TypeError, "pid must be text"),
        (["ä" * 17], ValueError, "at most 32 bytes each, got one of 34"),
        (["a", "b"], ValueError, r"pid must have the shape \(1,\), got \(2,\)"),
    ]:
        with pytest.raises(error, match=message):
            writer.append([0], [1], [1], pid=pid, a=[[1]])
    with pytest.raises(ValueError, match="pid must be None, for a folder without"):
        ShardWriter(tmp_path / "none", {"a": ["x"]}).append([0], [1], [1], pid=["a"], a=[[1]])
    with pytest.raises(ValueError, match="other than point, longitude, latitude, pid"):
        ShardWriter(tmp_path / "kind", {"pid": ["x"]})


# -- MintPy ---------------------------------------------------------------------------------------

SHAPE = 5, 4  # rows, columns
TEXT = {"FILE_TYPE": "timeseries", "UNIT": "m", "REF_Y": "1", "REF_X": "2", "REF_DATE": DATES[0],
        "LENGTH": "5", "WIDTH": "4", "WAVELENGTH": "0.05546576"}  # fmt: skip
IN_DEGREES = {"Y_FIRST": "38.8", "X_FIRST": "13.1", "Y_STEP": "-0.01", "X_STEP": "0.02",
              "X_UNIT": "degrees", "Y_UNIT": "degrees"}  # fmt: skip
METERS = np.random.default_rng(0).normal(0, 0.02, (3, *SHAPE)).astype("f4")
METERS[:, 1, 2] = 0  # the reference pixel
METERS[:, 4] = 0  # outside of the swath
METERS[:, 0, 0] = np.nan
METERS[1, 3, 3] = np.nan  # one date of a pixel


def write_h5(path, attrs=None, **datasets):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file.create_dataset(name, data=values, chunks=True if np.ndim(values) == 3 else None)
        for key, value in (attrs or {}).items():
            file.attrs[key] = value
    return path


def write_series(path, attrs=None, meters=METERS, dates=DATES, **datasets):
    dates = np.array(dates, np.bytes_)
    bperp = np.zeros(len(dates), "f4")
    attrs = TEXT | (attrs or {})
    return write_h5(path, attrs, timeseries=meters, date=dates, bperp=bperp, **datasets)


def geometry(**changes):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype("f4")
    layers = {
        "latitude": 38.7 + 0.01 * y, "longitude": 13.1 + 0.01 * x, "height": 100 * y + x,
        "incidenceAngle": np.full(SHAPE, 37, "f4"), "azimuthAngle": np.full(SHAPE, 102, "f4"),
        "slantRangeDistance": np.full(SHAPE, 8e5, "f4"),
    }  # fmt: skip
    return layers | changes


@pytest.fixture
def radar(tmp_path):
    """A time series in radar coordinates with the layers that MintPy writes beside it."""
    folder = tmp_path / "mintpy"
    write_h5(folder / "inputs" / "geometryRadar.h5", **geometry())
    coherence = np.linspace(0, 1, 20).reshape(SHAPE).astype("f4")
    write_h5(folder / "temporalCoherence.h5", temporalCoherence=coherence)
    write_h5(folder / "velocity.h5", velocity=np.full(SHAPE, -0.0125, "f4"))
    return write_series(folder / "timeseries.h5")


def test_a_time_series_in_radar_coordinates(radar, tmp_path):
    points = both(radar, tmp_path / "shards")
    keep = np.ones(SHAPE, bool)
    keep[4] = keep[0, 0] = False
    expected = (METERS[:, keep].T.astype(float) * 1000).astype("f4")
    np.testing.assert_array_equal(points.displacement, expected)
    assert points.displacement.attrs == {
        "units": "mm", "long_name": "displacement toward the satellite"
    }  # fmt: skip
    assert "y1x2" in points.pid and "y4x0" not in points.pid and "y0x0" not in points.pid
    np.testing.assert_array_equal(points.longitude, geometry()["longitude"][keep].astype(float))
    np.testing.assert_array_equal(points.height, geometry()["height"][keep])
    assert (points.mean_velocity == -12.5).all()
    assert points.attrs["static_features"] == "height mean_velocity temporal_coherence"
    # a satellite that looks to the right from the west on its way north
    look = [float(points[name][0]) for name in ("los_east", "los_north", "los_up")]
    inc, az = np.deg2rad(37), np.deg2rad(102)
    look_expected = [-np.sin(inc) * np.sin(az), np.sin(inc) * np.cos(az), np.cos(inc)]
    np.testing.assert_allclose(look, look_expected, rtol=1e-6)
    xr.testing.assert_identical(open_points(radar.parent), points)


def test_a_mask_says_which_pixels_are_points(radar, tmp_path):
    mask = np.zeros(SHAPE, bool)
    mask[1, 2] = mask[2] = mask[4, 1] = True
    write_h5(radar.parent / "maskTempCoh.h5", mask=mask)
    points = both(radar, tmp_path / "shards")
    assert points.pid.values.tolist() == ["y1x2", "y2x0", "y2x1", "y2x2", "y2x3", "y4x1"]


def test_a_mask_on_another_grid_is_left_out_with_a_warning(radar):
    expected = open_points(radar)
    write_h5(radar.parent / "maskTempCoh.h5", mask=np.zeros((9, 9), bool))
    with pytest.warns(UserWarning, match=r"maskTempCoh.h5 is not on the grid .* mask \(9, 9\)"):
        points = open_points(radar)
    xr.testing.assert_identical(points, expected)


def test_points_do_not_depend_on_the_rows_of_a_block(radar, monkeypatch):
    expected = open_points(radar)
    monkeypatch.setattr(mintpy, "BYTES_PER_BLOCK", 1)
    assert [block.size for block in mintpy.MintPySeries(radar).blocks()] == [3, 4, 4, 4]
    xr.testing.assert_identical(open_points(radar), expected)


def test_geocoded_pixels_lie_at_their_centers(tmp_path):
    path = write_series(tmp_path / "geo" / "geo_timeseries_ERA5_demErr.h5", IN_DEGREES)
    write_h5(tmp_path / "geo" / "geo_geometryRadar.h5", IN_DEGREES, height=np.ones(SHAPE, "f4"))
    write_h5(tmp_path / "inputs" / "geometryRadar.h5", **geometry())
    points = both(path, tmp_path / "shards")
    assert points.attrs["static_features"] == "height"
    place = dict(zip(points.pid.values, zip(points.longitude, points.latitude)))  # noqa: B905
    np.testing.assert_allclose(place["y2x3"], (13.1 + 3.5 * 0.02, 38.8 - 2.5 * 0.01))


@pytest.mark.parametrize("crs", [{"UTM_ZONE": "33N"}, {"EPSG": "32633"}])
def test_geocoded_pixels_in_meters(tmp_path, crs):
    grid = {"Y_FIRST": "4284000", "X_FIRST": "340000", "Y_STEP": "-40", "X_STEP": "40",
            "X_UNIT": "meters", "Y_UNIT": "meters"}  # fmt: skip
    points = open_points(write_series(tmp_path / "timeseries.h5", grid | crs))
    to_utm = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32633", always_xy=True)
    x, y = to_utm.transform(points.longitude.values[0], points.latitude.values[0])
    assert points.pid.values[0] == "y0x1"
    np.testing.assert_allclose([x, y], [340060, 4283980], atol=1e-3)
    with pytest.raises(ValueError, match="is projected and must have the attribute EPSG"):
        open_points(write_series(tmp_path / "timeseries.h5", grid))


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("cm", 10), ("m", 1000), (b"m", 1000)])
def test_units(tmp_path, unit, factor):
    path = write_series(tmp_path / "timeseries.h5", IN_DEGREES | {"UNIT": unit})
    value = open_points(path).displacement.values[0, 0]
    assert value == np.float32(float(METERS[0, 0, 1]) * factor)


def test_dates_out_of_order_and_with_times_of_day(tmp_path):
    dates = ["20200115T0512", "20200103T0512", "20200109T0512"]
    points = open_points(write_series(tmp_path / "timeseries.h5", IN_DEGREES, dates=dates))
    assert points.time.values[0] == np.datetime64("2020-01-03T05:12")
    order = [1, 2, 0]
    expected = (METERS[order, 0, 1].astype(float) * 1000).astype("f4")
    np.testing.assert_array_equal(points.displacement[0], expected)


def test_a_declared_nodata_value_of_a_time_series(tmp_path):
    meters = np.where(np.isnan(METERS), np.float32(-9999), METERS)
    attrs = IN_DEGREES | {"NO_DATA_VALUE": "-9999"}
    points = open_points(write_series(tmp_path / "timeseries.h5", attrs, meters))
    expected = open_points(write_series(tmp_path / "timeseries.h5", IN_DEGREES))
    xr.testing.assert_identical(points, expected)
    with pytest.raises(
        ValueError, match="must hold displacements from -5000 to 5000 mm, got -9999"
    ):
        open_points(write_series(tmp_path / "timeseries.h5", IN_DEGREES, meters))


@pytest.mark.parametrize(
    ("attrs", "options", "message"),
    [
        ({}, {}, "is in radar coordinates and has no latitude and longitude"),
        (IN_DEGREES, {"dates": ["20200103", "20200109", "first"]}, "such as 20200103, got 'first'"),
        (IN_DEGREES, {"dates": ["20200103", "20200109", "20200109"]}, "each date once"),
        (IN_DEGREES, {"dates": ["20200103", "20200109"]}, "floats for each date, .* and 2 dates"),
        (IN_DEGREES, {"dates": ["19000103", "20200109", "20200115"]}, "must be a date from 1978"),
        (IN_DEGREES | {"UNIT": "radian"}, {}, "displacement in m, cm or mm, got 'radian'"),
        (IN_DEGREES | {"X_STEP": "wide"}, {}, "X_STEP must be a number, got 'wide'"),
        (IN_DEGREES | {"X_STEP": ""}, {}, "must have the attributes .* got no X_STEP"),
        (IN_DEGREES, {"meters": np.zeros((3, *SHAPE), "i2")}, "must hold a series in floats"),
        (IN_DEGREES, {"meters": METERS[0]}, r"must hold timeseries \(date, y, x\) and date"),
        (IN_DEGREES, {"meters": METERS * np.nan}, "must hold pixels .* got none"),
    ],
)
def test_a_time_series_that_is_wrong(tmp_path, attrs, options, message):
    path = write_series(tmp_path / "timeseries.h5", attrs, **options)
    with pytest.raises(ValueError, match=f"timeseries.h5.*{message}"):
        open_points(path)


def test_hdf5_that_is_none_of_mintpy_or_damaged(tmp_path):
    path = write_h5(tmp_path / "velocity.h5", velocity=np.zeros(SHAPE))
    with pytest.raises(ValueError, match="must hold timeseries .* got velocity"):
        open_points(path)
    whole = write_series(tmp_path / "timeseries.h5", IN_DEGREES)
    os.truncate(whole, whole.stat().st_size // 2)
    with pytest.raises(ValueError, match="timeseries.h5 is damaged, or no HDF5 file"):
        open_points(whole)
    with pytest.raises(FileNotFoundError, match="there is no file .*none.h5"):
        open_points(tmp_path / "none.h5")
    one = write_series(tmp_path / "one.h5", IN_DEGREES)
    with pytest.raises(ValueError, match="source must be one time series of MintPy, got 2 files"):
        open_points([one, write_table(tmp_path / "points.csv", rows_of(0, 2))])


@pytest.mark.parametrize("grid", [{}, IN_DEGREES])
def test_a_time_series_in_hdf_eos5(radar, tmp_path, grid):
    """As MintPy writes them for the archives of time series."""
    coherence = np.linspace(0, 1, 20).reshape(SHAPE).astype("f4")
    mask = np.ones(SHAPE, bool)
    mask[0, 0] = mask[4] = False
    path = tmp_path / "S1_IW12_128_0593_0597_20200103_20200115.he5"
    base = "HDFEOS/GRIDS/timeseries"
    observed = {"displacement": METERS, "date": np.array(DATES, np.bytes_), "bperp": np.zeros(3)}
    write_h5(
        path,
        TEXT | {"FILE_TYPE": "HDFEOS"} | grid,
        **{f"{base}/observation/{name}": values for name, values in observed.items()},
        **{f"{base}/geometry/{name}": values for name, values in geometry().items()},
        **{f"{base}/quality/temporalCoherence": coherence, f"{base}/quality/mask": mask},
    )
    points = both(path, tmp_path / "shards")
    assert points.attrs["static_features"] == "height temporal_coherence"
    assert points.sizes["point"] == 15
    expected = open_points(radar)
    np.testing.assert_array_equal(points.displacement, expected.displacement)
    np.testing.assert_array_equal(points.temporal_coherence, expected.temporal_coherence)
    if not grid:
        np.testing.assert_array_equal(points.longitude, expected.longitude)
    else:
        assert points.longitude.values[0] == 13.1 + 1.5 * 0.02


def test_h5py_is_asked_for_where_it_is_needed(radar, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"pip install 'satellite-clustering-cookbook\[insar\]'"):
        open_points(radar)


def test_layers_named_by_the_user(radar, tmp_path):
    elsewhere = write_h5(tmp_path / "elsewhere.h5", **geometry(height=np.full(SHAPE, 7, "f4")))
    points = open_points(radar, layers=elsewhere)
    assert (points.height == 7).all() and "temporal_coherence" not in points
    small = write_h5(tmp_path / "small.h5", height=np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"must hold layers on the grid .* got height \(2, 2\)"):
        open_points(radar, layers=[elsewhere, small])
    other = write_h5(tmp_path / "geo.h5", IN_DEGREES, **geometry())
    with pytest.raises(ValueError, match="must hold layers on the grid"):
        open_points(radar, layers=other)


def test_pixels_without_coordinates_are_left_out(radar):
    layers = geometry()
    layers["latitude"][2, 1], layers["longitude"][2, 1] = np.nan, np.nan
    layers["latitude"][2, 2] = layers["longitude"][2, 2] = 0
    write_h5(radar.parent / "inputs" / "geometryRadar.h5", **layers)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pids = open_points(radar).pid.values.tolist()
    assert "y2x0" in pids and "y2x1" not in pids and "y2x2" not in pids
