"""Where outputs may be kept, as the file says it."""

from __future__ import annotations

import pytest

from notifier.config.values import WrongValueError, output_directory
from notifier.outputs.providers import PROVIDERS


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("/var/lib/notifier/outputs", "/var/lib/notifier/outputs"),
        ("/var/lib/notifier/outputs/", "/var/lib/notifier/outputs"),
        ("/mnt/with blank/s3:x", "/mnt/with blank/s3:x"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://my.old_Bucket/some/prefix/", "s3://my.old_Bucket/some/prefix"),
        ("gs://bucket/prefix", "gs://bucket/prefix"),
        ("az://$web/\u732b", "az://$web/\u732b"),
    ],
)
def test_a_path_or_a_bucket_is_taken(given: str, meant: str) -> None:
    assert output_directory(given) == meant


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, "must be text"),
        ("", "must not be empty"),
        ("outputs", "must be an absolute path, such as /var/lib/notifier/outputs, or s3://bucket/prefix, gs://"),
        ("~/outputs", "must be an absolute path"),
        ("/", "must be an absolute path"),
        ("/a\nb", "must not have a line break"),
        ("/a\0b", "must not have a line break or control character"),
        ("s3:bucket", "must be an absolute path"),
        ("ftp://host/x", r"must be an absolute path, or s3://bucket/prefix, gs://bucket/prefix or az://container"),
        ("S3://bucket", "must be an absolute path, or s3://"),
        ("file:///var/lib", "must be an absolute path, or s3://"),
        ("https://bucket.s3.amazonaws.com/x", "must be an absolute path, or s3://"),
        ("s3://", "must name a bucket or container after s3://"),
        ("s3:///prefix", "must name a bucket or container after s3://"),
        ("s3://host:9000/bucket", "must name a bucket or container after s3://"),
        ("s3://b", "must name a bucket"),
        ("s3://key:secret@bucket/x", "must not hold a user name or password: credentials come from the environment"),
        ("s3://bucket/x?region=eu", r"must not hold a query \(\?\) or fragment"),
        ("s3://bucket/x#y", r"must not hold a query \(\?\) or fragment"),
        ("s3://bucket?x", r"must not hold a query \(\?\) or fragment"),
        ("s3://bucket/a/../b", r"must not have an empty part \(//\), `\.` or `\.\.`"),
        ("s3://bucket/./b", "must not have an empty part"),
        ("s3://bucket//b", "must not have an empty part"),
        ("s3://bucket/b//", "must not have an empty part"),
        ("s3://bucket/..", "must not have an empty part"),
        ("s3://bucket/a b", "must not have a blank"),
        ("s3://bucket/a\\b", "must not have a blank or backslash"),
        ("s3://bucket/" + "x" * 501, "must have a path of at most 500 bytes"),
    ],
)
def test_what_cannot_be_is_refused_without_being_quoted(given: object, expected: str) -> None:
    with pytest.raises(WrongValueError, match=expected) as caught:
        output_directory(given)
    assert "secret" not in str(caught.value)


def test_every_scheme_that_is_taken_is_one_of_a_store() -> None:
    assert [output_directory(f"{scheme}://bucket") for scheme in PROVIDERS] == [
        f"{scheme}://bucket" for scheme in PROVIDERS
    ]
