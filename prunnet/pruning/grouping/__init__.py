"""Which channels go together: found from one real forward pass of the encoder.

`trace` runs the encoder and follows, by rules for each kind of operation, which channel every element of every tensor
belongs to. `resolve` puts what must go together into units and groups, `check` tries the groups on a forward pass.
"""
