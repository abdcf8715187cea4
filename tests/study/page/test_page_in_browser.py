"""The report of a study in a browser: no errors, no requests, nothing wider than the window, in both themes."""

import pytest

from tests.browser import Browser, executable

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(executable() is None, reason="no chromium, chromium-browser or google-chrome is installed"),
]
POLICY = '<meta http-equiv="Content-Security-Policy"'


@pytest.fixture(scope="module")
def browser():
    with Browser() as running:
        yield running


def faults(browser, path, width, *, dark=False):
    """What is wrong with a page: errors of the console, requests for anything but itself, parts wider than the window."""
    with browser.page(path.as_uri(), width, dark=dark) as page:
        wide, window = page.value("document.documentElement.scrollWidth"), page.value("innerWidth")
        found = [f"error: {each}" for each in page.errors]
        found += [f"request: {url}" for url in page.requests if url != path.as_uri()]
        return found + ([f"overflow: {wide} > {window}"] if wide > window else [])


def planted(tables, name, part, *, policy=True):
    """A copy of the report with a part in it, in a folder with the same files; without its policy if asked."""
    page = (tables.out / "report.html").read_text().replace("</main>", f"{part}</main>")
    path = tables.out / f"{name}.html"
    path.write_text(page if policy else page.replace(POLICY, "<meta name='none'"))
    return path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_report_has_no_fault(browser, tables, width, dark):
    assert faults(browser, tables.out / "report.html", width, dark=dark) == []


@pytest.mark.parametrize("width", [390, 1280])
def test_long_words_and_wide_tables_stay_in_their_places(browser, tables, width):
    word = "x" * 3000
    part = (
        f"<p>{word}</p><ul><li>{word}</li></ul><h3>{word}</h3><div class='scroll'><p style='width: 3000px'>-</p></div>"
    )
    assert faults(browser, planted(tables, "long", part), width) == []


def test_a_wide_part_would_be_seen(browser, tables):
    path = planted(tables, "wide", "<p style='width: 600px'>-</p>")
    (fault,) = faults(browser, path, 390)
    assert fault.startswith("overflow") and faults(browser, path, 1280) == []


def test_an_error_of_the_console_would_be_seen(browser, tables):
    path = planted(tables, "error", "<script>console.error('planted'); undefined_name()</script>", policy=False)
    found = faults(browser, path, 1280)
    assert len(found) == 2 and all(fault.startswith("error") for fault in found)


def test_an_external_picture_would_be_seen(browser, tables):
    picture = "<img alt='x' src='https://example.invalid/x.png'>"
    found = faults(browser, planted(tables, "external", picture, policy=False), 1280)
    assert "request: https://example.invalid/x.png" in found


def test_the_policy_of_the_page_keeps_scripts_and_pictures_out(browser, tables):
    part = "<script>document.title = 'changed'</script><img alt='x' src='https://example.invalid/x.png'>"
    path = planted(tables, "kept", part)
    with browser.page(path.as_uri(), 1280) as page:
        assert page.value("document.title") == "Digits (simulated subject)" and page.blocked == ["csp"]


def test_dark_mode_changes_the_ground_and_keeps_figures_on_light(browser, tables):
    colours = {}
    for dark in (False, True):
        with browser.page((tables.out / "report.html").as_uri(), 1280, dark=dark) as page:
            colours[dark] = [
                page.value(f"getComputedStyle(document.querySelector('{part}')).backgroundColor")
                for part in ("body", ".card")
            ]
    assert colours[False][0] == "rgb(255, 255, 255)" != colours[True][0]
    assert colours[False][1] == colours[True][1] == "rgb(255, 255, 255)"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_has_the_contrast_of_wcag_aa(browser, tables, dark):
    with browser.page((tables.out / "report.html").as_uri(), 1280, dark=dark) as page:
        for part in ("h1", ".facts", ".verdict p", ".reading", "figcaption", "td", "a", "summary, .name"):
            colour = _rgb(page.value(f"getComputedStyle(document.querySelector('{part}')).color"))
            ground = _rgb(page.value("getComputedStyle(document.querySelector('.verdict')).backgroundColor"))
            light, dim = sorted((_luminance(colour), _luminance(ground)), reverse=True)
            assert (light + 0.05) / (dim + 0.05) >= 4.5, part


def _rgb(text):
    return [int(float(number)) / 255 for number in text[text.index("(") + 1 : -1].split(",")[:3]]


def _luminance(rgb):
    """Relative luminance (WCAG 2.2)."""
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
