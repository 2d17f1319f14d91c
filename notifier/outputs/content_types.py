"""Which extension a content type has. A table of ours: the machine's own differs from machine to machine."""

from __future__ import annotations

_EXTENSIONS = {  # of several types with one extension, the usual one is first
    "image/apng": "apng",
    "image/avif": "avif",
    "image/bmp": "bmp",
    "image/gif": "gif",
    "image/heic": "heic",
    "image/heif": "heif",
    "image/jpeg": "jpg",
    "image/jpg": "jpg",
    "image/jxl": "jxl",
    "image/pjpeg": "jpg",
    "image/png": "png",
    "image/svg+xml": "svg",
    "image/tiff": "tif",
    "image/vnd.adobe.photoshop": "psd",
    "image/vnd.microsoft.icon": "ico",
    "image/vnd.radiance": "hdr",
    "image/webp": "webp",
    "image/x-exr": "exr",
    "image/x-icon": "ico",
    "image/x-png": "png",
    "video/3gpp": "3gp",
    "video/matroska": "mkv",
    "video/mp2t": "ts",
    "video/mp4": "mp4",
    "video/mpeg": "mpg",
    "video/ogg": "ogv",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/x-m4v": "m4v",
    "video/x-matroska": "mkv",
    "video/x-msvideo": "avi",
    "audio/aac": "aac",
    "audio/aiff": "aiff",
    "audio/basic": "au",
    "audio/flac": "flac",
    "audio/mp4": "m4a",
    "audio/m4a": "m4a",
    "audio/midi": "mid",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/ogg": "ogg",
    "audio/opus": "opus",
    "audio/wav": "wav",
    "audio/vnd.wave": "wav",
    "audio/wave": "wav",
    "audio/webm": "weba",
    "audio/x-aiff": "aiff",
    "audio/x-flac": "flac",
    "audio/x-m4a": "m4a",
    "audio/x-midi": "mid",
    "audio/x-wav": "wav",
    "model/3mf": "3mf",
    "model/gltf+json": "gltf",
    "model/gltf-binary": "glb",
    "model/mtl": "mtl",
    "model/obj": "obj",
    "model/stl": "stl",
    "model/vnd.usdz+zip": "usdz",
    "application/x-ply": "ply",
    "application/gzip": "gz",
    "application/json": "json",
    "application/jsonl": "jsonl",
    "application/ndjson": "ndjson",
    "application/pdf": "pdf",
    "application/rtf": "rtf",
    "application/vnd.rar": "rar",
    "application/x-7z-compressed": "7z",
    "application/x-bzip2": "bz2",
    "application/x-gzip": "gz",
    "application/x-ndjson": "ndjson",
    "application/x-subrip": "srt",
    "application/x-tar": "tar",
    "application/x-xz": "xz",
    "application/x-yaml": "yaml",
    "application/x-zip-compressed": "zip",
    "application/xml": "xml",
    "application/yaml": "yaml",
    "application/zip": "zip",
    "application/zstd": "zst",
    "text/css": "css",
    "text/csv": "csv",
    "text/html": "html",
    "text/javascript": "js",
    "text/markdown": "md",
    "text/plain": "txt",
    "text/srt": "srt",
    "text/tab-separated-values": "tsv",
    "text/vtt": "vtt",
    "text/xml": "xml",
    "text/yaml": "yaml",
}
_SUFFIXES = {"json": "json", "xml": "xml", "zip": "zip", "gzip": "gz", "yaml": "yaml"}
"""What a type that is built on another ends with (RFC 6839): `application/ld+json`."""


def media_type(content_type: str) -> str:
    """`image/png` of `Image/PNG; name=x`: the type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def extension(content_type: str | None) -> str | None:
    """The extension, without its dot; None for a type that says nothing of the file (`application/octet-stream`)."""
    kind = media_type(content_type or "")
    return _EXTENSIONS.get(kind) or _SUFFIXES.get(kind.rpartition("+")[2] if "+" in kind else "")


def likely_type(name: str) -> str | None:
    """The content type that files with the name's extension mostly have; None for an extension that is not known."""
    ending = name.rpartition(".")[2].lower()
    return next((kind for kind, known in _EXTENSIONS.items() if known == ending), None)
