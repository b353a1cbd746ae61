"""Every page of the built book on a phone and a laptop, light and dark, with mouse and keyboard.

Screenshots of all pages are kept in `.build/screenshots`.
"""

from __future__ import annotations

import base64
import gzip
import importlib
import os
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from fontTools.ttLib import TTFont

from .browser import BOOK, DEEP, PAGES, ROOT, Visit, roots_in

AXE = ROOT / "tests" / "node_modules" / "axe-core" / "axe.min.js"
SCREENSHOTS = ROOT / ".build" / "screenshots"
JPEG = {"type": "jpeg", "quality": 60}
WIDTHS = [390, 1280]
PAGE_WEIGHT = 6_000_000  # bytes of all files that a browser reads for a page
PICTURES = 5_000_000  # bytes of all pictures together

# The layout is the same in both modes: in the dark, only colors can break a rule.
AXE_RUN = """colors_only => axe.run(document, {
  preload: false,
  resultTypes: ['violations'],
  ...(colors_only ? {runOnly: ['color-contrast', 'link-in-text-block']} : {}),
}).then(found => found.violations
  .filter(rule => ['serious', 'critical'].includes(rule.impact))
  .flatMap(rule => rule.nodes.map(node =>
    [rule.id, node.target.join(' '), node.failureSummary])))"""

# Interactive figures and pictures that reach out of the box that shows them.
OUTSIDE = f"""() => {{ {DEEP}
  const box = node => node.closest('.output') ?? node.parentElement;
  const reaches = (node, around) =>
    node.getBoundingClientRect().right > around.getBoundingClientRect().right + 1;
  return [...document.querySelectorAll('[data-root-id]')].flatMap(host =>
    deep(host, n => n.classList.contains('bk-Figure') || n.classList.contains('bk-Legend'))
      .filter(shown).filter(figure => reaches(figure, box(host))).map(n => n.className));
}}"""
NAMELESS = f"""() => {{ {DEEP}
  return deep(document.body, n => n.classList.contains('bk-events') || n.role === 'slider')
    .filter(shown).filter(n => !/\\w/.test(n.getAttribute('aria-label') ?? '')).length;
}}"""
PREPARED = f"""() => {{ {DEEP}
  return deep(document.body, n => n.classList.contains('bk-events')).filter(shown)
    .every(n => n.getAttribute('aria-label'));
}}"""

# The least size of text in each figure, in pixels: 9 points at 150 per inch, in diagrams 15 pixels.
TEXT_SIZES = """() => [...document.querySelectorAll('.bd-article img')]
  .filter(image => image.closest('.cell_output') || image.src.endsWith('.svg'))
  .map(image => (image.src.endsWith('.svg') ? 15 : 9 * 150 / 72)
    * image.getBoundingClientRect().width / image.naturalWidth)"""

# The glyph of each icon on the page.
ICONS = """() => [...document.querySelectorAll('.fas, .fa-solid')]
  .map(icon => getComputedStyle(icon, '::before').content.replaceAll('"', ''))"""
FONT = BOOK / "_static" / "vendor" / "fontawesome" / "webfonts" / "fa-solid-900.woff"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def axe() -> str:
    """The source of axe-core, which npm installs from `tests/package-lock.json`."""
    if not AXE.is_file():
        message = "axe-core is not installed: `npm ci --prefix tests`, or `make test`, does so"
        if os.environ.get("COOKBOOK_REQUIRE_BROWSER"):
            pytest.fail(message)
        pytest.skip(message)
    return AXE.read_text()


def open_page(browser: Any, name: str, width: int = 1280, query: str = "") -> Visit:
    """Open a page in light mode and wait until its figures fit."""
    path = BOOK / name
    view = Visit(browser, path.as_uri() + query, roots_in(path.read_text()), width=width)
    view.page.wait_for_function(PREPARED, timeout=20_000)
    return view


def follow(page: Any, mode: str) -> None:
    """Switch the system to light or dark, and wait until the page has followed."""
    page.emulate_media(color_scheme=mode)
    page.wait_for_function("mode => document.documentElement.dataset.theme === mode", arg=mode)
    page.wait_for_timeout(200)  # colors fade over


@pytest.fixture(scope="module", params=[(name, width) for name in PAGES for width in WIDTHS],
                ids=lambda param: f"{param[0]}-{param[1]}")  # fmt: skip
def shown(request, browser):
    """One page at one width; each is opened once for all tests that only look at it."""
    name, width = request.param
    view = open_page(browser, name, width)
    yield name, width, view
    view.context.close()


def test_page_fits_its_screen(shown):
    _, width, view = shown
    assert view.page.evaluate("document.documentElement.scrollWidth") <= width
    assert view.page.evaluate(OUTSIDE) == []


