"""Files of outputs, kept before they vanish: what they are called, where they stand, and what is noted beside them."""

from notifier.outputs.attempt import Means, attempt
from notifier.outputs.choosing import place_of
from notifier.outputs.data_uri import Inline, decode
from notifier.outputs.directory import LocalDirectory
from notifier.outputs.manifest import Entry, Manifest, Manifests, entry_of
from notifier.outputs.names import Folder, file_name, folder_of
from notifier.outputs.needs import Owed, Reports, Shelf
from notifier.outputs.places import Kept, Part, Place
from notifier.outputs.remote import RemotePlace
from notifier.outputs.retries import Failure
from notifier.outputs.saver import Saver

__all__ = [
    "Entry",
    "Failure",
    "Folder",
    "Inline",
    "Kept",
    "LocalDirectory",
    "Manifest",
    "Manifests",
    "Means",
    "Owed",
    "Part",
    "Place",
    "RemotePlace",
    "Reports",
    "Saver",
    "Shelf",
    "attempt",
    "decode",
    "entry_of",
    "file_name",
    "folder_of",
    "place_of",
]
