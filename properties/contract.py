"""The contract of Patchify: what a layer must satisfy, clause by clause.

Every law names the clause that it checks, and everything that speaks of a clause reads it here. ``x`` is the input
``[B, *s, C_in]``, ``P`` patch_size, ``S`` stride, ``d`` data_dim, ``g`` the patch grid. The window of token ``i``
covers the pixels ``i*S`` to ``i*S + P - 1`` along each axis. A pixel that no window covers is *uncovered*: it is in the
remainder ``s - ((g - 1)*S + P)`` at the end of an axis or, where ``S > P``, in a gap between windows.
"""

from dataclasses import dataclass

LEVELS = ("contract", "robust")


@dataclass(frozen=True)
class Clause:
    """A numbered sentence about the layer, whose subject is the layer."""

    id: str
    sentence: str

    @property
    def level(self) -> str:
        """``contract``: what every implementation must satisfy; ``robust``: what a careful one also does."""
        return LEVELS[self.id.startswith("H")]


_SENTENCES = {
    "C1": "is built by Patchify(in_features, out_features, data_dim, patch_size, stride=None, bias=True), by "
    "position or by keyword alike; it is an nn.Module, and stride=None means patch_size",
    "C2": "refuses every data_dim other than the integers 1, 2 and 3 with a ValueError",
    "C3": "holds its parameters in conv, a torch.nn.Conv{d}d with kernel_size P, stride S, no padding, torch's "
    "default initialisation, and a bias exactly where one is asked for; conv.weight and conv.bias are all "
    "its parameters and all keys of its state dict, of torch's default dtype and device; data_dim, "
    "patch_size and stride tell the values in force; train() and eval() return the layer",
    "C4": "turns [B, *s, C_in] into [B, *g, C_out], channels last at both ends, on the same device and in the "
    "same dtype",
    "C5": "has g = floor((s - P)/S) + 1 tokens along each axis, whatever the other axes are",
    "C6": "has s // P tokens along each axis where the stride is left at its default",
    "C7": "computes the products of each window's C_in * P**d values with one weight, sums them, and adds the "
    "bias once; operands are taken as they are and sums kept in their dtype or a wider one, TF32 and "
    "autocast apart, whatever the size of the numbers, the batch, the patch or the channels",
    "C8": "takes no notice of uncovered pixels: whatever stands there, NaN and infinity too, the output is the "
    "same bit for bit, and their gradient is zero",
    "C9": "follows the same formulas where windows overlap, S < P; the gradient of a pixel is the sum over all "
    "windows that cover it",
    "C10": "follows the same formulas where there are gaps between windows, S > P",
    "C11": "is differentiable in input, weight and bias, by the adjoint of C7: for any of them that require a "
    "gradient, any cotangent in any layout, inputs that are leaves or results, whatever passes come in "
    "between, once or twice over one graph, returned or accumulated; and it is twice differentiable",
    "C12": "runs under torch.compile(fullgraph=True), forward and backward, at the first size and every later "
    "one, in either mode, with or without gradients, and gives what eager mode gives; where torch's "
    "compiler itself fails the layer is not judged",
    "C13": "learns: a change of any parameter, of all or of one element, by a state dict, in place, through "
    ".data, by an optimizer or by a new parameter, shows in the next output and the next gradients, in "
    "training and in inference",
    "C14": "is a pure function of input and parameters: neither the mode nor the layout of the input nor any "
    "history of calls changes what it gives, what it gave stays as it was, and none of its arguments is "
    "changed",
    "C15": "treats every sample by itself, in batches of any size, beyond 65,535 too, and every token by its own "
    "window",
    "C16": "feeds what follows in a model: its output takes a position embedding [*g, C_out] and a channels-last "
    "mixer as it is",
    "C17": "runs the examples of its documentation, in one, two and three dimensions, on real data",
    "C18": "lets NaN and infinity through to what they belong to and nothing else: those of covered pixels to "
    "the tokens that cover them, those of weight, bias and cotangent to their products; and numbers of "
    "every magnitude of the dtype",
    "H1": "refuses constructor arguments that are zero, negative, no integers or booleans with a ValueError or "
    "TypeError that names argument and value",
    "H2": "refuses an input with too few or too many axes; an unbatched one is never read as a batch",
    "H3": "refuses a wrong number of channels, and a size below P, naming the axis and the numbers",
    "H4": "draws no random numbers in forward, from torch, NumPy or Python, and changes no global setting of "
    "torch; its constructor draws what torch.nn.Conv{d}d draws",
    "H5": "survives copy.deepcopy, pickle, torch.save and load, .to(dtype), .to(device), a parametrization of "
    "conv.weight, and conv.reset_parameters()",
    "H6": "works under torch.func (vmap over inputs and parameters, grad, jvp, jacrev, functional_call), "
    "torch.export with fixed and dynamic shapes, on the meta device, and under autocast, forward and "
    "backward",
    "H7": "takes an empty batch: an output of the right shape, and zero gradients of the parameters, compiled too",
    "H8": "compiles once for all sizes from the second on, sizes of 0 and 1 apart, meets none of the compiler's "
    "own failures, and lays its output out alike compiled and eager",
    "H9": "may be called from several threads at the same time",
    "H10": "refuses, with an error, what it declares that it is not for",
}

CLAUSES: dict[str, Clause] = {id: Clause(id, f"The layer {sentence}.") for id, sentence in _SENTENCES.items()}
