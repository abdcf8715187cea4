"""Whether robustness rises along the hierarchy of regions that a study names."""

from __future__ import annotations

import pandas as pd

from neuroalign.study.collecting import Finished

__all__: list[str] = []


def trend_table(finished: Finished) -> pd.DataFrame:
    """Whether robustness rises along the hierarchy of regions that a study names.

    Args:
        finished: The study's results.
    """
    return pd.DataFrame()
