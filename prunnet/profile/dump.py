"""Writes a device profile as YAML."""

from __future__ import annotations

from io import StringIO

from prunnet.profile.schema import DeviceProfile


def dump_profile(profile: DeviceProfile) -> str:
    """Return the profile as YAML 1.2 text that `load_profile` reads back as an equal profile.

    Args:
        profile: Any valid profile.
    """
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 110
    text = StringIO()
    yaml.dump(profile.model_dump(mode="json", exclude_none=True), text)
    return text.getvalue()
