import pytest
import torch

from neuroalign.config import DescriptionError
from neuroalign.study.augmentations import augmentation

FLIP = {"class_path": "torchvision.transforms.v2.RandomHorizontalFlip", "init_args": {"p": 1.0}}


def test_transforms_of_torchvision_may_hold_others():
    crop = {"class_path": "torchvision.transforms.v2.CenterCrop", "init_args": {"size": 4}}
    made = augmentation({"class_path": "torchvision.transforms.v2.Compose", "init_args": {"transforms": [crop, FLIP]}})
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(made(images), images[:, :, 2:6, 2:6].flip(3))


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"class_path": "torchvision.transforms.v2.RandomHorizontalFlop"}, "RandomHorizontalFlip"),
        ({"class_path": "torchvision.transforms.v2.CenterCrop"}, "size"),
        ({"class_path": "torchvision.datasets.CIFAR10", "init_args": {"root": "."}}, "no class of neuroalign's"),
        ({"class_path": "neuroalign.data.ShiftFlip", "init_args": {"shfit": 2}}, "no argument 'shfit'"),
        ({"class_path": "neuroalign.data.Responses", "init_args": {}}, "not the name of a module"),
    ],
)
def test_what_is_refused(described, message):
    with pytest.raises(DescriptionError, match=message):
        augmentation(described)
