"""Attacks: perturbations that are searched against a model, within a budget."""

__all__: list[str] = []
