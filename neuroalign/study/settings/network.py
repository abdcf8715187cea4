"""The network of a study: one trunk that classifies, and where the heads for responses sit."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from neuroalign.study.settings.base import Description, Settings, near_match

__all__ = ["Network"]


class Network(Settings):
    """The network that every condition trains.

    Args:
        backbone: "small_resnet", a torchvision name, ``timm:NAME``, or a description of a class of neuroalign's or of a
            registered one.
        weights: Name of pretrained weights; None starts from random ones.
        layer: Layer that the head for responses reads; None means the last. With a mapping, by region.
        size: Height and width to which the layer's map is pooled; None means global.
    """

    backbone: str | Description = "small_resnet"
    weights: str | None = None
    layer: str | dict[str, str | None] | None = None
    size: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _has_weights(self) -> Network:
        if self.weights and self.backbone == "small_resnet":
            raise ValueError("'small_resnet' has no pretrained weights: leave 'weights' out, or name another backbone")
        return self

    @field_validator("backbone")
    @classmethod
    def _known(cls, value: str | Description) -> str | Description:
        if isinstance(value, str) and not value.startswith("timm:") and value != "small_resnet":
            from torchvision.models import list_models

            if value not in list_models():
                raise ValueError(
                    f"torchvision has no model {value!r}{near_match(value, ['small_resnet', *list_models()])}; names of timm "
                    "begin with 'timm:'"
                )
        return value
