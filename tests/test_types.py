import pytest
import torch

from neuroalign.types import as_batch, check_images, unknown


def test_batches():
    images, labels = torch.rand(2, 3, 4, 4), torch.tensor([0, 1])
    assert as_batch((images, labels))["label"] is labels
    assert as_batch([images, labels])["image"] is images
    batch = {"image": images}
    assert as_batch(batch) is batch
    with pytest.raises(TypeError, match="a pair"):
        as_batch(images)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (2 * torch.rand(2, 3, 4, 4) - 1, r"found values from .*\. If they were normalised"),
        (
            255 * torch.rand(2, 3, 4, 4),
            r"found values from .*\. If they are in 0\.\.255, divide by 255\. If they were norm",
        ),
        (torch.full((2, 3, 4, 4), torch.nan), "NaN is in 2 of 2 images"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), "divide uint8 by 255"),
        (torch.rand(3, 4, 4), r"\(stimulus, channel, height, width\)"),
        (torch.rand(0, 3, 4, 4), "empty"),
    ],
)
def test_images_that_are_no_pixels(images, message):
    with pytest.raises(ValueError, match=message):
        check_images(images)


def test_rounding_is_no_error():
    low, high = check_images(torch.tensor([0.0, 1 + 5e-7]).reshape(1, 1, 1, 2))
    assert low == 0 and 1 < high < 1 + 1e-6, "told as they are"


def test_near_matches():
    assert "did you mean 'pearson'" in unknown("measure", "person", ["mse", "pearson"])
    assert "known: a, b" in unknown("thing", "zzz", ["b", "a"])


def test_names_that_begin_as_asked_come_first():
    names = [
        "davit_tiny",
        "gcvit_tiny",
        "maxvit_tiny",
        "vit_tiny_patch16_384",
        "vit_tiny_patch16_224",
        "vit_tiny_r_s16_p8_224",
    ]
    assert unknown("model", "vit_tiny", names).endswith(
        "did you mean 'vit_tiny_patch16_224' or 'vit_tiny_patch16_384' or 'vit_tiny_r_s16_p8_224'?"
    )
    assert unknown("model", "vit_tinny", names[:1]).endswith("did you mean 'davit_tiny'?")
