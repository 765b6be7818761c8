"""What a report says about a bundle itself: read from its manifest by the process that checks it."""

from __future__ import annotations

from dataclasses import dataclass

from runtime_py.bundle.manifest import BudgetCheck, Manifest


@dataclass(frozen=True)
class About:
    """The identity of a bundle, and what it costs.

    Attributes:
        key: Profile, target, precision and encoder, joined by "/": the same wherever the bundle lies.
        encoder: Name of the encoder package.
        space_id: Fingerprint of the embedding space.
        capacity: Fraction of the prunable parameters that is kept.
        target: Format of the artifact.
        precision: Number format of the artifact.
        profile: Name of the device profile.
        size: Input height and width in pixels.
        prunnet_version: Version that wrote the bundle.
        created: UTC time of the export, ISO 8601.
        exported_on: Runtime that measured the drift at the export.
        budgets: Each budget with the predicted and the measured cost.
        tools: Versions of the packages that made the artifact.
    """

    key: str
    encoder: str
    space_id: str
    capacity: float
    target: str
    precision: str
    profile: str
    size: tuple[int, int]
    prunnet_version: str
    created: str
    exported_on: str
    budgets: tuple[BudgetCheck, ...]
    tools: dict[str, str]

    @classmethod
    def of(cls, manifest: Manifest) -> About:
        """Take it from a manifest."""
        return cls(
            key="/".join((manifest.profile, manifest.target, manifest.precision, manifest.encoder)),
            encoder=manifest.encoder,
            space_id=manifest.space_id,
            capacity=manifest.capacity,
            target=manifest.target,
            precision=manifest.precision,
            profile=manifest.profile,
            size=manifest.takes.size,
            prunnet_version=manifest.prunnet_version,
            created=manifest.created,
            exported_on=manifest.drift.runtime,
            budgets=manifest.budgets,
            tools=manifest.tools,
        )
