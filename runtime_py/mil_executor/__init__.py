"""Reads a saved Core ML ML Program back and executes it operation by operation, on any system.

`package` and `program` need numpy and protobuf only; `executor` and `ops` import torch.
It proves what the file says, not what the Neural Engine computes.
"""
