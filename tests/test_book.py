"""The built book, opened from disk in a real browser without network; and what fails its build."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import yaml

from .browser import BOOK, DEEP, PAGES, ROOT, TILE_HOSTS, Visit, roots_in
from .promises import alt_text, caption, cells_of, promises_view

# The pages of the reference are many and alike: they have tests of their own.
REFERENCE = sorted((BOOK / "reference").glob("*.html"))

pytestmark = pytest.mark.slow
page_of_the_book = pytest.mark.parametrize("name", PAGES)
chapter = pytest.mark.parametrize(
    "name", sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
)


def test_the_book_is_built():
    assert (BOOK / ".complete").is_file(), "the tests of the book need the book: run `make book`"
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    chapters = [entry["file"] for part in toc["parts"] for entry in part["chapters"]]
    assert {f"{file}.html" for file in [toc["root"], *chapters]} <= set(PAGES)
    on_disk = {f"notebooks/{path.stem}" for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert on_disk <= set(chapters), "a notebook that the book does not show"


# --- In the browser ------------------------------------------------------------------------------


# Every figure that the page's documents hold, and what of it is on the screen.
FIGURES = f"""() => {{ {DEEP}
  const colors = canvas => {{
    const [w, h] = [canvas.width, canvas.height];
    const data = canvas.getContext('2d')?.getImageData(0, 0, w, h).data ?? [];
    const seen = new Set();
    for (let i = 0; i < data.length && seen.size < 5; i += 4)
      seen.add((data[i] << 24) | (data[i + 1] << 16) | (data[i + 2] << 8) | data[i + 3]);
    return seen.size;
  }};
  return (window.Bokeh?.documents ?? []).flatMap(doc =>
    [...doc._all_models.values()].filter(m => m.type === 'Figure').map(model => {{
      const view = Bokeh.index.find_one(model);
      const canvases = view ? deep(view.el, n => n.tagName === 'CANVAS').filter(shown) : [];
      return {{
        canvases: canvases.length,
        colors: Math.max(0, ...canvases.map(colors)),
        hover: model.toolbar.tools.some(tool => tool.type === 'HoverTool'),
        frame: view ? (box => {{
          const r = view.el.getBoundingClientRect();
          return [r.x + scrollX + box.left, r.y + scrollY + box.top, box.width, box.height];
        }})(view.frame.bbox) : null,
      }};
    }}));
}}"""
# What each code cell of a page shows, in order.
FIGURE_NUMBERS = """() => [...document.querySelectorAll('figcaption .caption-number')]
  .map(number => number.textContent.trim())"""

CELLS = f"""() => {{ {DEEP}
  return [...document.querySelectorAll('div.cell')].map(cell => ({{
    images: [...cell.querySelectorAll('img')]
      .filter(image => image.naturalWidth > 0).map(image => image.alt),
    caption: cell.querySelector('figcaption')?.textContent ?? '',
    canvases: deep(cell, node => node.tagName === 'CANVAS').filter(shown).length,
  }}));
}}"""
TOOLTIPS = f"""() => {{ {DEEP}
  return deep(document.body, n => n.classList.contains('bk-Tooltip')).filter(shown)
    .map(n => (n.shadowRoot ?? n).textContent).join(' ');
}}"""
# A widget without its values in the page (Panel's State) asks Python, which is not there.
DEAD_WIDGETS = """() => (window.Bokeh?.documents ?? []).flatMap(doc => {
  const models = [...doc._all_models.values()];
  const has = name => models.some(model => model.type.endsWith(name));
  const widgets = models.filter(
    model => model instanceof Bokeh.Models.get('Widget') && 'value' in model.attributes);
  return has('CommManager') && !has('state.State') ? widgets.map(widget => widget.type) : [];
})"""

# All pixels of all images that the page's documents hold, as one text.
PIXELS = """() => (window.Bokeh?.documents ?? []).flatMap(doc => [...doc._all_models.values()])
  .filter(model => model.type === 'ColumnDataSource' && model.data.image)
  .map(model => Array.from(model.data.image[0]).join('')).join('|')"""


@pytest.fixture(scope="module")
def visit(browser) -> Iterator[Any]:
    opened: dict[str, Visit] = {}

    def open_page(name: str) -> Visit:
        if name not in opened:
            path = BOOK / name
            opened[name] = Visit(browser, path.as_uri(), roots_in(path.read_text()))
        return opened[name]

    yield open_page
    for view in opened.values():
        view.context.close()


def test_index_opens_the_first_page(browser):
    page = browser.new_page()
    page.goto((BOOK / "index.html").as_uri())
    page.wait_for_url("**/intro.html", timeout=10_000)
    page.close()


@page_of_the_book
def test_page_logs_no_error(visit, name):
    assert visit(name).errors == []


@page_of_the_book
def test_page_asks_nothing_but_tiles_from_elsewhere(visit, name):
    elsewhere = [
        (kind, url)
        for kind, url in visit(name).requests
        if urlsplit(url).scheme not in ("file", "data", "blob")
    ]
    assert [
        (kind, url)
        for kind, url in elsewhere
        if kind != "image" or not TILE_HOSTS.fullmatch(urlsplit(url).netloc)
    ] == []


@page_of_the_book
def test_page_finds_its_files(visit, name):
    assert visit(name).missing == []


@page_of_the_book
def test_every_plot_is_drawn(visit, name):
    html = (BOOK / name).read_text()
    figures = visit(name).page.evaluate(FIGURES)
    assert len(figures) >= len(roots_in(html))
    assert len(figures) == html.count('"name":"Figure"')
    assert [figure for figure in figures if not figure["canvases"] or figure["colors"] < 3] == []


def test_the_book_has_plots():
    assert sum((BOOK / name).read_text().count('"name":"Figure"') for name in PAGES) >= 6


@chapter
def test_page_shows_each_figure_that_its_cells_promise(visit, name):
    """Pictures, captions with numbers, and views: each is shown by the cell that promises it."""
    promised, page = cells_of(name), visit(f"notebooks/{name}.html").page
    shown, label = page.evaluate(CELLS), f"Fig. {int(name[:2])}."
    assert len(shown) == len(promised)
    # Figures in the text, between those of the cells, count too.
    numbers = page.evaluate(FIGURE_NUMBERS)
    assert numbers == [f"{label}{number + 1}" for number in range(len(numbers))]
    missing = []
    for cell, on_page in zip(promised, shown, strict=True):
        if (alt := alt_text(cell)) and on_page["images"] != [alt]:
            missing.append((alt, on_page))
        if caption(cell) and not on_page["caption"].strip().startswith(label):
            missing.append((caption(cell), on_page))
        if promises_view(cell) and not on_page["canvases"]:
            missing.append((cell.source, on_page))
    assert missing == []


@page_of_the_book
def test_hover_shows_a_value(visit, name):
    page = visit(name).page
    for figure in page.evaluate(FIGURES):
        if not figure["hover"]:
            continue
        left, top, width, height = figure["frame"]
        page.evaluate("top => window.scrollTo(0, top - 300)", top)
        scrolled = page.evaluate("window.scrollY")
        shown = ""
        for across, down in [(0.5, 0.5), (0.3, 0.4), (0.7, 0.6), (0.4, 0.7), (0.6, 0.3)]:
            page.mouse.move(left + across * width, top - scrolled + down * height, steps=4)
            page.wait_for_timeout(150)
            if shown := page.evaluate(TOOLTIPS):
                break
        assert re.search(r"\d", shown), f"no value shown over the figure at {figure['frame']}"
        page.mouse.move(0, 0)


@page_of_the_book
def test_no_widget_waits_for_python(visit, name):
    assert visit(name).page.evaluate(DEAD_WIDGETS) == []


def with_slider(name: str) -> bool:
    return '"name":"Slider"' in (BOOK / name).read_text()


def test_sliders_bring_other_maps(visit):
    """Each step of a slider shows a map of its own, which the page carries."""
    names = [name for name in PAGES if with_slider(name)]
    assert names, "the book has maps with a slider"
    for name in names:
        page = visit(name).page
        for handle in page.locator(".noUi-handle").all():
            handle.focus()
            seen = {page.evaluate(PIXELS)}
            for _ in range(3):
                page.keyboard.press("ArrowRight")
                page.wait_for_timeout(300)
                seen.add(page.evaluate(PIXELS))
            assert len(seen) == 4, f"{name}: {len(seen)} different maps at 4 steps"
        assert visit(name).errors == []


@page_of_the_book
def test_every_image_has_alt_text_and_is_there(visit, name):
    images = visit(name).page.evaluate(
        "[...document.images].filter(i => !i.closest('.bk-Figure'))"
        ".map(i => [i.getAttribute('alt'), i.naturalWidth, i.src.slice(0, 100)])"
    )
    assert [image for image in images if not (image[0] or "").strip() or image[1] == 0] == []


@page_of_the_book
def test_formulas_are_set(visit, name):
    assert visit(name).page.locator("mjx-merror").count() == 0


@functools.cache
def anchors(path: Path) -> set[str]:
    return set(re.findall(r'\b(?:id|name)="([^"]+)"', path.read_text()))


@page_of_the_book
def test_links_resolve(visit, name):
    links = visit(name).page.evaluate("[...document.querySelectorAll('a[href]')].map(a => a.href)")
    broken = []
    for link in sorted(set(links)):
        parts = urlsplit(link)
        if parts.scheme == "file":
            path = Path(unquote(parts.path))
            fragment = unquote(parts.fragment)
            if not path.is_file() or (
                fragment and path.suffix == ".html" and fragment not in anchors(path)
            ):
                broken.append(link)
        elif parts.scheme in ("http", "https"):
            if not re.fullmatch(r"[\w-]+(\.[\w-]+)+(:\d+)?", parts.netloc):
                broken.append(link)
        elif parts.scheme != "mailto":
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize(
    ("word", "page"),
    [("water", "00_introduction"), ("Nystrom", "glossary"), ("Nyström", "glossary")],
)
def test_search_works_from_disk(browser, word, page):
    view = Visit(browser, (BOOK / "search.html").as_uri() + f"?q={word}", [])
    view.page.wait_for_selector(f"#search-results li a[href*='{page}']", timeout=10_000)
    assert view.errors == []
    view.context.close()


@chapter
def test_solutions_are_folded_with_their_prose(visit, name):
    """No answer stands in plain view below its exercise."""
    cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells
    prose = [cell for cell in cells if cell.source.startswith("**Solution.**")]
    folds = visit(f"notebooks/{name}.html").page.evaluate(
        "[...document.querySelectorAll('p')].filter(p => p.textContent.startsWith('Solution.'))"
        ".map(p => p.closest('details.hide')?.querySelector('summary').textContent ?? '')"
    )
    assert len(folds) == len(prose)
    assert [fold for fold in folds if "Show the solution" not in fold] == []


@chapter
def test_quiz_is_answered_by_keyboard(visit, name):
    """Each answer opens and closes by a key, and says then whether it is right, and why."""
    page = visit(f"notebooks/{name}.html").page
    page.evaluate("document.querySelectorAll('details.quiz').forEach(d => d.open = false)")
    answers = page.locator("details.quiz").all()
    assert len(answers) >= 9
    for answer in answers:
        reason = answer.locator("p").first
        assert not reason.is_visible()
        answer.locator("summary").focus()
        page.keyboard.press("Enter")
        assert reason.is_visible() and reason.text_content().startswith(("Right.", "Wrong."))


def test_terms_of_the_glossary_are_linked_once_in_a_chapter():
    pages = sorted((BOOK / "notebooks").glob("*.html"))
    links = {
        path.stem: re.findall(
            r'<a class="term[^"]*" href="\.\./glossary\.html#([^"]+)"', content(path)
        )
        for path in pages
    }
    assert {name: len(found) for name, found in links.items() if len(found) < 5} == {}
    assert all(len(found) == len(set(found)) for found in links.values())
    definitions = {
        re.search(r'id="(term-[^"]+)"', item)[1]
        for item in re.split(r"</dd>", content(BOOK / "glossary.html"))
        if "<dt" in item
    }
    assert set().union(*links.values()) == definitions, "a term that no chapter uses"


def test_front_page_shows_figures_of_the_chapters():
    front = content(BOOK / "intro.html")
    figures = re.findall(
        r'href="(notebooks/\w+\.html)#([\w-]+)"><img alt="([^"]+)" src="([^"]+)"', front
    )
    assert len(figures) == 3
    for page, name, description, picture in figures:
        figure = re.search(
            rf'<figure[^>]* id="{name}">.*?</figure>', content(BOOK / page), flags=re.DOTALL
        )[0]
        assert f'alt="{description}"' in figure and f'src="../{picture}"' in figure


# --- The reference -------------------------------------------------------------------------------


def content(path: Path) -> str:
    """Return the HTML of a page without its sidebars."""
    return re.search(r"<article.*</article>", path.read_text(), flags=re.DOTALL)[0]


def objects_of_the_reference() -> list[str]:
    groups, _ = (ROOT / "reference.rst").read_text().split("\nModules\n")
    return re.findall(r"^   (\w+\.\w+)$", groups, flags=re.MULTILINE)


def test_each_object_has_a_page_with_its_signature_and_source():
    incomplete = []
    for name in objects_of_the_reference():
        page = content(BOOK / "reference" / f"cookbook_utils.{name}.html")
        has_source = "[source]" in page or 'class="sig-paren"' not in page  # a constant
        if f'id="cookbook_utils.{name}"' not in page or not has_source:
            incomplete.append(name)
    assert incomplete == []


def test_links_of_the_reference_resolve():
    broken = set()
    for path in [BOOK / "reference.html", *REFERENCE]:
        for link in re.findall(r'href="([^"]+)"', content(path)):
            parts = urlsplit(link)
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if parts.scheme or target.suffix != ".html":
                continue
            if not target.is_file() or parts.fragment and parts.fragment not in anchors(target):
                broken.add((path.name, link))
    assert broken == set()


def test_pages_of_the_reference_say_which_chapters_use_an_object():
    page = content(BOOK / "reference" / "cookbook_utils.datasets.open_catalog.html")
    assert "../notebooks/01_loading.html" in page


def test_readers_show_only_what_a_user_passes():
    pages = [path for path in REFERENCE if path.stem.endswith("Reader")]
    assert pages
    shown = {id for path in pages for id in re.findall(r'<dt[^>]* id="([^"]+)"', content(path))}
    classes = {path.stem for path in pages}
    assert classes <= shown <= classes | {f"{name}.read" for name in classes}


def test_the_reference_fits_on_a_phone(browser):
    """No page is wider than the screen: the tables of all modules, and the longest names."""
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    widths = {}
    longest = sorted(REFERENCE, key=lambda path: len(path.stem))[-8:]
    modules = [path for path in REFERENCE if path.stem.count(".") == 1]
    for path in [BOOK / "reference.html", *modules, *longest]:
        page.goto(path.as_uri())
        widths[path.stem] = page.evaluate("document.documentElement.scrollWidth")
    context.close()
    assert {name: width for name, width in widths.items() if width > 390} == {}


def test_a_build_leaves_no_pages_of_the_reference_in_the_checkout():
    assert not (ROOT / "reference").exists()


# --- What fails the build ------------------------------------------------------------------------


def build(
    folder: Path, *, code: str = "1 + 1", text: str = "Text.", repository: str = ""
) -> subprocess.CompletedProcess:
    """Build a book of one notebook with the settings and extensions of the real one."""
    for part in ("_ext", "_templates"):
        shutil.copytree(ROOT / part, folder / part)
    settings = (ROOT / "_config.yml").read_text()
    assert settings.count('  url: ""\n') == 1
    settings = settings.replace('  url: ""\n', f'  url: "{repository}"\n')
    (folder / "_config.yml").write_text(settings)
    shutil.copy(ROOT / "references.bib", folder)
    (folder / "_toc.yml").write_text("format: jb-book\nroot: chapter\n")
    cells = [nbformat.v4.new_markdown_cell(f"# Title\n\n{text}"), nbformat.v4.new_code_cell(code)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "chapter.ipynb")
    makefile = (ROOT / "Makefile").read_text()
    flags = re.search(r"jupyter-book build \. (--all .*)", makefile)[1].split()
    program = Path(sys.executable).with_name("jupyter-book")
    return subprocess.run(
        [program, "build", ".", *flags],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_sound_chapter_builds(tmp_path):
    done = build(tmp_path)
    assert done.returncode == 0, done.stdout
    assert links_to_elsewhere(tmp_path / "_build/html/chapter.html") == set()


def links_to_elsewhere(page: Path) -> set[str]:
    """Return the addresses of other sites that a page links to."""
    return set(re.findall(r'<a[^>]* href="(https?://[^"]+)"', page.read_text()))


def test_address_of_the_repository_switches_its_links_on(tmp_path):
    address = "https://github.com/someone/cookbook"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=A", "-c", "user.email=a@b"]
    for arguments in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "-m", "First"]):
        subprocess.run([*git, *arguments], check=True)
    commit = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()
    done = build(tmp_path, repository=address)
    assert done.returncode == 0, done.stdout
    page = tmp_path / "_build/html/chapter.html"
    assert {unescape(link).partition("&body=")[0] for link in links_to_elsewhere(page)} == {
        address,
        f"{address}/issues/new?title=Issue%20on%20page%20%2Fchapter.html",
        f"{address}/blob/main/chapter.ipynb?plain=1",
        "https://mybinder.org/v2/gh/someone/cookbook/main?urlpath=lab/tree/chapter.ipynb",
        f"{address}/commit/{commit}",
    }


def test_broken_cell_fails_the_build(tmp_path):
    done = build(tmp_path, code="raise RuntimeError('this cell is broken')")
    assert done.returncode != 0
    assert "RuntimeError: this cell is broken" in re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)


def test_warning_fails_the_build(tmp_path):
    done = build(tmp_path, text="A [link](nowhere.md) to a page that is not there.")
    assert done.returncode != 0
    assert "nowhere.md" in done.stdout
