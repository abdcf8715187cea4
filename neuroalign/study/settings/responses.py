"""Where the responses of a study come from: simulated, NSD, recordings in files, or dissimilarities."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from neuroalign.study.settings.base import Path, Settings
from neuroalign.study.settings.training import PredictorTraining, TeacherTraining

__all__ = ["DissimilarityResponses", "HeldOut", "NSDResponses", "Predictors", "RecordedResponses", "SimulatedResponses"]

Region = Annotated[str, Field(min_length=1)]


class SimulatedResponses(Settings):
    """A simulated subject that sees noisy, shifted copies of the images set apart for it (``images.num_neural``).

    Args:
        source: ``"simulated"``.
        subject: Name of the subject.
        regions: Regions, of V1, V4 and TO.
        num_voxels: Voxels per region.
        copies: Copies of each training image that the subject sees.
        val_copies: Copies of each validation image.
        shift: Largest shift of a copy in pixels.
        stimulus_noise: Largest standard deviation of the pixel noise on a copy.
        teacher: Training of the network whose features are the subject's object level (TO).
        teacher_noise: Standard deviation of the pixel noise in the training of that network.
    """

    source: Literal["simulated"]
    subject: str = "simulated"
    regions: list[Region] = ["V1", "V4", "TO"]
    num_voxels: int = Field(80, ge=2)
    copies: int = Field(4, ge=1)
    val_copies: int = Field(6, ge=1)
    shift: int = Field(1, ge=0)
    stimulus_noise: float = Field(0.3, ge=0)
    teacher: TeacherTraining = TeacherTraining()
    teacher_noise: float = Field(0.15, ge=0)


class NSDResponses(Settings):
    """The Natural Scenes Dataset.

    Args:
        source: ``"nsd"``.
        root: Folder or URL that holds ``nsddata``, ``nsddata_betas`` and ``nsddata_stimuli``.
        subjects: Numbers of subjects, 1 to 8.
        regions: Regions by the names of :func:`neuroalign.read_nsd`.
        betas: Version of the betas.
        space: Volume or surface space.
        sessions: Sessions, from 1; None means all that are there.
        split: Validation images.
        zscore_sessions: Whether to z-score within sessions.
        pca_variance: Share of variance of the principal components that replace voxels; None keeps voxels.
        image_size: Height and width in pixels of the images that predictors see.
    """

    source: Literal["nsd"]
    root: Path
    subjects: list[Annotated[int, Field(ge=1, le=8)]] = Field([1], min_length=1)
    regions: list[Region] = Field(min_length=1)
    betas: str = "betas_fithrf_GLMdenoise_RR"
    space: str = "func1pt8mm"
    sessions: list[int] | None = None
    split: str = "shared1000"
    zscore_sessions: bool = True
    pca_variance: float | None = Field(None, gt=0, le=1)
    image_size: int = Field(224, ge=4)


class HeldOut(Settings):
    """Which stimuli of a recording are for validation.

    Args:
        number: Number of stimuli, drawn at random, or of groups.
        pattern: A regular expression whose first group tells from an image's name to which group it belongs, such as the
            movie of a frame: the first ``number`` groups in alphabetical order are held out.
        seed: Seed of the draw.
    """

    number: int = Field(ge=1)
    pattern: str | None = None
    seed: int = 0


class RecordedResponses(Settings):
    """Responses of one region in a file: an array (.npy, .npz, .mat, .h5, .csv, ...) or a file of extracted responses.

    Args:
        source: ``"recording"``.
        subject: Name of the subject.
        region: Name of the region.
        file: The file, as :func:`neuroalign.read_recording` reads it, or one of :meth:`neuroalign.Responses.save`.
        key: Name of the array in a file with several.
        axes: What the array's axes are, such as ``"voxel stimulus repeat"``.
        averaged: Whether the values are averages over repeats.
        missing: Value that stands for a missing response; None means NaN only.
        images: Zip file, folder or array (.npy, .npz) of the images in the order of the stimuli (files: of their names).
        names: Name of the array in ``file`` that holds the names of the images; None takes all images in alphabetical order.
        crop: Height and width in pixels of the middle of the images that is kept; None keeps all.
        image_size: Height and width in pixels of the images that predictors see.
        held_out: Stimuli for validation.
        noise_ceiling: Noise ceiling of all voxels, 0 to 1, where it is known from elsewhere; None estimates it from
            repeats, where there are any.
        noise_ceiling_from: Where that number comes from, for the report.
    """

    source: Literal["recording"]
    subject: str = "recorded"
    region: Region
    file: Path
    key: str | None = None
    axes: str = "stimulus voxel"
    averaged: bool = False
    missing: float | None = None
    images: Path
    names: str | None = None
    crop: int | None = Field(None, ge=1)
    image_size: int = Field(32, ge=4)
    held_out: HeldOut
    noise_ceiling: float | None = Field(None, ge=0, le=1)
    noise_ceiling_from: str = ""

    @property
    def regions(self) -> list[str]:
        """Its one region."""
        return [self.region]


class DissimilarityResponses(Settings):
    """Representational dissimilarities of regions, for RDM guidance.

    Args:
        source: ``"rdms"``.
        subject: Name of the subject or group.
        file: An .npz file with one array per region: (stimulus, stimulus), or its upper triangle as a vector; with a first
            axis of subjects, these are averaged.
        arrays: Name of the array in the file by region.
        images: Zip file, folder or array of the images in the order of the stimuli (files: of their names).
        image_size: Height and width in pixels of these images for the networks.
    """

    source: Literal["rdms"]
    subject: str = "group"
    file: Path
    arrays: dict[Region, str] = Field(min_length=1)
    images: Path
    image_size: int = Field(32, ge=4)

    @property
    def regions(self) -> list[str]:
        """Names of the regions."""
        return list(self.arrays)


Responses = Annotated[
    SimulatedResponses | NSDResponses | RecordedResponses | DissimilarityResponses, Field(discriminator="source")
]


def subjects_of(source: SimulatedResponses | NSDResponses | RecordedResponses | DissimilarityResponses) -> list[str]:
    """Names of a source's subjects, as the tables have them.

    Example:
        >>> subjects_of(NSDResponses(source="nsd", root="nsd", subjects=[1, 2], regions=["V1"]))
        ['subj01', 'subj02']
    """
    if isinstance(source, NSDResponses):
        return [f"subj{number:02d}" for number in source.subjects]
    return [source.subject]


class Predictors(Settings):
    """How predictors of responses are fitted.

    Args:
        kind: ``"network"`` (trained end to end), ``"ridge"`` (on fixed features) or ``"file"``.
        backbone: Backbone of the network: "small_resnet", a torchvision name, ``timm:NAME``.
        layer: Layer that the readout reads; None means the last.
        size: Height and width to which the layer's map is pooled.
        weights: Name of pretrained weights of the backbone; None trains from random ones.
        training: Training of the network.
        grid: Grid of the ridge's features.
        files: Saved predictors by region, for kind ``"file"``.
        per_seed: Whether each seed has a predictor of its own; where images or responses differ between seeds they have one
            in any case.
    """

    kind: Literal["network", "ridge", "file"] = "network"
    backbone: str = "small_resnet"
    layer: str | None = None
    size: int | None = Field(None, ge=1)
    weights: str | None = None
    training: PredictorTraining = PredictorTraining()
    grid: int = Field(4, ge=1)
    files: dict[Region, Path] | None = None
    per_seed: bool = False

    @model_validator(mode="after")
    def _complete(self) -> Predictors:
        if (self.kind == "file") != (self.files is not None):
            raise ValueError("'files' belongs to kind 'file', which needs it")
        if self.weights and self.backbone == "small_resnet":
            raise ValueError("'small_resnet' has no pretrained weights: leave 'weights' out, or name another backbone")
        return self
