"""How similarly the networks of a study tell images apart."""

from __future__ import annotations

import pandas as pd

from neuroalign.study.collecting import Finished

__all__: list[str] = []


def similarity_table(finished: Finished) -> pd.DataFrame:
    """How similarly the networks of a study tell images apart.

    Args:
        finished: The study's results.
    """
    return pd.DataFrame()
