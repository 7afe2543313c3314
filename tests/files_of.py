"""What a folder holds, to see that nothing was lost."""

import hashlib
from pathlib import Path


def contents(root: Path) -> dict[str, str]:
    """Every file with its digest, and every folder."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(root.rglob("*"))
    }
