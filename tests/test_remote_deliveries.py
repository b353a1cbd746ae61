"""Deliveries of archives on web servers and in S3: archives, folders, metadata, and errors."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from cookbook_utils.cli import run_command
from cookbook_utils.datasets import _access, open_scene, open_scenes

from .deliveries import (
    LANDSAT_8,
    SENTINEL_2,
    landsat_groups,
    make_pixels,
    pack_tar,
    pack_zip,
    write_cogs,
    write_landsat,
    write_raster,
    write_safe,
)
from .servers import serving

LATER = "LC09_L2SP_042033_20220112_20220114_02_T1"


@pytest.fixture(scope="module")
def delivered(tmp_path_factory):
    """A folder with deliveries of Landsat and Sentinel-2, as folders and as archives."""
    folder = tmp_path_factory.mktemp("www")
    write_landsat(folder / "landsat" / LANDSAT_8)
    write_landsat(folder / "landsat" / LATER, LATER, DATE_ACQUIRED="2022-01-12")
    safe, _ = write_safe(folder / "sentinel")
    write_cogs(safe, folder / "cogs" / SENTINEL_2)
    pack_tar(folder / "landsat" / LANDSAT_8, folder / f"{LANDSAT_8}.tar")
    pack_tar(folder / "landsat" / LANDSAT_8, folder / "compressed.tar.gz", "w:gz")
    pack_zip(safe, folder / f"{SENTINEL_2}.zip")
    (folder / "cut.tar").write_bytes((folder / f"{LANDSAT_8}.tar").read_bytes()[:700])
    (folder / "cut.zip").write_bytes((folder / f"{SENTINEL_2}.zip").read_bytes()[:9000])
    (folder / "other").mkdir()
    (folder / "other" / "a.txt").write_text("no scene")
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Use no proxy, no credentials of the user, and short pauses before a request is repeated."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GDAL_HTTP_PROXY", "")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(_access, "RETRY_DELAY", 0.01)
    monkeypatch.setattr(_access, "TIMEOUT", 4.0)


@pytest.fixture
def server(delivered):
    with serving(delivered) as running:
        yield running


@pytest.fixture(scope="module")
def bucket(delivered):
    """The address of an S3 server that has the deliveries in the bucket ``scenes``."""
    import boto3
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client("s3", endpoint_url=url, aws_access_key_id="k", aws_secret_access_key="s",
                          region_name="us-east-1")  # fmt: skip
    client.create_bucket(Bucket="scenes", ACL="public-read-write")
    for path in delivered.rglob("*"):
        if path.is_file():
            key = path.relative_to(delivered).as_posix()
            client.upload_file(str(path), "scenes", key, {"ACL": "public-read"})
    yield url
    running.stop()


def is_same(found, expected):
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found.quality, expected.quality)
    assert list(found.band.values) == list(expected.band.values)
    assert found.attrs == expected.attrs and (found.time == expected.time).all()
    return True


LANDSAT = f"landsat/{LANDSAT_8}"
SAFE = f"sentinel/{SENTINEL_2}.SAFE"
WEB = {
    f"{LANDSAT_8}.tar": LANDSAT,
    **{f"{LANDSAT}/{LANDSAT_8}_MTL.{ending}": LANDSAT for ending in ("txt", "xml", "json")},
    f"{SENTINEL_2}.zip": SAFE,
    f"{SAFE}/MTD_MSIL2A.xml": SAFE,
}
COGS = f"cogs/{SENTINEL_2}"
BUCKET = {LANDSAT: LANDSAT, f"{LANDSAT}/": LANDSAT, SAFE: SAFE, COGS: COGS} | WEB


@pytest.mark.parametrize("source", WEB)
def test_a_web_server(server, delivered, source):
    found = open_scene(f"{server.url}/{source}")
    assert is_same(found, open_scene(delivered / WEB[source]))
    if source.endswith((".tar", ".zip")):
        assert not any(server.wholes.values())


@pytest.mark.parametrize("source", BUCKET)
def test_s3(bucket, delivered, source):
    options = {"anon": True, "endpoint_url": bucket}
    found = open_scene(f"s3://scenes/{source}", storage_options=options)
    assert is_same(found, open_scene(delivered / BUCKET[source]))


def test_a_folder_of_deliveries_in_s3(bucket, delivered):
    options = {"anon": True, "endpoint_url": bucket}
    found = open_scenes("s3://scenes/landsat", bands=["red"], storage_options=options)
    assert is_same(found, open_scenes(delivered / "landsat", bands=["red"]))
    assert found.sizes["time"] == 2


def test_a_signature_is_sent_for_each_file_and_shown_in_no_message(server, delivered):
    signed = f"{server.url}/{LANDSAT}/{LANDSAT_8}_MTL.txt?sig=secret"
    assert is_same(open_scene(signed), open_scene(delivered / LANDSAT))
    with pytest.raises(OSError, match="404") as raised:
        open_scene(signed.replace("_MTL", "_none_MTL"))
    assert "secret" not in str(raised.value)


def test_a_manifest_lists_the_files(server, delivered):
    safe = delivered / SAFE
    files = sorted(p.relative_to(safe).as_posix() for p in safe.rglob("*") if p.is_file())
    objects = "".join(f'<fileLocation locatorType="URL" href="./{file}"/>' for file in files)
    manifest = safe / "manifest.safe"
    before = manifest.read_text()
    manifest.write_text(f'<xfdu version="a" href="http://x">{objects}</xfdu>')
    try:
        found = open_scene(f"{server.url}/{SAFE}/manifest.safe", bands=["red"])
        assert is_same(found, open_scene(safe, bands=["red"]))
        assert is_same(open_scene(manifest, bands=["red"]), found)
    finally:
        manifest.write_text(before)


@pytest.mark.parametrize("source", [f"{LANDSAT}", f"{LANDSAT}/", f"{SAFE}", f"{SAFE}/"])
def test_a_folder_of_a_web_server_needs_its_metadata(server, source):
    with pytest.raises(ValueError, match=r"lists no folders, got .*: name the metadata"):
        open_scene(f"{server.url}/{source}")


def test_an_archive_of_one_raster(server, delivered, tmp_path):
    write_raster(tmp_path / "red.tif", make_pixels((30, 40), 1))
    with zipfile.ZipFile(delivered / "red.zip", "w") as file:
        file.write(tmp_path / "red.tif", "a/red.tif")
    how = {"bands": ["red"], "date": "2020-01-03", "scale": 1e-4}
    found = open_scene(f"{server.url}/red.zip", **how)
    np.testing.assert_array_equal(found, open_scene(tmp_path / "red.tif", **how))


def test_the_command_takes_them_and_names_maps_after_the_scene(server, tmp_path):
    source = f"{server.url}/{LANDSAT}/{LANDSAT_8}_MTL.txt"
    command = [
        "cluster",
        source,
        "--bands",
        "red",
        "nir",
        "--out",
        str(tmp_path / "out"),
        "-k",
        "2",
    ]
    assert run_command(command) == 0
    assert [p.name for p in (tmp_path / "out" / "labels").glob("*.tif")] == [f"{LANDSAT_8}.tif"]


def test_a_busy_server_is_asked_again(server, delivered):
    tar, mtl = f"/{LANDSAT_8}.tar", f"/{LANDSAT}/{LANDSAT_8}_MTL.txt"
    server.failures = {tar: (2, 503), mtl: (2, 503), f"/{LANDSAT}/{LANDSAT_8}_SR_B4.TIF": (2, 503)}
    for source in (tar, mtl):
        found = open_scene(server.url + source, bands=["red"])
        assert is_same(found, open_scene(delivered / LANDSAT, bands=["red"]))
    assert set(server.failures.values()) == {(0, 503)}


@pytest.mark.parametrize(
    ("source", "status"), [(f"{LANDSAT_8}.tar", 503), (f"{SENTINEL_2}.zip", 503), ("no.tar", 404)]
)
def test_what_a_server_refuses_is_named(server, source, status):
    server.failures = {f"/{source}": (99, 503)} if status == 503 else {}
    tries = "4 tries" if status == 503 else "1 try"
    with pytest.raises(OSError, match=rf"{source} must be .* answered {status} in {tries}"):
        open_scene(f"{server.url}/{source}")


def test_a_band_that_is_absent_is_named(server, delivered):
    groups = landsat_groups(LANDSAT_8)
    name = groups["PRODUCT_CONTENTS"]["FILE_NAME_BAND_4"]
    server.failures = {f"/{LANDSAT}/{name}": (99, 404)}
    with pytest.raises(OSError, match=rf"{name} must be .* answered 404 in 1 try"):
        open_scene(f"{server.url}/{LANDSAT}/{LANDSAT_8}_MTL.txt")


def test_archives_that_cannot_be_read_in_parts(server, bucket):
    options = {"anon": True, "endpoint_url": bucket}
    for place in (server.url, "s3://scenes"):
        for source, message in (
            ("compressed.tar.gz", "no part can be read alone: download it"),
            ("cut.tar", "must be a complete tar"),
            ("cut.zip", "must be a complete zip"),
        ):
            with pytest.raises((ValueError, OSError), match=message):
                open_scene(f"{place}/{source}", storage_options=options)


def test_another_part_than_asked_for_is_no_part_of_an_archive(server):
    server.shift = 512
    with pytest.raises(OSError, match="sends the parts that are asked for, got .* bytes as"):
        open_scene(f"{server.url}/{LANDSAT_8}.tar")


def test_what_s3_does_not_have_is_named(bucket):
    options = {"anon": True, "endpoint_url": bucket}
    for source in ("no.tar", "no", f"landsat/{LANDSAT_8}_MTL.txt"):
        with pytest.raises(OSError, match=rf"s3://scenes/{source} must be a readable file"):
            open_scene(f"s3://scenes/{source}", storage_options=options)
    with pytest.raises(ValueError, match="got the folder s3://scenes/other"):
        open_scene("s3://scenes/other", storage_options=options)
