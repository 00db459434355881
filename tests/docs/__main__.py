"""Writes the generated parts of all pages: `python -m tests.docs`, or `make docs`."""

from __future__ import annotations

from tests.docs.generated import pages


def main() -> None:
    """Write the pages that are out of date, and name them."""
    for page, text in pages().items():
        if page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")
            print(f"written: {page}")


if __name__ == "__main__":
    main()
