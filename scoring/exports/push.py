"""Push an export to the hub, after making it if only its subset is saved."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import scoring
from scoring.database.connection import Store
from scoring.dataset.records import read_dataset_info
from scoring.errors import InputError
from scoring.exports.export import OnWait, Progress, export_subset
from scoring.exports.files import digest_file
from scoring.exports.manifest import Manifest, dataset_facts, read_manifest
from scoring.exports.options import FOLDERS, MANIFEST, ExportOptions
from scoring.exports.parents import HUB_URL, check_joinable
from scoring.hub.upload import PushedFolder, PushTarget, check_target, push_folder
from scoring.readers.inputs import EXPORTED_DATA
from scoring.subsets.definitions import read_subset
from scoring.workspace import Workspace

_CARD = "README.md"
_SIDE_FILES = (".json", ".jsonl", ".yaml", ".md")


@dataclass(frozen=True, slots=True)
class PushResult:
    """An export that is on the hub. ``folder`` is None if nothing is kept here (ids only)."""

    pushed: PushedFolder
    manifest: Manifest
    folder: Path | None


def push(
    workspace: Workspace,
    name: str,
    target: PushTarget,
    ids_only: bool = False,
    progress: Progress | None = None,
    on_wait: OnWait | None = None,
    on_upload: Callable[[], None] | None = None,
) -> PushResult:
    """Push an export of the workspace to a dataset repository on the hub.

    The token is that of the hub's own login. An earlier push of the same subset is replaced;
    anything else in the repository is left as it is and refused.

    Args:
        workspace: The workspace.
        name: An export (a folder of ``exports/``), or a saved subset, which is exported first as a
            Parquet table with embedded images, scores and a card.
        target: The repository.
        ids_only: Push row numbers and ids only, with a card that shows how to join them to the
            source on the hub. For licences that forbid copies.
        progress: Called with samples exported and in all, if the export is made first.
        on_wait: Called while another export of the workspace is running.
        on_upload: Called when the export is complete and the upload starts.

    Raises:
        InputError: There is no such export or subset, its files are damaged or have no card, its
            rows cannot be joined to the source, or the hub refuses (see ``push_folder``).
        MissingImagesError: Images that the export should contain are missing.
    """
    if not ids_only:
        folder = _find_export(workspace, name) or _make_export(
            workspace, name, target, "parquet", None, progress, on_wait
        )
        return _push_export(workspace, folder, target, on_upload, is_kept=True)
    check_joinable(dataset_facts(read_dataset_info(workspace)))
    with tempfile.TemporaryDirectory(prefix="visnec-push-") as temporary:
        folder = Path(temporary) / name
        _make_export(workspace, name, target, "ids", folder, progress, on_wait)
        return _push_export(workspace, folder, target, on_upload, is_kept=False)


def _find_export(workspace: Workspace, name: str) -> Path | None:
    """Return the folder of an export, None if there is none of that name."""
    folder = workspace.exports_dir / name
    return folder if folder.parent == workspace.exports_dir and folder.is_dir() else None


def _make_export(
    workspace: Workspace,
    name: str,
    target: PushTarget,
    format_name: str,
    folder: Path | None,
    progress: Progress | None,
    on_wait: OnWait | None,
) -> Path:
    """Export a saved subset with a card, and return its folder."""
    definition = read_subset(workspace, name)
    check_target(target)  # first, so that no export is left behind if the hub refuses
    url = f"{HUB_URL}/{target.repository}"
    options = ExportOptions("ids", card=True, url=url)
    if format_name == "parquet":
        options = ExportOptions("parquet", images="embed", card=True, url=url, columns="understood")
    result = export_subset(
        workspace, Store(workspace), definition, folder, options, progress, on_wait=on_wait
    )
    return result.folder


def _push_export(
    workspace: Workspace,
    folder: Path,
    target: PushTarget,
    on_upload: Callable[[], None] | None,
    *,
    is_kept: bool,
) -> PushResult:
    manifest = read_manifest(folder)
    _check_files(folder, manifest)
    _check_paths(workspace, folder, manifest)
    if on_upload:
        on_upload()

    def is_earlier_push(path: Path) -> bool:
        try:
            value = json.loads(path.read_text("utf-8"))
            return (value["workspace_id"], value["subset"]["name"]) == (
                manifest.inputs.workspace_id,
                manifest.subset.name,
            )
        except (ValueError, KeyError, TypeError):
            return False

    patterns = [MANIFEST, *(output.name for output in manifest.outputs)]
    patterns += [f"{folder_name}/*" for folder_name in FOLDERS]
    message = f"Push subset {manifest.subset.name} with VisNec Studio {scoring.__version__}"
    pushed = push_folder(folder, patterns, target, message, is_earlier_push, MANIFEST)
    return PushResult(pushed, manifest, folder if is_kept else None)


def _check_paths(workspace: Workspace, folder: Path, manifest: Manifest) -> None:
    """Raise InputError if files of the export give absolute paths of this machine."""
    prefix = manifest.options.image_prefix or ""
    if PurePosixPath(prefix).is_absolute() or PureWindowsPath(prefix).is_absolute():
        raise InputError(
            f"Records of {folder} name images below {prefix}, a folder of this machine. Export "
            "again without --image-prefix, or with embedded images."
        )
    roots = [Path.home(), workspace.root.resolve(), *workspace.image_roots.all_folders()]
    names = "|".join(re.escape(str(root)) for root in roots if root != root.parent)
    is_private = re.compile(rf"(?<![\w.:/-])(?:{names})(?![\w.-])").search
    for name in (MANIFEST, *(output.name for output in manifest.outputs)):
        if name.endswith(_SIDE_FILES) and not EXPORTED_DATA.fullmatch(name):
            with (folder / name).open(encoding="utf-8", errors="replace") as file:
                if path := next(filter(None, map(is_private, file)), None):
                    raise InputError(
                        f"{folder / name} contains {path[0]}, a path of this machine. Import "
                        "records with relative image paths, or push an export without that file."
                    )


def _check_files(folder: Path, manifest: Manifest) -> None:
    """Raise InputError if files of the export are changed, or name its folder, or lack a card."""
    if manifest.options.folder is not None:
        raise InputError(
            f"Files of {folder} name that folder, which is not on the hub. Push an export without "
            "absolute paths, such as one with embedded images."
        )
    for output in manifest.outputs:
        path = folder / output.name
        if not path.is_file() or digest_file(folder, output.name).sha256 != output.sha256:
            raise InputError(
                f"{path} is not the file that was exported. Export it again with --overwrite."
            )
    if not (folder / _CARD).is_file():
        raise InputError(f"{folder} has no dataset card. Export it again with --card --overwrite.")
