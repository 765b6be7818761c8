"""Is an artifact still compatible? Figures, gates and their verdict."""
