from __future__ import annotations

from runtime_py.errors import UnknownNameError


def test_a_few_known_names_are_all_listed():
    error = UnknownNameError("target", "tflight", ["tflite", "onnx"])
    assert str(error) == "unknown target 'tflight'. Did you mean 'tflite'? Known: onnx, tflite"


def test_of_many_known_names_the_nearest_are_listed():
    known = [f"resnet{depth}" for depth in range(1000)]
    error = UnknownNameError("backbone", "resnett50", known)
    assert error.nearest == "resnet50"
    assert len(error.known) == 1000
    assert "1000 names, among them resnet50, " in str(error)
    assert len(str(error)) < 200
    assert "among them resnet0, resnet1, " in str(UnknownNameError("backbone", "?", known))
