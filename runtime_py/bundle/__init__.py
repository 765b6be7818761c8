"""The bundle: manifest, probes, tolerances, and how they are written."""
