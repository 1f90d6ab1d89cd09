"""The fingerprint of an implementation changes with what it is made of, and with nothing else."""

import importlib
import sys
from pathlib import Path

import pytest

from properties.trials.sources import fingerprint

FILES = {
    "layer_of_mine.py": "import json\nimport kernels_of_mine\ndef late():\n    from pack_of_mine.deep import name\n",
    "kernels_of_mine.py": "from pack_of_mine import other\n",
    "pack_of_mine/__init__.py": "",
    "pack_of_mine/other.py": "from .deep import beside\n",
    "pack_of_mine/deep/__init__.py": "def late():\n    from .. import broken\n",
    "pack_of_mine/deep/beside.py": "",
    "pack_of_mine/broken.py": "what is this",
    "pack_of_mine/not_imported.py": "",
    "not_imported.py": "",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if "_of_mine" in name]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


def edited(folder: Path, name: str, of: str) -> bool:
    """Whether an edit of a file changes a fingerprint."""
    before = fingerprint(of)
    (folder / name).write_bytes((folder / name).read_bytes() + b"\n# edited")
    return fingerprint(of) != before


@pytest.mark.parametrize("name", FILES)
def test_what_is_imported_counts(folder: Path, name: str) -> None:
    importlib.import_module("layer_of_mine")
    assert edited(folder, name, "layer_of_mine:Layer") == ("not_imported" not in name)


def test_binaries_of_the_package_count(folder: Path) -> None:
    (folder / "pack_of_mine/kernel.so").write_bytes(b"1")
    importlib.import_module("pack_of_mine")
    assert edited(folder, "pack_of_mine/kernel.so", "pack_of_mine:Layer")


def test_what_is_installed_is_one_file() -> None:
    importlib.import_module("torch.nn")
    assert fingerprint("torch.nn:Linear") != fingerprint("torch:nn")
