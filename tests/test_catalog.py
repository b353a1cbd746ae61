"""Damaged, hostile and malformed catalogs and registries end in one error that names the file."""

from __future__ import annotations

import copy
import os
import shutil

import pytest
import yaml

from cookbook_utils.datasets import DATA_FOLDER, DataUnavailableError, fetch, open_catalog

ENTRY = {
    "reader": "cookbook_utils.datasets:SceneReader",
    "kwargs": {
        "name": "lake",
        "folder": "{CATALOG_DIR}",
        "files": "lake/B{{number}}.tif",
        "scenes": [
            {
                "date": "2000-01-01",
                "sensor": "Landsat",
                "bands": [{"name": "red", "number": 1, "wavelength": 0.66}],
            }
        ],
        "nodata": 0,
        "attrs": {},
        "chunks": {"y": 2048, "x": 2048},
        "made_by": "make it",
    },
}
CATALOG = {"version": 2, "aliases": {"lake": "lake"}, "entries": {"lake": ENTRY}}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "catalog.yml"


def write(path, catalog=CATALOG, **kwargs):
    """Write the catalog with changed arguments of its only entry, and return the path."""
    catalog = copy.deepcopy(catalog)
    catalog["entries"]["lake"]["kwargs"] |= kwargs
    path.write_text(yaml.safe_dump(catalog))
    return path


def refused(path, message):
    with pytest.raises(ValueError, match=message) as raised:
        open_catalog(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


# -- the catalog ------------------------------------------------------------------------------


def test_minimal_catalog(path):
    assert list(open_catalog(write(path)).aliases) == ["lake"]


def laughs(merge):
    lines = ["a0: &a0 {k: v}"]
    for k in range(12):
        many = ", ".join([f"*a{k}"] * 10)
        lines.append(f"a{k + 1}: &a{k + 1} " + (f"{{<<: [{many}]}}" if merge else f"[{many}]"))
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the catalog must be a mapping"),
        ("hello", "the catalog must be a mapping"),
        ("[1, 2]", "the catalog must be a mapping"),
        ("{1.5: x}", "the catalog must be a mapping"),
        ("a: [", "a malformed one"),
        ("a: b: c", "a malformed one"),
        ("a\0b", "a malformed one"),
        ("---\na: 1\n---\na: 1", "a malformed one"),
        ("version: 2\nversion: 2", "the key 'version' occurs twice"),
        ("? [a, b]\n: 1", "a key is not a word or a number"),
        ("version: 2\ndate: 2000-99-99", "a malformed one"),
        ("!!python/object/apply:os.system ['true']", "could not determine a constructor"),
        (laughs(merge=False), "more than 100000 values"),
        (laughs(merge=True), "more than 100000 values"),
        ("a: &a [*a]", "an alias is used inside its own anchor"),
        ("&a {<<: *a}", "an alias is used inside its own anchor"),
        ("[" * 5000, "nested too deep"),
        ("{a: " * 5000 + "1" + "}" * 5000, "nested too deep"),
        ("# " + "x" * (1 << 20), "at most 1048576 bytes"),
        (b"a: \xe9", "in UTF-8"),
        ("a: 1".encode("utf-16"), "in UTF-8"),
        ("version: 3", "version must be 2"),
        ("version: 2\nentries: [1]", "entries must be a mapping"),
        ("version: 2\naliases: x", "aliases must be a mapping"),
        ("version: 2\naliases: {a: b}", "the alias 'a' must name an entry"),
        ("version: 2\nentries: {a: 1}", "the entry 'a' must be a mapping"),
        ("version: 2\ndata: {a: {}}", "data must be empty"),
        ("version: 2\nuser_parameters: {a: {}}", "user_parameters must be empty"),
    ],
    ids=range(28),
)
def test_malformed_catalog(path, text, message):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(path, message)


