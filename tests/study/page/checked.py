"""What is wrong with the HTML of a page."""

from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "hr"}


class Checked(HTMLParser):
    """A parsed page: its headings, links, pictures and ids, and ``faults``, sentences on what is wrong.

    Args:
        page: The HTML.
        folder: Where relative links lead to; None doesn't follow them.
    """

    def __init__(self, page, folder=None):
        super().__init__()
        self.faults, self.ids, self.links, self.headings, self._open = [], [], [], [], []
        self.feed(page)
        self.close()
        self.faults += [f"<{tag}> isn't closed" for tag in self._open]
        self.faults += [f"id {name!r} stands there twice" for name in set(self.ids) if self.ids.count(name) > 1]
        inner = {link[1:] for link in self.links if link.startswith("#")}
        self.faults += [f"#{name} leads nowhere" for name in inner - set(self.ids)]
        for link in self.links:
            if not link.startswith(("#", "data:")) and not (folder and (folder / link).is_file()):
                self.faults.append(f"{link} isn't there")
        if self.headings.count(1) != 1:
            self.faults.append(f"{self.headings.count(1)} headings of the first order")
        self.faults += [f"heading {b} below heading {a}" for a, b in zip(self.headings, self.headings[1:]) if b > a + 1]

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if len(given) < len(attrs):
            self.faults.append(f"<{tag}> has an attribute twice")
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given[key] for key in ("href", "src") if key in given]
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append(int(tag[1]))
        if tag == "script" or any(name.startswith("on") for name in given):
            self.faults.append("there is a script")
        if tag == "img" and not given.get("alt"):
            self.faults.append("a picture has no alt text")
        if tag == "th" and given.get("scope") not in ("row", "col"):
            self.faults.append("a heading of a table has no scope")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> closes something else")