def test_text_of_figures_is_legible(shown):
    assert [size for size in shown[2].page.evaluate(TEXT_SIZES) if size < 9] == []


def test_figures_are_not_wider_than_they_were_drawn(shown):
    """At 150 pixels per inch, of which a page has 96: their text has one size."""
    scales = shown[2].page.evaluate(
        "[...document.querySelectorAll('.cell_output img')].filter(i => i.naturalWidth)"
        ".map(i => i.getBoundingClientRect().width / i.naturalWidth)"
    )
    assert [scale for scale in scales if scale > 96 / 150 + 0.005] == []


def test_figures_and_sliders_have_names(shown):
    assert shown[2].page.evaluate(NAMELESS) == 0


def test_code_has_one_button_to_copy_it(shown):
    blocks = "[...document.querySelectorAll('div.highlight')]"
    count = f"{blocks}.map(block => block.querySelectorAll('button.copybtn').length)"
    assert set(shown[2].page.evaluate(count)) <= {1}


def test_mode_follows_the_system_without_violations(shown, axe):
    """Take the screenshots, and look for what axe-core calls serious or critical."""
    name, width, view = shown
    page = view.page
    page.evaluate(axe)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    found = {}
    for mode in ("light", "dark"):
        follow(page, mode)
        file = f"{name.removesuffix('.html').replace('/', '-')}-{width}-{mode}.jpg"
        page.screenshot(path=SCREENSHOTS / file, full_page=True, animations="disabled", **JPEG)
        found[mode] = page.evaluate(AXE_RUN, mode == "dark")
    assert found == {"light": [], "dark": []}


def test_page_is_light(shown):
    """All that the browser has read, each file once, without the index of the search."""
    files = {urlsplit(url).path for _, url in shown[2].requests if url.startswith("file:")}
    weights = {
        path: path.stat().st_size
        for path in map(Path, map(unquote, files))
        if path.name != "searchindex.js"
    }
    assert len(weights) > 20
    heaviest = sorted(weights.items(), key=lambda item: -item[1])[:8]
    assert sum(weights.values()) < PAGE_WEIGHT, heaviest


def test_icons_are_in_the_font(shown):
    """The fonts hold the glyphs of the icons that pages show, and hardly any other."""
    glyphs = set(TTFont(FONT).getBestCmap())
    assert {ord(glyph) for glyph in shown[2].page.evaluate(ICONS)} <= glyphs
    assert FONT.stat().st_size < 20_000


def test_page_logs_no_error(shown):
    """Last, so that what the tests before did counts, too."""
    assert shown[2].errors == []


def test_sizes_on_drawings_of_arrays_follow_the_mode(browser):
    view = open_page(browser, "notebooks/01_loading.html")
    colors = """() => [...document.querySelectorAll('div.cell_output svg text')]
      .map(text => [getComputedStyle(text).fill, getComputedStyle(text).stroke].join())"""
    light = view.page.evaluate(colors)
    follow(view.page, "dark")
    dark = view.page.evaluate(colors)
    view.context.close()
    assert light and not set(light) & set(dark)


# --- By mouse and by keyboard --------------------------------------------------------------------


def with_model(name: str) -> list[str]:
    """Return the pages that hold a model of Bokeh."""
    return [page for page in PAGES if f'"name":"{name}"' in (BOOK / page).read_text()]


FOCUSED = """() => {
  let node = document.activeElement;
  while (node?.shadowRoot?.activeElement) node = node.shadowRoot.activeElement;
  return node?.className ?? '';
}"""


@pytest.mark.parametrize("name", with_model("Slider"))
def test_slider_has_the_focus_after_a_click(browser, name):
    """A click moves the handle and focuses it, so that the arrow keys go on from there."""
    view = open_page(browser, name)
    handles = view.page.locator(".noUi-handle").all()
    assert handles
    for handle in handles:
        bar = handle.locator("xpath=ancestor::*[contains(@class, 'noUi-target')]")
        before = handle.get_attribute("aria-valuetext")
        bar.scroll_into_view_if_needed()
        box = bar.bounding_box()
        view.page.mouse.click(box["x"] + box["width"] - 2, box["y"] + box["height"] / 2)
        view.page.wait_for_timeout(400)
        assert "noUi-handle" in view.page.evaluate(FOCUSED)
        clicked = handle.get_attribute("aria-valuetext")
        view.page.keyboard.press("ArrowLeft")
        view.page.wait_for_timeout(400)
        assert handle.get_attribute("aria-valuetext") != clicked != before
    assert view.errors == []
    view.context.close()


