"""YAML with line numbers, checked against a model: recipes and profiles alike."""
