"""Models as folders that others can load: weights, a readable configuration and a model card, here or on the Hub.

The Hub is huggingface.co. Saving to a folder and loading from one need no package for it and no network.
"""

from neuroalign.sharing.card_facts import CardFacts
from neuroalign.sharing.held_out import HeldOutCorrelation, held_out_correlation
from neuroalign.sharing.mixin import HubMixin
from neuroalign.sharing.stimuli import stimulus_hash

__all__ = ["CardFacts", "HeldOutCorrelation", "HubMixin", "held_out_correlation", "stimulus_hash"]
