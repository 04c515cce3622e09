"""The book is found in files of all years, and nothing of it is lost."""

import pytest

from training.fetch.book_facts import BookFacts, read_facts
from training.fetch.gutenberg_text import take_apart
from training.fetch.text_encoding import decode_text

BOOK = (
    "A WALK TO THE HILLS\n\nby Nobody Atall\n\n\nCHAPTER I\n\nWe left at dawn.\nIt was cold.\n\n"
    + ("The road went up, and we with it.\n\n" * 40)
)
SMALL_PRINT = (
    "**The Legal Small Print**\n\n***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***\n"
    "Lawyers want this here.\n\n"
)

FORMS = {
    "2024": (
        "The Project Gutenberg eBook of A Walk\n\nTitle: A Walk\n\n"
        "*** START OF THE PROJECT GUTENBERG EBOOK A WALK ***\n\n",
        "*** END OF THE PROJECT GUTENBERG EBOOK A WALK ***\n\n\nUpdated editions.\n",
    ),
    "2008, with the makers": (
        "The Project Gutenberg EBook of A Walk, by Nobody\n\n"
        "*** START OF THIS PROJECT GUTENBERG EBOOK A WALK ***\n\n\n\n"
        "Produced by Some One and the Online Distributed\nProofreading Team at http://www.pgdp.net\n"
        "\n\n\n",
        "\n\nEnd of the Project Gutenberg EBook of A Walk, by Nobody\n\n"
        "*** END OF THIS PROJECT GUTENBERG EBOOK A WALK ***\n\n***** This file is named *****\n",
    ),
    "a title over two lines": (
        "Header\n***START OF THE PROJECT GUTENBERG EBOOK A WALK TO THE\nHILLS***\n\n\n"
        "E-text prepared by Some One\n\n\n\n",
        "\n***END OF THE PROJECT GUTENBERG EBOOK A WALK TO THE\nHILLS***\n\n\n******* This file\n",
    ),
    "2003, small print at the end": (
        "Project Gutenberg's A Walk, by Nobody\n\n"
        "*** START OF THE PROJECT GUTENBERG EBOOK, A WALK ***\n\n\n"
        "This eBook was produced by Some One <one@example.org>\n\n",
        "\n\nEnd of Project Gutenberg's A Walk, by Nobody\n\n"
        + SMALL_PRINT
        + "*END THE SMALL PRINT! FOR PUBLIC DOMAIN EBOOKS*Ver.02/11/02*END*\n",
    ),
    "1998": (
        "The Project Gutenberg Etext of A Walk, by Nobody\n\nJune, 1998  [Etext #42]\n\n"
        + SMALL_PRINT
        + "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n\n\n\n"
        "This etext was prepared by Some One, one@example.org\nfrom the edition of 1901.\n\n\n",
        "\n\n\n\nEnd of The Project Gutenberg Etext of A Walk, by Nobody\n",
    ),
    "1992, without small print": (
        "The Project Gutenberg Etext of A Walk, by Nobody\n\nScanned and proofed by Some One\n\n",
        "\n\nThis is the end of the Project Gutenberg Etext of A Walk\n",
    ),
    "notes of the transcriber": (
        "*** START OF THE PROJECT GUTENBERG EBOOK A WALK ***\n\n"
        "Transcriber's Note:\n\n    Spelling was kept.\n\n\n",
        "\n\n\nTranscriber’s Notes\n\nPage 7: “tha” is now “the”.\n\nPage 9: likewise.\n"
        "*** END OF THE PROJECT GUTENBERG EBOOK A WALK ***\n",
    ),
}


@pytest.mark.parametrize("before, after", FORMS.values(), ids=FORMS)
def test_header_licence_and_notes_go_and_the_book_stays(before, after):
    parts = take_apart(before + BOOK + after)
    assert parts.book == BOOK.strip("\n") + "\n"


def test_a_bracketed_note_goes_wherever_it_stands():
    before, after = FORMS["2024"]
    noted = BOOK.replace(
        "It was cold.\n", "It was cold.\n\n[Transcriber's Note: sic.\nReally.]\n", 1
    )
    assert take_apart(before + noted + after).book == BOOK.strip("\n") + "\n"


def test_a_collection_of_books_keeps_all_of_them():
    before, after = FORMS["2008, with the makers"]
    inner = "\n\nEnd of the Project Gutenberg EBook of Part One, by Nobody\n\n\nPART TWO\n\n" + BOOK
    book = take_apart(before + BOOK + inner + after).book
    assert book.count("We left at dawn.") == 2


def test_text_of_another_origin_is_none_of_this():
    assert take_apart(BOOK) is None
    assert take_apart("A review of what Project Gutenberg does.\n" + BOOK) is None


def test_prose_about_making_is_kept_behind_the_first_pages():
    before, after = FORMS["2024"]
    book = BOOK + "Produced by hand, the cloth was dear.\n\n" + BOOK
    assert take_apart(before + book + after).book == book.strip("\n") + "\n"


@pytest.mark.parametrize(
    ("header", "facts"),
    [
        (
            "Title: A Walk to the\n       Hills\n\nAuthor: Nobody Atall\n\n"
            "Release Date: June 1, 2003 [EBook #42]\nLast updated: 2010\n",
            BookFacts("A Walk to the Hills", "Nobody Atall", "June 1, 2003"),
        ),
        (
            "**The Project Gutenberg Etext of A Walk, by Nobody Atall**\n\n"
            "June, 1998  [Etext #42]\n",
            BookFacts("A Walk", "Nobody Atall", "June, 1998"),
        ),
        ("Nothing of the kind", BookFacts()),
    ],
)
def test_title_author_and_date(header, facts):
    assert read_facts(header) == facts


@pytest.mark.parametrize(
    ("content", "charset", "text"),
    [
        ("naïve — “yes”\r\nno\rend".encode(), "iso-8859-1", "naïve — “yes”\nno\nend"),
        ("\ufeffnaïve".encode(), None, "naïve"),
        ("naïve".encode("utf-16"), None, "naïve"),
        ("naïve".encode("latin-1"), None, "naïve"),
        ("“naïve”".encode("cp1252"), "iso-8859-1", "“naïve”"),
        (b"a\x81b", None, "a\x81b"),
        ("Тихо".encode("koi8-r"), "koi8-r", "Тихо"),
        ("Character set encoding: ISO-8859-2\n\nžena".encode("iso-8859-2"), "latin-1", None),
        ("café".encode("latin-1"), "no-such-encoding", "café"),
    ],
)
def test_usual_encodings_are_read(content, charset, text):
    expected = "Character set encoding: ISO-8859-2\n\nžena" if text is None else text
    assert decode_text(content, charset, "1") == expected
