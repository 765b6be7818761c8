"""Tiny trees in the official layouts: real pictures of a few pixels."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture(file: Path, width: int = 9, height: int = 7, shade: int = 100) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((height, width, 3), shade, np.uint8)
    pixels[:, : width // 2, 0] = 255 - shade
    Image.fromarray(pixels).save(file)


def pictures(root: Path, names: Iterable[str]) -> None:
    for number, name in enumerate(names):
        picture(root / name, shade=10 + 7 * number % 200)


def text(file: Path, lines: Iterable[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def landmark(image: str) -> str:
    return f"{image[0]}/{image[1]}/{image[2]}/{image}.jpg"


def gldv2(root: Path, *, train: bool = True) -> Path:
    index = [f"{number:03x}{'a' * 13}" for number in range(6)]
    test = [f"{number:03x}{'b' * 13}" for number in range(5)]
    pictures(root / "index", map(landmark, index))
    pictures(root / "test", map(landmark, test[:4]))
    text(root / "index" / "index.csv", ["id", *index])
    text(
        root / "test" / "retrieval_solution_v2.1.csv",
        [
            "id,images,Usage",
            f"{test[0]},{index[1]} {index[3]},Private",
            f"{test[1]},{index[0]},Public",
            f"{test[2]},,Private",
            f"{test[3]},{index[5]},Private",
            f"{test[4]},None,Ignored",
        ],
    )
    if train:
        clean = [f"{number:03x}{'c' * 13}" for number in range(3)]
        pictures(root / "train", map(landmark, clean))
        text(
            root / "train" / "train_clean.csv",
            ["landmark_id,images", f"17,{clean[0]} {clean[2]}", f"203093,{clean[1]}"],
        )
    return root


REVISITED: dict[str, Any] = {
    "imlist": ["a_000001", "a_000002", "b_000001", "b_000002", "c_000001"],
    "qimlist": ["q_000001", "q_000002"],
    "gnd": [
        {"bbx": [1.0, 2.0, 7.0, 6.0], "easy": [0], "hard": [2, 3], "junk": [1]},
        {"bbx": [0.0, 0.0, 4.0, 4.0], "easy": [4], "hard": [], "junk": []},
    ],
}


def revisited(root: Path, name: str = "roxford5k", truth: Any = REVISITED, protocol: int = 2) -> Path:
    pictures(root / "jpg", [f"{n}.jpg" for n in REVISITED["imlist"] + REVISITED["qimlist"]])
    (root / f"gnd_{name}.pkl").write_bytes(pickle.dumps(truth, protocol=protocol))
    return root


def inshop(root: Path) -> Path:
    listed = [
        ("img/WOMEN/Dresses/id_00000001/01_1_front.jpg", "id_00000001", "train"),
        ("img/WOMEN/Dresses/id_00000001/01_2_side.jpg", "id_00000001", "train"),
        ("img/MEN/Denim/id_00000009/01_1_front.jpg", "id_00000009", "train"),
        ("img/WOMEN/Tees/id_00000002/02_1_front.jpg", "id_00000002", "query"),
        ("img/WOMEN/Tees/id_00000004/02_1_front.jpg", "id_00000004", "query"),
        ("img/WOMEN/Tees/id_00000002/02_3_back.jpg", "id_00000002", "gallery"),
        ("img/WOMEN/Tees/id_00000005/02_3_back.jpg", "id_00000005", "gallery"),
        ("img/WOMEN/Tees/id_00000004/02_3_back.jpg", "id_00000004", "gallery"),
    ]
    pictures(root / "Img", [name for name, _, _ in listed])
    text(
        root / "Eval" / "list_eval_partition.txt",
        [str(len(listed)), "image_name item_id evaluation_status", *("  ".join(row) for row in listed)],
    )
    return root


def veri776(root: Path) -> Path:
    lists = {
        "query": ["0002_c002_00030600_0.jpg", "0005_c001_00000010_0.jpg"],
        "test": [
            "0002_c002_00030600_0.jpg",
            "0002_c002_00030605_0.jpg",
            "0002_c003_00030700_1.jpg",
            "0005_c001_00000010_0.jpg",
            "0007_c002_00000010_0.jpg",
        ],
        "train": ["0001_c001_00000001_0.jpg", "0003_c020_00000001_0.jpg"],
    }
    for part, names in lists.items():
        pictures(root / f"image_{part}", names)
        text(root / f"name_{part}.txt", names)
    return root


def sop(root: Path) -> Path:
    header = "image_id class_id super_class_id path"
    train = ["1 1 1 bicycle_final/1_0.JPG", "2 1 1 bicycle_final/1_1.JPG", "3 2 5 fan_final/2_0.JPG"]
    test = [
        "4 11319 1 bicycle_final/9_0.JPG",
        "5 11320 5 fan_final/8_0.JPG",
        "6 11319 1 bicycle_final/9_1.JPG",
        "7 11321 5 fan_final/7_0.JPG",
    ]
    for part, lines in (("train", train), ("test", test)):
        text(root / f"Ebay_{part}.txt", [header, *lines])
        pictures(root, [line.split()[-1] for line in lines])
    return root


def cub200(root: Path) -> Path:
    birds = [1, 1, 100, 101, 101, 200, 150]
    names = [f"{bird:03d}.Bird/Bird_{number:04d}.jpg" for number, bird in enumerate(birds, start=1)]
    pictures(root / "images", names)
    text(root / "images.txt", [f"{number} {name}" for number, name in enumerate(names, start=1)])
    text(root / "image_class_labels.txt", [f"{number} {bird}" for number, bird in enumerate(birds, start=1)])
    return root


def rparis6k(root: Path) -> Path:
    return revisited(root, "rparis6k")


TREES = {
    "cub200": cub200,
    "gldv2": gldv2,
    "inshop": inshop,
    "roxford5k": revisited,
    "rparis6k": rparis6k,
    "sop": sop,
    "veri776": veri776,
}
