"""One exporter per target, the pipeline around them, and the commands that run it."""
