"""The demo: embeds a sequence, an image and a volume, and prints the shapes. Run it with ``python -m patchify``."""

import torch

from patchify.layer import Patchify

EXAMPLES = (
    ("sequence", Patchify(in_features=64, out_features=128, data_dim=1, patch_size=4), (2, 256, 64)),
    ("image", Patchify(in_features=3, out_features=768, data_dim=2, patch_size=16), (8, 224, 224, 3)),
    ("volume", Patchify(in_features=1, out_features=256, data_dim=3, patch_size=8), (2, 64, 64, 64, 1)),
)


def main() -> None:
    """Embed one random batch of each kind, on an accelerator where there is one."""
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    print(f"Patchify on {device}")
    for name, layer, shape in EXAMPLES:
        with torch.no_grad():
            tokens = layer.to(device)(torch.randn(shape, device=device))
        print(f"  {name:<8}  {list(shape)} -> {list(tokens.shape)}  patch_size {layer.patch_size}")


if __name__ == "__main__":
    main()
