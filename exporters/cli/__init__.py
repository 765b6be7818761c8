"""The commands `prunnet-export` and `prunnet-bench`."""
