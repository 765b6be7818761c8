"""`python -m docs.generate`: write the generated pages of `docs/reference`."""

from docs.generate.pages import FOLDER, PAGES, page

for name in PAGES:
    (FOLDER / name).write_text(page(name), encoding="utf-8")
    print(f"wrote {FOLDER / name}")
