"""A recipe: what is trained, on what, how."""
