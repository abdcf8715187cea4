"""Networks as ONNX files (extra ``onnx``), for other runtimes than PyTorch."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from neuroalign.export.equality import TOLERANCE, check_equal
from neuroalign.export.plain import first_sentence, plain_network
from neuroalign.export.tracing import check_ending, quiet, traced, trial_batches
from neuroalign.files import whole

__all__ = ["export_onnx"]

_LARGEST = 2**31 - 1  # bytes that one file of this format can hold


def export_onnx(
    network: nn.Module,
    path: str | os.PathLike[str],
    *,
    batch_size: int | None = None,
    opset: int | None = None,
    images: Tensor | None = None,
    image_shape: Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> float:
    """Write a network to an ONNX file, with the normalisation inside.

    A guided network becomes an ordinary classifier, without heads; a predictor keeps its responses. The input is ``images``
    (stimulus, channel, height, width), float32 in [0, 1]; the output is ``logits`` or ``responses``, those of eval mode.
    Before the file gets its name, ONNX Runtime computes outputs that are compared with the network's. The network is left as
    it is: mode, hooks and gradients.

    The file's metadata has an entry ``neuroalign``: as JSON, the shape of images, the mean and standard deviation inside, the
    number of outputs and the names of classes.

    Args:
        network: A :class:`GuidedNetwork` or a predictor, a task that holds one, or any module from images to one tensor
            (stimulus, output).
        path: A file ending in ``.onnx``.
        batch_size: The only number of images that the file will take; None means any.
        opset: Version of ONNX's operators; None takes the exporter's default.
        images: Images (stimulus, channel, height, width) in [0, 1] on which outputs are compared; None takes random ones.
        image_shape: (channel, height, width), needed for modules that don't know theirs.
        class_names: Names of the classes in the order of the logits, kept in the file.
        tolerance: Largest difference that passes, as a share of the largest output.
        seed: Seed of the random images.

    Returns:
        The largest difference between outputs, as a share of the largest output.

    Raises:
        ImportError: If the extra ``onnx`` is missing.
        TypeError: If it is no module.
        ValueError: If the network can't be exported, outputs differ, images don't fit, the file has another ending, or the
            weights are too large for one file.

    Example:
        >>> from neuroalign import GuidedNetwork
        >>> heads = {"V4": ("layer2", 20)}
        >>> network = GuidedNetwork("small_resnet", 10, heads, image_shape=(3, 8, 8))
        >>> digits = [str(digit) for digit in range(10)]
        >>> export_onnx(network, "network.onnx", class_names=digits) < 1e-5
        True
    """
    check_ending(path, ".onnx")
    onnx, runtime = _packages()
    module, facts = plain_network(network, image_shape, class_names)
    size = sum(t.numel() * t.element_size() for t in module.state_dict().values())
    if size > _LARGEST:
        raise ValueError(f"one ONNX file holds at most 2 GB; the weights take {size / 1e9:.1f} GB: use export_program")
    batches = trial_batches(images, facts.image_shape, batch_size, seed)
    model = _exported(module, batches[-1], batch_size is None, opset, facts.output)
    onnx.helper.set_model_props(model, {"neuroalign": json.dumps(facts.as_dict())})
    try:
        onnx.checker.check_model(model)
        session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ValueError(f"ONNX Runtime can't run this network: {first_sentence(error)}") from error

    def run(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"images": x.numpy()})[0])

    worst = check_equal(module, run, batches, tolerance, "the ONNX file")
    with whole(path) as temporary:
        onnx.save(model, temporary)
    return worst


def _exported(module: nn.Module, images: Tensor, any_batch: bool, opset: int | None, output: str) -> Any:
    """The ONNX model of a module."""
    program = traced(
        module, images, any_batch
    )  # given a module, the exporter tries several ways and prints each failure
    try:
        with quiet(), torch.no_grad():
            exported = torch.onnx.export(program, dynamo=True, opset_version=opset, verbose=False,
                                         input_names=["images"], output_names=[output])  # fmt: skip
    except Exception as error:
        cause = error.__cause__ or error  # the exporter's own message is a page of advice to its developers
        raise ValueError(f"the ONNX exporter can't export this network: {first_sentence(cause)}") from error
    if exported is None:
        raise ValueError("the ONNX exporter can't export this network, and doesn't say why")
    model = exported.model_proto
    written = next(o.version for o in model.opset_import if not o.domain)
    if opset is not None and written != opset:
        raise ValueError(f"the ONNX exporter can't write opset {opset} of this network; it wrote {written}")
    _name_batch(model.graph)
    return model


def _name_batch(graph: Any) -> None:
    """Call the number of images "batch", where the exporter writes a symbol of its own."""
    symbol = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    if not symbol:
        return
    for value in (*graph.input, *graph.output, *graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = re.sub(rf"\b{re.escape(symbol)}\b", "batch", size.dim_param)


def _packages() -> tuple[Any, Any]:
    try:
        onnx, runtime, _ = (
            import_module(name) for name in ("onnx", "onnxruntime", "onnxscript")
        )  # torch needs the last
    except ImportError as error:
        raise ImportError("ONNX files need the extra 'onnx': pip install 'neuroalign[onnx]'") from error
    return onnx, runtime