def test_byte_order_mark_is_accepted(path):
    write(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert "lake" in open_catalog(path)


@pytest.mark.parametrize("reader", ["subprocess:Popen", "os:system", "x", 3, None, ["a"]])
def test_readers_of_other_packages_are_refused(path, reader):
    catalog = copy.deepcopy(CATALOG)
    catalog["entries"]["lake"]["reader"] = reader
    refused(write(path, catalog), "'lake': reader must be one of cookbook_utils")


@pytest.mark.parametrize("text", ["{func(os:getcwd)}", "{env(HOME)}", "data(x)", "{other}", "a{b"])
@pytest.mark.parametrize("place", ["kwargs", "metadata"])
def test_templates_of_intake_are_refused(path, text, place):
    catalog = copy.deepcopy(CATALOG)
    catalog["entries"]["lake"].setdefault(place, {})["note"] = [text]
    refused(write(path, catalog), "must have no template but {CATALOG_DIR}")


BAND = CATALOG["entries"]["lake"]["kwargs"]["scenes"][0]["bands"][0]


def scene(**facts):
    return [{"date": "2000-01-01", "sensor": "s", "bands": [BAND]} | facts]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"scenes": {}}, "scenes must be a list"),
        ({"scenes": []}, "scenes: date must be increasing dates, at least one"),
        ({"scenes": [1]}, r"scenes\[0\] must be a mapping"),
        ({"scenes": [{"date": "2000"}]}, r"scenes\[0\] must have sensor, bands"),
        ({"scenes": scene() * 2}, "scenes: date must be increasing dates"),
        ({"scenes": scene(date="2000-13-01")}, "date must be a date"),
        ({"scenes": scene(date="0001-01-01")}, "date must be a date .* from 1678 to 2261"),
        ({"scenes": scene(date="NaT")}, "date must be a date"),
        ({"scenes": scene(date=2000)}, "date must be text"),
        ({"scenes": scene(bands=[])}, "bands must have distinct names"),
        ({"scenes": scene(bands=[BAND, BAND])}, "bands must have distinct names"),
        ({"scenes": scene(bands=["red"])}, "bands must be a mapping"),
        ({"scenes": scene(bands=[{"name": "red"}])}, "bands must have number, wavelength"),
        ({"scenes": scene(bands=[BAND | {"number": 0}])}, "number must be an integer of at least"),
        ({"scenes": scene(bands=[BAND | {"wavelength": -1}])}, "wavelength must be a finite num"),
        ({"year": "x"}, "year must be an integer"),
        ({"nodata": float("nan")}, "nodata must be a finite number"),
        ({"nodata": "x"}, "nodata must be a finite number"),
        ({"attrs": 3}, "attrs must be a mapping"),
        ({"tags": "area"}, "tags must be a list"),
        ({"tags": [1]}, "tags must be text"),
        ({"name": "../lake"}, "name must be a name"),
        ({"dataset": "a/b"}, "dataset must be a name"),
        ({"folder": 7}, "folder must be text"),
        ({"made_by": 7}, "made_by must be text"),
        ({"dates": "2000"}, "dates must be a list"),
        ({"dates": []}, "dates must be increasing dates"),
        ({"dates": ["2000-01-01", "2000-01-01"]}, "dates must be increasing dates"),
        ({"dates": ["2001-01-01", "2000-01-01"]}, "dates must be increasing dates"),
        ({"maps": {}}, "maps must name at least one map"),
        ({"maps": {"cover": 1}}, "maps, cover must be a mapping"),
    ],
)
def test_invalid_arguments_in_an_entry(path, kwargs, message):
    refused(write(path, **kwargs), f"the entry 'lake': (scenes\\[0\\]: (bands: )?)?{message}")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"scenes": scene(date="2000") + scene(date="2001")}, "must lead to one file per scene"),
        ({"files": "../../etc/passwd"}, "files must lead to 'folder/file'"),
        ({"files": "/etc/passwd"}, "files must lead to"),
        ({"files": "lake/../x"}, "files must lead to"),
        ({"files": "../x"}, "files must lead to"),
        ({"files": "lake/.."}, "files must lead to"),
        ({"files": "x"}, "files must lead to"),
        ({"files": "lake/a/b"}, "files must lead to"),
        ({"files": "lake/{{number.__class__}}.tif"}, "files must have only the fields"),
        ({"files": "lake/{{number:0999999999d}}.tif"}, "files must have only the fields"),
        ({"files": "lake/{{number!r}}.tif"}, "files must have only the fields"),
        ({"files": "lake/{{x}}.tif"}, "files must have only the fields"),
        ({"files": "lake/{{}}.tif"}, "files must have only the fields"),
        ({"files": "lake/{{sensor:02d}}.tif"}, "files must fit the facts"),
        ({"folder": "http://127.0.0.1/x"}, "folder must be a folder of this machine"),
        ({"folder": "s3://bucket/x"}, "folder must be a folder of this machine"),
        ({"year": 1999}, "lake: year must be one of 2000, got 1999"),
    ],
)
def test_an_entry_cannot_name_files_elsewhere(path, kwargs, message):
    catalog = open_catalog(write(path, **kwargs))
    with pytest.raises(ValueError, match=message):
        catalog.lake.read()
    assert [file.name for file in path.parent.iterdir()] == ["catalog.yml"]


