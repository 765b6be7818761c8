"""Encoder packages that come with prunnet."""
