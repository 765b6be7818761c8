"""Core ML programs: what the targets that write them share."""