@pytest.mark.parametrize(
    "folder", ["a{b}c", "{{x}}", "data(x)", "env(HOME)", "a#b", "a b%20c", "a::b", "a*b", "ü"]
)
def test_a_catalog_may_lie_in_a_folder_of_any_name(tmp_path, folder):
    place = tmp_path / folder
    place.mkdir()
    shutil.copy(DATA_FOLDER / "catalog.yml", place)
    with pytest.raises(DataUnavailableError) as raised:
        open_catalog(place / "catalog.yml").landsat_5_small.read()
    assert f"no file {place}/simulated/landsat_5_small/B1.tif;" in str(raised.value)


@pytest.mark.parametrize("value", [3, b"catalog.yml", ["catalog.yml"]])
def test_path_of_a_wrong_type(value):
    with pytest.raises(TypeError, match="path must be a path, got"):
        open_catalog(value)


@pytest.mark.parametrize("value", ["", "a\0b"])
def test_text_that_is_not_a_path(value):
    with pytest.raises(ValueError, match="path must be a path, got"):
        open_catalog(value)


@pytest.mark.parametrize("kind", ["folder", "loop", "below a loop", "fifo", "device"])
def test_catalog_is_not_a_regular_file(tmp_path, kind):
    place = tmp_path / "place"
    if kind == "folder":
        place.mkdir()
    elif kind == "fifo":
        os.mkfifo(place)
    elif kind == "device":
        place = "/dev/zero"
    else:
        place.symlink_to(place)
    with pytest.raises(DataUnavailableError, match="there must be a catalog, .* at "):
        open_catalog(place / "catalog.yml" if kind == "below a loop" else place)


@pytest.mark.parametrize("name", [3, None, ["lake"], b"lake"])
def test_name_of_a_wrong_type(name):
    with pytest.raises(TypeError, match="the name of a data set must be text, got"):
        open_catalog()[name]


@pytest.mark.parametrize(
    ("name", "arguments", "error", "message"),
    [
        ("landsat_5_small", {"yaer": 1988}, TypeError, "got 'yaer' .did you mean 'year'"),
        ("landsat_5_small", {"year": "1988"}, TypeError, "year must be an integer, got '1988'"),
        ("landsat_5_small", {"year": True}, TypeError, "year must be an integer"),
        ("landsat_5_small", {"scenes": None}, TypeError, "scenes must be a list"),
        ("landsat_5_small", {"folder": 3}, TypeError, "folder must be text"),
        ("coast_series_small", {"dates": []}, TypeError, "must be among .*, got 'dates'"),
        ("coast_series_small_truth", {"dates": []}, ValueError, "dates must be increasing dates"),
        ("coast_series_small_truth", {"maps": {"a": {}, "b": {}}}, ValueError, "have 10 bands"),
        ("insar_lyngen", {"chunks": 0}, ValueError, "chunks must be an integer of at least 1"),
        ("insar_lyngen", {"chunks": "x"}, TypeError, "chunks must be an integer"),
        ("insar_lyngen", {"cunks": 1}, TypeError, "got 'cunks' .did you mean 'chunks'"),
        ("insar_lyngen", {"name": "../x"}, ValueError, "name must be a name"),
        ("ustica", {"folder": "http://127.0.0.1"}, ValueError, "a folder of this machine"),
        ("ustica", {"file": "x"}, ValueError, "the registry has no file ustica/x"),
    ],
)
def test_invalid_arguments_of_read(name, arguments, error, message):
    with pytest.raises(error, match=message):
        open_catalog()[name].read(**arguments)


def test_the_arguments_of_read_are_named():
    with pytest.raises(TypeError, match="the arguments of read must be named, got 1988"):
        open_catalog().landsat_5_small.read(1988)


# -- the registry -----------------------------------------------------------------------------

HEADER = "dataset,file,bytes,sha256,url\n"
ROW = f"lake,a.tif,5,{'0' * 64},http://127.0.0.1:9/a\n"


