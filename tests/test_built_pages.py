"""Every built page of the documentation, as a reader sees it: at 1280 px, on a phone, and where its links lead.

``python -m sphinx -n -W docs docs/_build`` builds them; ``python -m pytest -m slow tests/test_built_pages.py`` reads them.
"""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest

from tests.browser import Browser, executable

BUILT = Path(__file__).parents[1] / "docs/_build"
WIDE, PHONE = 1280, 390

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3000),
    pytest.mark.skipif(
        not (BUILT / "index.html").exists(), reason="no built documentation: python -m sphinx -n -W docs docs/_build"
    ),
]
needs_browser = pytest.mark.skipif(executable() is None, reason="no Chromium is installed")

LOOK = """(async () => {
  await window.MathJax?.startup?.promise;
  const found = [], say = (what, element) => found.push(`${what}: ${element.textContent.trim().slice(0, 60)}`);
  for (const box of [document.documentElement, ...document.querySelectorAll(".main, .content")])
    if (box.scrollWidth > box.clientWidth) {
      found.push(`is ${box.scrollWidth - box.clientWidth} px too wide`);
      for (const inner of document.querySelectorAll("article *"))
        if (inner.getBoundingClientRect().right > innerWidth && !inner.closest("pre, .table-wrapper"))
          { say(`<${inner.localName} class="${inner.className}"> sticks out`, inner); break; }
    }
  if (innerWidth >= 1280)
    for (const code of document.querySelectorAll("pre"))
      if (code.scrollWidth > code.clientWidth) say(`code ${code.scrollWidth - code.clientWidth} px too wide`, code);
  for (const formula of document.querySelectorAll(".math"))
    if (!formula.querySelector("mjx-container") || formula.querySelector("mjx-merror")) say("a formula isn't shown", formula);
  for (const image of document.images) {
    const titled = image.closest(".sphx-glr-thumbcontainer");  // a thumbnail stands above its title
    if (!image.alt.trim() && !titled) found.push(`no text instead of ${image.src}`);
    if (image.complete && !image.naturalWidth) found.push(`can't show ${image.src}`);
  }
  return found;
})()"""


def pages():
    """All pages that a reader can come to, as paths."""
    return sorted(path for path in BUILT.rglob("*.html") if "_static" not in path.parts)


@pytest.fixture(scope="module")
def browser():
    with Browser() as started:
        yield started


@needs_browser
def test_every_page_fits_the_screen_and_the_phone(browser):
    complaints, number = [], 0
    for path in pages():
        name = path.relative_to(BUILT)
        with browser.page(path.as_uri(), WIDE) as page:
            complaints += [f"{name}, {WIDE} px: {what}" for what in page.value(LOOK)]
            page.resize(PHONE)
            complaints += [f"{name}, {PHONE} px: {what}" for what in page.value(LOOK)]
            complaints += [f"{name}: {error}" for error in page.errors]
            complaints += [f"{name} asks for {url}" for url in page.requests if not url.startswith("file:")]
        number += 1
    assert number > 100 and not complaints, "\n".join(sorted(set(complaints)))


@needs_browser
@pytest.mark.parametrize(("theme", "system"), [("auto", "dark"), ("dark", "light"), ("auto", "light")])
def test_figures_stand_on_white_in_dark_pages(browser, theme, system):
    with browser.page((BUILT / "index.html").as_uri(), WIDE, dark=system == "dark") as page:
        page.value(f"document.body.dataset.theme = '{theme}'")
        ground = page.value("getComputedStyle(document.querySelector('article img')).backgroundColor")
        text = page.value("getComputedStyle(document.querySelector('article p')).color")
        red = int(re.search(r"\d+", text)[0])
    if "dark" in (theme, system):
        assert ground == "rgb(255, 255, 255)" and red > 150
    else:
        assert red < 100


@needs_browser
def test_copied_code_has_no_prompts(browser):
    page_of = BUILT / "api/generated/neuroalign.NeuralAlignmentLoss.html"
    with browser.page(page_of.as_uri(), WIDE) as page:
        shown = page.value("document.querySelector('.highlight pre').innerText")
        copied = page.value(
            """new Promise(done => {
                document.addEventListener("copy", () => done(document.activeElement.value), {once: true});
                document.querySelector("button.copybtn").click();
                setTimeout(() => done(null), 5000);
            })"""
        )
    assert ">>> " in shown and "NeuralAlignmentLoss(" in copied and ">>>" not in copied
    exec(copied, {})  # it begins with its imports


@needs_browser
@pytest.mark.parametrize(
    "name",
    ["robustness_curve", "NSDDataModule", "predicted_responses", "trainable_parameters", "soft_matching", "PGD", "W&B"],
)
def test_the_search_finds(browser, name):
    with browser.page((BUILT / "search.html").as_uri() + f"?q={quote(name)}", WIDE) as page:
        found = page.wait_for("document.querySelector('#search-results ul.search li a')?.parentElement.innerText")
        number = page.value("document.querySelectorAll('#search-results ul.search li').length")
    assert number >= 1 and found


class _Links(HTMLParser):
    """Addresses that a page links to, and the places in it that a link can lead to."""

    def __init__(self, text):
        super().__init__()
        self.links, self.places = set(), {"", "top"}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.places |= {attrs[key] for key in ("id", "name") if attrs.get(key)}
        for key in ("href", "src"):
            if attrs.get(key):
                self.links.add(attrs[key])


def test_every_link_leads_somewhere():
    read = {path: _Links(path.read_text()) for path in pages()}
    complaints, number = [], 0
    for path, found in read.items():
        for link in found.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            number += 1
            if not target.exists():
                complaints.append(f"{path.relative_to(BUILT)} links to {link}, which is not there")
            elif target in read and unquote(parts.fragment) not in read[target].places:
                complaints.append(f"{path.relative_to(BUILT)} links to {link}: no such place on that page")
    assert number > 10_000 and not complaints, "\n".join(sorted(complaints))


def test_every_page_says_what_it_is():
    titles, described = {}, 0
    for path in pages():
        text = path.read_text()
        title = re.search(r"<title>(.*?)</title>", text, re.DOTALL)
        assert title and title[1].strip(), path
        titles.setdefault(title[1], []).append(path)
        described += '<meta name="description"' in text
    assert described > 200
    assert all("neuroalign" in title for title in titles)
