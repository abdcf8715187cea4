"""``neuroalign export``: a trained network for other programs."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroalign.commands.inputs import CKPT_HELP, open_model
from neuroalign.commands.own_classes import add_allow
from neuroalign.commands.parser import at_least, examples
from neuroalign.files import readable_size

if TYPE_CHECKING:
    from torch import nn

__all__: list[str] = []

_FORMS = ("torch", "onnx", "timm", "brainscore")
_GOES_WITH = {
    "batch_size": ("torch", "onnx"),
    "image_size": ("torch", "onnx"),
    "class_names": ("torch", "onnx", "timm"),
    "with_classifier": ("timm",),
    "name": ("brainscore",),
    "region_layers": ("brainscore",),
    "visual_degrees": ("brainscore",),
}
"""The forms that an option is for."""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "export",
        help="a trained network for other programs: torch.export, ONNX, timm, Brain-Score",
        description="Write a trained network for other programs, as a plain classifier with its normalisation inside. Its "
        "outputs are compared with the network's before anything gets its name.",
        epilog=examples(
            "neuroalign export --ckpt guided.ckpt --to onnx --out guided.onnx",
            "neuroalign export --ckpt guided.ckpt --to torch --out guided.pt2",
            "neuroalign export --ckpt guided.ckpt --to timm --out guided_timm",
            "neuroalign export --ckpt guided.ckpt --to brainscore --out guided_v4",
        ),
    )
    parser.add_argument("--ckpt", required=True, help=CKPT_HELP)
    add_allow(parser)
    parser.add_argument("--to", required=True, choices=_FORMS, metavar=f"{{{','.join(_FORMS)}}}", help="a program "
                        "of torch.export, an ONNX file, a folder that timm loads, or a plugin for Brain-Score")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="file ending in .pt2 or .onnx; for timm and brainscore a "
                        "folder, empty or absent")  # fmt: skip
    parser.add_argument("--batch-size", type=at_least(1), help="torch, onnx: the only number of images that can be given "
                        "at once (default: any)")  # fmt: skip
    parser.add_argument("--image-size", type=at_least(1), help="torch, onnx: height and width of images, for networks that "
                        "don't say theirs (default: 224)")  # fmt: skip
    parser.add_argument("--class-names", type=Path, help="torch, onnx, timm: text file of the names of classes, one a line, "
                        "in the order of the labels")  # fmt: skip
    parser.add_argument("--with-classifier", action="store_true", help="timm: logits of the classifier, not features")
    parser.add_argument("--name", help="brainscore: start of the model's identifier (default: the folder's name)")
    parser.add_argument("--region-layers", nargs="+", metavar="REGION=LAYER", help="brainscore: layers of V1, V2, V4 and IT, "
                        "such as IT=layer4 (default: those that the heads read)")  # fmt: skip
    parser.add_argument(
        "--visual-degrees", type=float, help="brainscore: visual angle that an image spans (default: 8)"
    )


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    for option, forms in _GOES_WITH.items():
        if getattr(args, option) not in (None, False) and args.to not in forms:
            raise ValueError(
                f"--{option.replace('_', '-')} goes with --to {' or '.join(forms)}, not with --to {args.to}"
            )
    names = None if args.class_names is None else _lines(args.class_names)
    if args.to in ("torch", "onnx"):
        _to_file(args, _opened(args.ckpt, args.allow), names)
    elif args.to == "timm":
        from neuroalign.export import export_timm

        source = export_timm(
            _opened(args.ckpt, args.allow), args.out, with_classifier=args.with_classifier, class_names=names
        )
        print(f"Wrote {args.out}: timm.create_model({source!r}, pretrained=True) loads it; its images are normalised by "
              "timm.data.resolve_data_config")  # fmt: skip
    else:
        _to_brainscore(args, _opened(args.ckpt, args.allow))


def _to_file(args: argparse.Namespace, network: nn.Module, names: list[str] | None) -> None:
    from neuroalign.export import export_onnx, export_program
    from neuroalign.models import Trunk

    knows = any(isinstance(module, Trunk) for module in network.modules())
    if knows and args.image_size is not None:
        raise ValueError("--image-size is for networks that don't say which images they take; this one does")
    size = args.image_size or 224
    options = {
        "batch_size": args.batch_size, "class_names": names, "image_shape": None if knows else (3, size, size),
    }  # fmt: skip
    if args.to == "onnx":
        share = export_onnx(network, args.out, **options)
        print(f"Wrote {args.out} ({readable_size(args.out.stat().st_size)}); ONNX Runtime's outputs differ by at most "
              f"{share:.1g} of the largest output")  # fmt: skip
    else:
        export_program(network, args.out, **options)
        print(f"Wrote {args.out} ({readable_size(args.out.stat().st_size)}): torch.export.load({str(args.out)!r}).module() "
              "loads it")  # fmt: skip


def _to_brainscore(args: argparse.Namespace, network: nn.Module) -> None:
    from neuroalign.export import export_brainscore

    regions: dict[str, str] = {}
    for text in args.region_layers or []:
        region, equals, layer = text.partition("=")
        if not (region and equals and layer):
            raise ValueError(f"--region-layers takes REGION=LAYER, such as IT=layer4; got {text!r}")
        regions[region] = layer
    degrees = 8.0 if args.visual_degrees is None else args.visual_degrees
    plugin = export_brainscore(network, args.out, name=args.name, region_layers=regions, visual_degrees=degrees)
    message, warning, about_nsd = plugin.message.rpartition("Warning: ")
    print(message.rstrip())
    for line in textwrap.wrap(f"{warning.lower()}{about_nsd}", min(shutil.get_terminal_size().columns, 120)):
        print(line, file=sys.stderr)


def _opened(ckpt: str, allow: Sequence[str]) -> nn.Module:
    """A network by its checkpoint, file or name; a predictor's checkpoint, too."""
    from neuroalign.models import NeuralPredictor

    path = Path(ckpt)
    try:
        return open_model(ckpt, allow)[0]
    except ValueError as error:
        if path.suffix != ".ckpt":
            raise
        try:
            return NeuralPredictor.load(path, allow=allow)
        except ValueError:
            raise error from error.__cause__


def _lines(path: Path) -> list[str]:
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text file") from error
    return [name for name in names if name]