@pytest.mark.parametrize("name", with_model("Figure"))
def test_wheel_scrolls_the_page_until_a_figure_has_the_focus(browser, name):
    view = open_page(browser, name)
    page = view.page
    ranges = (
        "() => Bokeh.documents.flatMap(one => [...one._all_models.values()])"
        ".filter(m => m.type === 'Figure').map(m => `${m.x_range.start} ${m.x_range.end}`).join()"
    )
    figure = page.locator(".bk-Figure .bk-CartesianFrame").first
    figure.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    box = figure.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    before, top = page.evaluate(ranges), page.evaluate("scrollY")
    page.mouse.wheel(0, -100)
    page.wait_for_timeout(400)
    assert page.evaluate("scrollY") != top, "the page did not scroll"
    assert page.evaluate(ranges) == before, "the figure zoomed"
    figure.scroll_into_view_if_needed()
    box = figure.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    before, top = page.evaluate(ranges), page.evaluate("scrollY")
    page.mouse.wheel(0, -100)
    page.wait_for_timeout(400)
    assert page.evaluate(ranges) != before, "the figure did not zoom"
    assert page.evaluate("scrollY") == top
    view.context.close()


def test_switch_of_the_mode_keeps_the_focus(browser):
    view = open_page(browser, "intro.html")
    button = view.page.locator(".theme-switch-button").first
    names = set()
    for _ in range(3):
        button.focus()
        view.page.keyboard.press("Enter")
        view.page.wait_for_timeout(200)
        assert "theme-switch-button" in view.page.evaluate(FOCUSED)
        names.add(button.get_attribute("aria-label"))
    assert len(names) == 3, "the button says which mode is on"
    view.context.close()


@pytest.mark.parametrize("query", ["Nystrom", "Nyström", "nystrom"])
def test_search_ignores_accents(browser, query):
    view = Visit(browser, f"{(BOOK / 'search.html').as_uri()}?q={query}", [])
    view.page.wait_for_selector("#search-results li a", timeout=10_000)
    found = view.page.locator("#search-results li a").all_text_contents()
    assert any("Spectral clustering" in title for title in found)
    view.context.close()


# --- Weight --------------------------------------------------------------------------------------


def test_pictures_are_light():
    pictures = list((BOOK / "_images").iterdir())
    assert sum(path.stat().st_size for path in pictures) <= PICTURES
    assert not [path.name for path in pictures if path.suffix == ".png"]


@pytest.fixture
def light_plots(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "_ext")
    return importlib.import_module("light_plots")


def as_stored(values: np.ndarray, quote: str) -> str:
    """Return an array as Bokeh writes it into a page."""
    data = base64.b64encode(gzip.compress(values.tobytes())).decode()
    shape = str(list(values.shape)).replace(" ", "")
    text = f'{{"data":"{data}"}},"shape":{shape},"dtype":"{values.dtype}"}}'
    return text.replace('"', quote)


@pytest.mark.parametrize("quote", ['"', '\\"'])
def test_images_keep_the_digits_that_are_seen(light_plots, quote):
    values = np.random.default_rng(0).uniform(-0.3, 0.9, (150, 150)).astype("float32")
    values[0, :3] = np.nan
    stored = as_stored(values, quote)
    lighter = light_plots.IMAGE.sub(light_plots.round_image, stored)
    assert len(lighter) < 0.65 * len(stored)
    data = gzip.decompress(base64.b64decode(light_plots.IMAGE.search(lighter)["data"]))
    rounded = np.frombuffer(data, "float32").reshape(values.shape)
    np.testing.assert_allclose(rounded, values, rtol=0, atol=1.2 / light_plots.STEPS / 2)


@pytest.mark.parametrize(
    "values",
    [np.full((2, 2), 0.1), np.array([[0, np.inf]]), np.arange(4).reshape(2, 2), np.linspace(0, 1)],
)
def test_other_arrays_stay_as_they_are(light_plots, values):
    stored = as_stored(values, '"')
    assert light_plots.IMAGE.sub(light_plots.round_image, stored) == stored


# --- Versions and source -------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*PAGES, "reference/cookbook_utils.areas.area_km2.html"])
def test_page_says_what_it_was_built_with(name):
    html = (BOOK / name).read_text()
    foot = re.search(r'<p class="built-with">(.*?)</p>', html, flags=re.DOTALL)[1]
    for package in ("cookbook_utils", "Python", "numpy", "xarray", "dask", "scikit-learn"):
        assert re.search(rf"{package} \d+\.\d+", foot), package
    if shutil.which("git") and (ROOT / ".git").exists():
        assert re.search(r"<code>[0-9a-f]{12}</code>", foot)
    if name not in ("genindex.html", "py-modindex.html", "search.html"):  # made of all others
        source = re.search(r'href="([^"]+)">Source of this page', foot)[1]
        assert (BOOK / name).parent.joinpath(source).is_file()
