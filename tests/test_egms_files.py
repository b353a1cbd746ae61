"""Zip bombs, encrypted and damaged deliveries: one error each, before they fill the memory."""

from __future__ import annotations

import random
import struct
import zipfile

import pytest

from cookbook_utils.insar import open_points

CSV = "pid,latitude,longitude,20200103,20200109\na1,38.7,13.2,0.0,-1.5\nb2,38.8,13.3,1.0,2.5\n"


@pytest.fixture
def csv(tmp_path):
    return tmp_path / "points.csv"


@pytest.fixture
def archive(tmp_path):
    return tmp_path / "points.zip"


def pack(path, *members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, text in members:
            file.writestr(name, text)
    return path


def refused(path, message):
    with pytest.raises(ValueError, match=message) as raised:
        open_points(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("head", ["", CSV, CSV + '"'])
def test_a_line_of_4_gb_is_not_read(csv, head):
    with open(csv, "w") as file:
        file.write(head)
        file.truncate(4 << 30)  # takes no space
    refused(csv, "cannot be parsed" if head else "must have at most 131072 bytes, got more")


def test_a_csv_with_semicolons_is_refused_in_a_few_lines(csv):
    dates = "".join(f";202001{day:02}" for day in range(1, 31)) * 10
    csv.write_text(f"pid;latitude;longitude{dates}\n")
    with pytest.raises(ValueError, match="it has pid;latitude.*separated by commas") as raised:
        open_points(csv)
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize(
    "text",
    [
        CSV.replace("\n", "\r"),  # line ends of old Macintosh computers
        CSV + "c" * 200_000 + ",38.7,13.2,0.0\n",
        CSV + "c3\r,38.7,13.2,0.0\n",
        CSV + "\0\0\0",
    ],
)
def test_a_line_that_cannot_be_split(csv, text):
    csv.write_bytes(text.encode())
    refused(csv, "cannot be parsed|damaged|lacks the columns|more than once")


def test_a_zip_of_zeros_is_not_unpacked(archive):
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        with file.open("points.csv", "w", force_zip64=True) as stream:
            for _ in range(16):
                stream.write(bytes(1 << 23))
    refused(archive, "compression ratio of at most 50, got")


def test_a_zip_of_one_row_many_times_is_not_unpacked(archive):
    """Its rows would fill the memory."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        with file.open("points.csv", "w", force_zip64=True) as stream:
            stream.write(CSV.encode())
            for _ in range(20):
                stream.write(b"b2,38.8,13.3,1.0,2.5\n" * 200_000)
    refused(archive, "compression ratio of at most 50, got")


def test_a_small_csv_may_be_packed_to_anything(archive):
    header, row, _ = CSV.splitlines()
    rows = "\n".join(f"p{k},38.7,13.2,0.0,0.0" for k in range(20_000))
    pack(archive, ("points.csv", f"{header}\n{rows}\n"))
    assert open_points(archive).sizes["point"] == 20_000


def patched(archive, flag=None, method=None, size=None):
    """Change fields in the two headers of the only member."""
    content = bytearray(pack(archive, ("points.csv", CSV)).read_bytes())
    central = content.index(b"PK\1\2")
    if flag is not None:
        content[6] |= flag
        content[central + 8] |= flag
    if method is not None:
        content[8] = content[central + 10] = method
    if size is not None:
        content[central + 24 : central + 28] = struct.pack("<I", size)
    archive.write_bytes(content)


def test_a_zip_with_a_password(archive):
    patched(archive, flag=1)
    refused(archive, "its content does not match its extension: .*encrypted, password required")


def test_a_zip_compressed_in_a_way_that_python_lacks(archive):
    patched(archive, method=9)
    refused(archive, "its content does not match its extension: .*compression method")


def test_a_zip_with_a_wrong_size(archive):
    patched(archive, size=0xFFFFFFF0)
    refused(archive, "compression ratio of at most 50")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "must hold one CSV, got 0: it holds nothing"),
        ([("a.xml", "")], "must hold one CSV, got 0: it holds a.xml"),
        ([("a.csv/", "")], "must hold one CSV, got 0: it holds nothing"),
        ([("a.csv", CSV), ("b.CSV", CSV)], "must hold one CSV, got 2: it holds a.csv, b.CSV"),
        ([(f"{k}.csv", CSV) for k in range(1000)], "got 1000: it holds 0.csv, .{,200}$"),
    ],
)
def test_a_zip_without_its_one_csv(archive, members, message):
    refused(pack(archive, *members), message)


def test_a_folder_named_as_a_csv_is_none(archive):
    pack(archive, ("a.csv/", ""), ("a.csv/points.csv", CSV))
    assert open_points(archive).sizes["point"] == 2


@pytest.mark.parametrize(
    "compression",
    [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA],
)
def test_damaged_bytes_are_found_or_do_not_matter(archive, compression):
    whole = pack(archive, ("points.csv", CSV), compression=compression)
    expected, content = open_points(whole), archive.read_bytes()
    draw = random.Random(compression)
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(draw.choice((1, 2, 8))):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        if draw.random() < 0.2:
            del damaged[draw.randrange(len(damaged)) :]
        archive.write_bytes(damaged)
        try:
            assert open_points(archive).equals(expected)
        except ValueError as error:
            assert str(archive) in str(error)


def test_spaces_and_marks_around_a_pid_are_no_part_of_it(csv):
    header, first, second = CSV.splitlines()
    csv.write_text(f"{header}\n\ufeff {first.replace('a1', 'a1 ')}\n{second}\n")
    assert open_points(csv).pid.values.tolist() == ["a1", "b2"]
    csv.write_text(f"{header}\n{first}\n{first.replace('a1', 'a1 ')}\n")
    refused(csv, "the column pid must hold each value once, got 'a1' more than once")
    csv.write_text(f"{header}\n{first.replace('a1', ' ')}\n")
    refused(csv, "have an empty pid")
