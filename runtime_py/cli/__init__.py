"""The command `prunnet-check`."""
