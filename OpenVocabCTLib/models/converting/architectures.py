"""The networks that nnU-Net's plans describe, without looking up anything that a plan names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from OpenVocabCTLib.errors import ModelError

Family = Literal["stunet", "plain_unet", "residual_unet"]
_FAMILIES: dict[str, Family] = {"PlainConvUNet": "plain_unet", "ResidualEncoderUNet": "residual_unet"}
_BLOCKS = {"plain_unet": "n_conv_per_stage", "residual_unet": "n_blocks_per_stage"}
# The last part of the dotted names in a plan; what is not here is refused, never imported.
_PARTS: dict[str, set[str | None]] = {
    "conv_op": {"Conv3d"},
    "norm_op": {"InstanceNorm3d"},
    "dropout_op": {None},
    "nonlin": {"LeakyReLU"},
}


def unsupported(what: str) -> ModelError:
    """Return the error for a network that cannot be converted."""
    return ModelError(
        f"{what} cannot be converted", "convert a 3D PlainConvUNet or ResidualEncoderUNet for one CT channel"
    )


def unet(configuration: Mapping[str, Any]) -> tuple[Family, dict[str, Any]]:
    """Read the architecture of one configuration of a ``plans.json``, of nnU-Net 2.4 and later or before.

    Returns:
        Family and arguments for ``class_table.build_backbone``.

    Raises:
        ModelError: the network is of another kind.
        KeyError, TypeError, ValueError: the plan is malformed.
    """
    if "architecture" not in configuration:
        return _old_unet(configuration)
    architecture = configuration["architecture"]
    family = _family(architecture["network_class_name"])
    given = dict(architecture["arch_kwargs"])
    for name, allowed in _PARTS.items():
        value = given.pop(name, None)
        if (value.rsplit(".", 1)[-1] if isinstance(value, str) else value) not in allowed:
            raise unsupported(f"a network with {name} {value}")
    norm, slope = given.pop("norm_op_kwargs", None) or {}, given.pop("nonlin_kwargs", None) or {}
    if not norm.get("affine", False):
        raise unsupported("a network whose normalisation has no parameters")
    for name in ("dropout_op_kwargs", "deep_supervision"):
        given.pop(name, None)
    known = {"n_stages", "features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage_decoder", "conv_bias"}
    other = given.keys() - known - {_BLOCKS[family]}
    if other:
        raise unsupported(f"a network with {min(other)}")
    sizes = {"epsilon": float(norm.get("eps", 1e-5)), "slope": float(slope.get("negative_slope", 0.01))}
    return family, _checked(given | sizes)


def _family(name: str) -> Family:
    try:
        return _FAMILIES[str(name).rsplit(".", 1)[-1]]
    except KeyError:
        raise unsupported(f"a network of class {name}") from None


def _old_unet(configuration: Mapping[str, Any]) -> tuple[Family, dict[str, Any]]:
    """The plans of nnU-Net 2.0 to 2.3, which TotalSegmentator's networks came with."""
    family = _family(configuration["UNet_class_name"])
    blocks = list(configuration["n_conv_per_stage_encoder"])
    width, widest = configuration["UNet_base_num_features"], configuration["unet_max_num_features"]
    return family, _checked(
        {
            "n_stages": len(blocks),
            "features_per_stage": [min(width * 2**stage, widest) for stage in range(len(blocks))],
            "kernel_sizes": configuration["conv_kernel_sizes"],
            "strides": configuration["pool_op_kernel_sizes"],
            _BLOCKS[family]: blocks,
            "n_conv_per_stage_decoder": list(configuration["n_conv_per_stage_decoder"]),
            "conv_bias": True,
        }
    )


def _checked(arguments: dict[str, Any]) -> dict[str, Any]:
    stages = int(arguments["n_stages"])
    sizes = [arguments[name] for name in ("features_per_stage", "kernel_sizes", "strides")]
    if any(len(size) != stages for size in sizes) or any(len(one) != 3 for one in (*sizes[1], *sizes[2])):
        raise unsupported("a network that is not three-dimensional")
    if not all(0 < int(width) <= 4096 for width in sizes[0]):
        raise ValueError("the widths make no sense")
    return arguments
