"""Where the product keeps what it makes on this machine: the local Kafka, its jars, the compiled kernels.

`COGNISTREAM_STATE` names the folder; without it the platform's own place for user state is taken. Compiled kernels lie
in a folder named by the hash of all sources they are made of: numba itself looks only at the file of the outermost
function, and would go on using code whose helpers have changed.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import platformdirs

from schemas.errors import CognistreamError

_WITH_KERNELS = ("schemas", "streams", "connectors/traffic")


_PROBE_BYTES = 1 << 16


class StateFolderUnusable(CognistreamError):
    """Nothing can be written to the state folder."""


def require_room(folder: Path) -> None:
    """Make `folder` if it is missing; StateFolderUnusable when it is read-only, full, or no folder at all."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(_PROBE_BYTES))
    except OSError as error:
        raise unusable(folder, error) from None


def unusable(folder: Path, error: OSError) -> StateFolderUnusable:
    """What to tell a person of an `error` met in `folder`."""
    return StateFolderUnusable(
        f"the state folder {folder} cannot be written ({error.strerror}): make room there, let it be written, or "
        "name another one in COGNISTREAM_STATE. No event is lost: nothing was decided."
    )


def state_folder() -> Path:
    """The state folder, absolute; it need not exist yet."""
    named = os.environ.get("COGNISTREAM_STATE")
    return Path(named).expanduser().absolute() if named else platformdirs.user_state_path("cognistream")


def use_kernel_cache() -> Path:
    """Name numba's cache folder in `NUMBA_CACHE_DIR`, unless somebody did; call it before numba is imported."""
    if "NUMBA_CACHE_DIR" not in os.environ:
        os.environ["NUMBA_CACHE_DIR"] = str(state_folder() / "kernels" / _kernel_sources())
    return Path(os.environ["NUMBA_CACHE_DIR"])


def _kernel_sources() -> str:
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for package in _WITH_KERNELS:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
