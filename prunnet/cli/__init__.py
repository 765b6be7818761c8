"""The commands of this package: `prunnet-train` and `prunnet-eval`."""
