"""Encoder packages: the folder that training writes and everything else reads."""
