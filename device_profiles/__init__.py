"""The shipped device profiles: YAML, no code."""
