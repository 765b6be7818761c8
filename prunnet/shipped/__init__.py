"""What comes with the package: the built-in encoder and the recipes."""
