"""Settings of the labels: what a missing tag means."""

from tagstack.configs.section import Section


class LabelSettings(Section):
    """How labels are read; each default and its reason stand in default.toml."""

    unknown_if_absent: tuple[str, ...]
