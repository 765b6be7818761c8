"""Many bundles: jobs, the processes that do them, and the report."""
