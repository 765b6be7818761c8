"""Time the solver on the built-in kind of encoder: every shipped profile and target, traced cold and warm.

python -m benchmarks.solve_speed
"""

from __future__ import annotations

import argparse
import time

from prunnet.encoder.encoder import Encoder
from prunnet.errors import InfeasibleError
from prunnet.profile import load_profiles
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.solver import solve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--channels", type=int, nargs="*", default=[28, 56, 112, 208])
    parser.add_argument("--side", type=int, default=48)
    parser.add_argument("--floor", type=float, default=0.2)
    arguments = parser.parse_args()
    options = {"channels": arguments.channels} if arguments.channels else {}
    side = arguments.side
    encoder = Encoder.from_timm(arguments.backbone, image_size=(side, side), options=options)
    prunable = PrunableEncoder(encoder.eval()).eval()
    profiles = load_profiles("*")
    for pass_name in ("cold", "warm"):
        for profile in profiles:
            for target in profile.targets:
                start = time.perf_counter()
                try:
                    plan = solve(prunable, profile, target, min_capacity=arguments.floor)
                    answer = f"capacity {plan.capacity:.3f}  binding {plan.binding}"
                except InfeasibleError as error:
                    answer = f"infeasible: {error.budget}"
                took = (time.perf_counter() - start) * 1e3
                print(f"{pass_name:5} {profile.name:16} {target:11} {took:7.1f} ms  {answer}")


if __name__ == "__main__":
    main()
