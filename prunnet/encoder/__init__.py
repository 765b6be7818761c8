"""An encoder: a backbone with a head, what may be one, and what names its space."""
