"""The targets: a table of them, what they share, and a folder for each."""