def fetched(folder, text):
    content = text if isinstance(text, bytes) else text.encode()
    (folder / "registry.csv").write_bytes(content)
    return fetch("lake", "a.tif", folder=folder)


@pytest.mark.parametrize(
    "text", [HEADER + ROW, "\ufeff" + HEADER + ROW, (HEADER + ROW).replace("\n", "\r\n")]
)
def test_a_good_registry(tmp_path, monkeypatch, text):
    monkeypatch.delenv("COOKBOOK_DATA", raising=False)
    with pytest.raises(DataUnavailableError, match=r"could not be downloaded from http://127.0.0"):
        fetched(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a registry of files, got one without a file"),
        (HEADER, "must be a registry of files, got one without a file"),
        ("<html>not found</html>", "line 1 must be dataset,file,bytes,sha256,url"),
        ("file,dataset,bytes,sha256,url\n" + ROW, "line 1 must be dataset,file"),
        (HEADER + "lake,a.tif\n", "line 2 must have 5 columns, got 2"),
        (HEADER + ROW.strip() + ",x\n", "line 2 must have 5 columns, got 6"),
        (HEADER + ROW + ROW, "line 3 must name a new file, got lake/a.tif again"),
        (HEADER + '"lake,a.tif', "line 2 must be a row of CSV"),
        (HEADER + "x" * 200_000, "line 2 must be a row of CSV"),
        (HEADER + "x" * (1 << 20), "at most 1048576 bytes"),
        (HEADER.encode() + b"\xff", "in UTF-8"),
        (HEADER + ROW.replace(",5,", ",-5,"), "line 2: bytes must be a number of bytes"),
        (HEADER + ROW.replace(",5,", ",0,"), "line 2: bytes must be"),
        (HEADER + ROW.replace("0" * 64, "abc"), "line 2: sha256 must be 64 hexadecimal digits"),
        (HEADER + ROW.replace("http:", "file:"), "line 2: url must be an address"),
        (HEADER + ROW.replace("http:", "ftp:"), "line 2: url must be an address"),
        (HEADER + ROW.replace("9/a", "9/a b"), "line 2: url must be an address"),
    ],
    ids=range(17),
)
def test_a_damaged_registry(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as raised:
        fetched(tmp_path, text)
    assert str(tmp_path / "registry.csv") in str(raised.value)


OUTSIDE = [
    "..",
    ".",
    "",
    "../../etc",
    "/etc",
    "a/b",
    "a\\b",
    "C:",
    "~",
    "-x",
    " x",
    "x\ty",
    "a" * 300,
]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("column", ["dataset", "file"])
def test_a_row_cannot_leave_the_download_folder(tmp_path, column, name):
    row = ROW.replace("lake" if column == "dataset" else "a.tif", name)
    with pytest.raises(ValueError, match=f"line 2: {column} must be the name of a"):
        fetched(tmp_path, HEADER + row)
    assert [file.name for file in tmp_path.iterdir()] == ["registry.csv"]


def test_no_registry(tmp_path):
    with pytest.raises(DataUnavailableError, match="there must be a registry, .* got none"):
        fetch("lake", "a.tif", folder=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dataset": 1}, "dataset must be text, got int"),
        ({"dataset": ["lake"]}, "dataset must be text, got list"),
        ({"file": None}, "file must be text, got NoneType"),
        ({"folder": 3}, "folder must be a path, got int"),
        ({"progressbar": "yes"}, "progressbar must be True or False"),
    ],
)
def test_arguments_of_fetch_of_a_wrong_type(arguments, message):
    with pytest.raises(TypeError, match=message):
        fetch(**{"dataset": "pucallpa", "file": "1985.tif"} | arguments)


@pytest.mark.parametrize(
    ("name", "guess"), [(("pucalpa", "1985.tif"), "pucallpa"), (("pucallpa", "1985"), "1985.tif")]
)
def test_fetch_suggests_a_similar_name(name, guess):
    with pytest.raises(ValueError, match=f"did you mean '{guess}'"):
        fetch(*name)


@pytest.mark.parametrize("name", ["self", "reader", "metadata", "output_instance", "yaer"])
def test_unknown_argument_in_an_entry(path, name):
    refused(write(path, **{name: 1}), f"the entry 'lake': kwargs must be among .*, got '{name}'")
