"""Whether geometry predicts robustness across the networks of a study."""

from __future__ import annotations

import pandas as pd

from neuroalign.study.collecting import Finished

__all__: list[str] = []


def geometry_robustness_table(finished: Finished) -> pd.DataFrame:
    """Whether geometry predicts robustness across the networks of a study.

    Args:
        finished: The study's results.
    """
    return pd.DataFrame()
