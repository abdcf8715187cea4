"""The conditions of a study as all its figures show them: their order, their groups and their styles."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

from neuroalign.plot.styles import COLORS, DASHES, MARKERS, Style
from neuroalign.study.methods import controls_of
from neuroalign.study.runs import label_of
from neuroalign.study.study import Study

__all__: list[str] = []

GUIDED, CONTROLS, ROBUST, UNGUIDED = "guided networks", "controls", "robust training", "no guidance"
_FILLED = [marker for marker in MARKERS if marker != "X"]  # the cross is that of no guidance
_FIRST_MARKER = {GUIDED: 0, CONTROLS: 4, ROBUST: 7}
MOST_LINES = 7  # and the network without guidance: more lines than that can't be told apart in one panel


@dataclass(frozen=True)
class Conditions:
    """The conditions of a study in its figures.

    Args:
        group_of: By label (condition and region), in the order of the study: one of "guided networks", "controls",
            "robust training", and "no guidance" for what stands in every panel.
        condition_of: By label, the condition without its region.
        controls: Labels of conditions that aren't guided by a brain.
        origin: A word on simulated subjects and fast runs for titles and captions; may be empty.
    """

    group_of: Mapping[str, str]
    condition_of: Mapping[str, str]
    controls: frozenset[str]
    origin: str = ""

    @classmethod
    def of(cls, study: Study, origin: str = "") -> Conditions:
        """Those of a study."""
        controls = controls_of(study)
        group_of, condition_of = {}, {}
        for name in study.conditions:
            robust = study.conditions[name].robust_training is not None
            for region in study.regions_of(name):
                label = label_of(name, region)
                plain = CONTROLS if label in controls else GUIDED
                unguided = study.kind_of(name) == "none" and not robust
                group_of[label] = ROBUST if robust else UNGUIDED if unguided else plain
                condition_of[label] = name
        return cls(group_of, condition_of, frozenset(controls), origin)

    @cached_property
    def styles(self) -> dict[str, Style]:
        """The line and mark of every label, the same in all figures.

        Colours start again in each group, markers don't, so that no pair of both occurs twice. Controls are dashed.
        """
        found: dict[str, Style] = {}
        places = dict.fromkeys((GUIDED, CONTROLS, ROBUST, UNGUIDED), 0)
        for label, group in self.group_of.items():
            place = places[group]
            places[group] += 1
            if group == UNGUIDED:
                found[label] = {"color": "black", "linestyle": "--", "marker": "x"}
                continue
            dashes = DASHES[place % len(DASHES)] if label in self.controls else "-"
            marker = _FILLED[(place + _FIRST_MARKER[group]) % len(_FILLED)]
            found[label] = {"color": COLORS[place % len(COLORS)], "linestyle": dashes, "marker": marker}
        return found

    def number(self, label: str) -> int:
        """The number that stands for a label where its name has no room, from 1."""
        return list(self.group_of).index(label) + 1

    def ordered(self, shown: Collection[str]) -> list[str]:
        """Labels in the order of the study."""
        return [label for label in self.group_of if label in shown]

    def panels(self, shown: Collection[str]) -> dict[str, list[str]]:
        """Labels by the title of their panel, at most eight each: guided networks, controls, robust training.

        Networks without guidance stand in every panel, so that each can be read alone. What is too much for one panel goes
        to several of about the same size; the regions of one condition stay together where they can.

        Args:
            shown: Labels that have numbers.
        """
        always = [label for label in self.ordered(shown) if self.group_of[label] == UNGUIDED]
        found: dict[str, list[str]] = {}
        for group in (GUIDED, CONTROLS, ROBUST):
            members = [label for label in self.ordered(shown) if self.group_of[label] == group]
            parts = self._parts(members, max(1, MOST_LINES + 1 - len(always)))
            for number, part in enumerate(parts, start=1):
                found[f"{group} ({number} of {len(parts)})" if len(parts) > 1 else group] = [*always, *part]
        return found or {UNGUIDED: always}

    def _parts(self, labels: list[str], most: int) -> list[list[str]]:
        if not labels:
            return []
        aim = math.ceil(len(labels) / math.ceil(len(labels) / most))
        by_condition: dict[str, list[str]] = {}
        for label in labels:
            by_condition.setdefault(self.condition_of[label], []).append(label)
        parts: list[list[str]] = [[]]
        for members in by_condition.values():
            for start in range(0, len(members), most):
                piece = members[start : start + most]
                full = len(parts[-1]) >= aim or len(parts[-1]) + len(piece) > most
                if parts[-1] and full:
                    parts.append([])
                parts[-1].extend(piece)
        return parts
