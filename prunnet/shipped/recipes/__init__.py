"""Training recipes that come with prunnet."""
