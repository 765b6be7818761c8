"""Exact search and the metrics of retrieval."""
