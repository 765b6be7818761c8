"""Writes the pages of `docs/reference` that say what the code says: models, commands, errors. Not in the wheel."""
