"""Simulated scenes as the U.S. Geological Survey delivers them."""

from __future__ import annotations

import filecmp

import numpy as np
import pytest
import rasterio

from cookbook_utils.clouds import cloud_mask
from cookbook_utils.datasets import open_scene, open_scenes
from cookbook_utils.simulate import simulate_scene
from cookbook_utils.simulate._deliveries import DELIVERIES, write_deliveries

LANDSAT_5, LANDSAT_8 = DELIVERIES


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_deliveries(tmp_path_factory.mktemp("simulated"))


@pytest.mark.parametrize("product", DELIVERIES)
def test_delivery_holds_the_scene_to_the_precision_of_its_numbers(folder, product):
    scene = open_scene(folder / product)
    original, _ = simulate_scene(DELIVERIES[product][0])
    assert scene.rio.transform() == original.rio.transform() and scene.rio.crs == original.rio.crs
    assert scene.band.values.tolist() == original.band.values.tolist()
    assert str(scene.time.dt.strftime("%Y-%m-%d").values) == original.date
    assert scene.attrs["units"] == "1"
    reflectance = original * original.scale_factor + original.add_offset
    np.testing.assert_array_equal(scene.isnull(), original.isnull())
    np.testing.assert_allclose(scene, reflectance, rtol=0, atol=(1e-4 + 2.75e-5) / 2 + 1e-6)


@pytest.mark.parametrize("product", DELIVERIES)
def test_pixel_quality_has_the_bits_of_the_truth(folder, product):
    scene = open_scene(folder / product)
    _, truth = simulate_scene(DELIVERIES[product][0])
    outside = (truth.cloud == 255).values
    cloud = (truth.cloud == 1).values
    np.testing.assert_array_equal(cloud_mask(scene, classes=["fill"]), outside)
    np.testing.assert_array_equal(cloud_mask(scene, classes=["cloud"]), cloud)
    water = (truth.water == 1).values & ~cloud
    np.testing.assert_array_equal(cloud_mask(scene, classes=["water"]), water)
    shadow = cloud_mask(scene, classes=["cloud_shadow"]).values
    assert 0 < shadow.sum() < 2 * cloud.sum()
    shaded, lit = (
        (scene.sel(band="red") / simulate_clear(product)).values[where & ~cloud & ~outside]
        for where in (shadow, ~shadow)
    )
    assert np.nanmedian(shaded) < 0.93 < 0.97 < np.nanmedian(lit)


def simulate_clear(product):
    """Return red as the scene has it on average for each cover, for the light that shadows take."""
    scene, truth = simulate_scene(DELIVERIES[product][0])
    red = (scene * scene.scale_factor).sel(band="red")
    clear = red.where(truth.cloud == 0)
    return clear.groupby(truth.cover).map(lambda part: part * 0 + part.median())


@pytest.mark.parametrize(
    ("product", "values"),
    [
        (LANDSAT_5, {1, 5440, 5568, 5896, 7504, 7960}),
        (LANDSAT_8, {1, 21824, 21952, 22280, 23888, 24344}),
    ],
)
def test_pixel_quality_has_values_of_land_water_cloud_and_shadow(folder, product, values):
    with rasterio.open(folder / product / f"{product}_QA_PIXEL.TIF") as file:
        assert set(np.unique(file.read())) == values


def test_the_folder_opens_as_a_series_on_one_grid(folder):
    series = open_scenes(folder)
    assert series.time.dt.year.values.tolist() == [1988, 2017]
    assert series.sizes["band"] == 6 and series.rio.resolution() == (150, -150)


def test_files_are_the_same_each_time_and_repaired(folder, tmp_path):
    again = write_deliveries(tmp_path)
    (again / LANDSAT_8 / f"{LANDSAT_8}_MTL.txt").write_text("GROUP = LANDSAT_METADATA_FILE")
    write_deliveries(tmp_path)
    for product in DELIVERIES:
        names = [path.name for path in (folder / product).iterdir()]
        same, *other = filecmp.cmpfiles(folder / product, again / product, names, shallow=False)
        assert len(same) == 10 and other == [[], []]


def test_metadata_that_were_not_simulated_are_kept(tmp_path):
    own = tmp_path / "landsat_deliveries" / LANDSAT_5 / f"{LANDSAT_5}_MTL.txt"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    with pytest.raises(FileExistsError, match="must be a file that was simulated here"):
        write_deliveries(tmp_path)
    assert own.read_text() == "mine"
