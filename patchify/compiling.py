"""When a layer is compiled by operators of our own."""

import torch


def needs_operators() -> bool:
    """Whether the layer runs as operators that no compiler looks into: while it is compiled.

    Not while it is exported, since others read that graph, nor under ``torch.func``, which has no rules for them.
    """
    # Not is_exporting(): Dynamo of torch 2.11 takes it for true whenever it compiles.
    exporting: bool = torch.compiler._is_exporting_flag
    return torch.compiler.is_compiling() and not (exporting or torch._C._are_functorch_transforms_active())
