"""Reading the pages about training as a browser would: are they sound, and sufficient alone?"""

import re
from html.parser import HTMLParser

#: Tags that may stand in a page, though they could load something from elsewhere, only like this.
ALLOWED = {"script": [("type", "application/json"), ("id", "run")]}


class PageReader(HTMLParser):
    """Collects tags and text and checks that tags close in order."""

    VOID = frozenset({"meta", "br", "link", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        assert tag not in ALLOWED or attrs == ALLOWED[tag]

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    def count(self, tag: str) -> int:
        return sum(seen == tag for seen, _ in self.seen)

    @property
    def text(self) -> str:
        """What is to be read, white space made one."""
        return " ".join(" ".join(self.texts).split())


def read_page(page: str) -> PageReader:
    """The page, once it is known to be well-formed, self-contained and told to who cannot see."""
    reader = PageReader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    assert not re.search(r"<(link|img|iframe|object|embed)\b|@import", page)
    assert not re.search(r"(src|href|action)=\"(?!#)", page)
    assert not re.search(r"url\((?!#)", page)
    ids = [attributes["id"] for _, attributes in reader.seen if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for reference in re.findall(r"(?:href=\"|url\()#([\w.-]+)", page):
        assert reference in ids
    for tag, attributes in reader.seen:
        assert tag != "svg" or (attributes["role"] == "img" and attributes["aria-label"])
        assert tag != "th" or attributes["scope"] in ("row", "col")
    assert ("html", {"lang": "en"}) in reader.seen
    return reader
