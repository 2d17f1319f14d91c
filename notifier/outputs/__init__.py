"""Files of outputs, kept before they vanish: what they are called, where they stand, and what is noted beside them."""

from notifier.outputs.data_uri import Inline, decode
from notifier.outputs.directory import LocalDirectory
from notifier.outputs.manifest import Entry, Manifest, Manifests
from notifier.outputs.names import Folder, file_name, folder_of
from notifier.outputs.places import Kept, Part, Place

__all__ = [
    "Entry",
    "Folder",
    "Inline",
    "Kept",
    "LocalDirectory",
    "Manifest",
    "Manifests",
    "Part",
    "Place",
    "decode",
    "file_name",
    "folder_of",
]
