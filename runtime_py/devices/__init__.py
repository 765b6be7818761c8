"""Checks bundles on attached devices: an emulated Arm processor, or a board or phone that
`ssh` or `adb` reaches.

One protocol for all: a folder is pushed (the bundle, `runtime_py` as source, a request), and one JSON comes back.
"""
