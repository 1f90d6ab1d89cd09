"""When a layer is compiled by operators of our own."""

import torch


def needs_operators() -> bool:
    """Whether the layer runs as operators that no compiler looks into: while it is compiled.

    Not while it is exported, since others read that graph, nor under ``torch.func``, which has no rules for them.
    """
    return torch.compiler.is_compiling() and not (
        torch.compiler.is_exporting() or torch._C._are_functorch_transforms_active()
    )
