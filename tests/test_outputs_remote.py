"""Object stores that are not as they should be: that is said with the way out, in bounded time, without a secret."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
import trustme

from notifier.errors import PlaceError, PlaceFullError
from notifier.model import Key
from notifier.outputs import LocalDirectory, RemotePlace, place_of
from notifier.outputs.names import folder_of
from notifier.outputs.objects import Limits
from notifier.outputs.places import Place
from tests.place_files import FOLDER, NAME, kept_of, remote, save
from tests.standins.azure import AzureStandIn
from tests.standins.disk import SmallDisk
from tests.standins.s3 import KEY, SECRET, S3StandIn
from tests.standins.storage import Answer, Asked, Script, StorageStandIn, refused

QUICK = Limits(connect=1.0, answer=1.0, transfer=1.0, retries=1, retry_for=2.0)
PORTION = 5 * 2**20
GOOGLE = "bearer-token-made-up-0123456789"
SIGNATURE = "c2lnbmF0dXJlMDEyMzQ1Njc4OQ"


def place_at(
    spool: Path, environ: dict[str, str], limits: Limits = QUICK, directory: str = "s3://bucket/prefix"
) -> RemotePlace:
    return RemotePlace(directory, spool=spool, environ=environ, limits=limits)


def attempts(place: Place) -> list[Callable[[], object]]:
    """All that may be wanted of a place and asks the store something."""
    return [
        place.prepare,
        lambda: save(place, b"abc"),
        lambda: place.find(FOLDER, NAME),
        lambda: place.size_of(FOLDER, NAME),
        lambda: place.read(FOLDER, NAME, max_size=10),
        lambda: place.put(FOLDER, "manifest.json", b"{}"),
        lambda: place.delete(FOLDER, NAME),
        lambda: list(place.folders()),
        lambda: place.files(FOLDER),
    ]


def said(attempt: Callable[[], object]) -> str:
    """What is raised, and what would stand in a log of it."""
    with pytest.raises(PlaceError) as caught:
        attempt()
    assert str(caught.value).startswith("outputs cannot be kept: ")
    return "".join(traceback.format_exception(caught.value))


def holds_no_secret(text: str) -> bool:
    secrets = [KEY, SECRET, GOOGLE, SIGNATURE, "AWS4-HMAC", "Signature="]
    return not any(form in text for secret in secrets for form in (secret, base64.b64encode(secret.encode()).decode()))


@pytest.fixture
def closed() -> int:
    """A port where nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


# --- wrong settings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (
            403,
            "InvalidAccessKeyId",
            r"the credentials were not accepted \(403 InvalidAccessKeyId\); check AWS_ACCESS_K",
        ),
        (
            403,
            "SignatureDoesNotMatch",
            r"the credentials were not accepted \(403 SignatureDoesNotMatch\); check AWS_AC",
        ),
        (400, "ExpiredToken", r"the credentials were not accepted \(400 ExpiredToken\)"),
        (401, "Whatever", r"the credentials were not accepted \(401 Whatever\)"),
        (403, "AccessDenied", r"do not allow it \(403 AccessDenied\); .*must allow to read, write, list and delete"),
        (403, "RequestTimeTooSkewed", r"this machine's clock is wrong \(403 RequestTimeTooSkewed\); set it"),
        (301, "PermanentRedirect", r"the bucket is in another region \(301\); set AWS_REGION"),
        (400, "AuthorizationHeaderMalformed", r"the bucket is in another region \(400 Auth.*; set AWS_REGION"),
        (404, "NoSuchBucket", "there is no such bucket; make it, or give `outputs.directory` another"),
        (404, "Whatever", r"nothing is there \(404 Whatever\); check AWS_ENDPOINT_URL"),
        (400, "InvalidArgument", r"the store refused \(400 InvalidArgument\); check AWS_ENDPOINT_URL"),
        (503, "SlowDown", r"the store is not able to at the moment \(503 SlowDown\)"),
        (500, "a secret: 12", r"the store is not able to at the moment \(500\)"),
    ],
)
def test_what_a_store_refuses_is_said_with_the_way_out(spool: Path, status: int, code: str, expected: str) -> None:
    expected = rf"kept: s3://bucket/prefix/\.writable: .*{expected}"
    with StorageStandIn(lambda _: refused(status, code)) as store, pytest.raises(PlaceError, match=expected):
        place_at(spool, store.environ).prepare()


@pytest.mark.parametrize(
    ("status", "code"), [(507, "Whatever"), (403, "QuotaExceeded"), (507, "XMinioStorageFull"), (400, "AccountQuota")]
)
def test_a_store_without_room_is_an_error_of_its_own(spool: Path, status: int, code: str) -> None:
    with StorageStandIn(lambda asked: refused(status, code) if asked.size else None) as store:
        place = place_at(spool, store.environ)
        for attempt in (lambda: save(place, b"abc"), lambda: place.put(FOLDER, "manifest.json", b"{}")):
            with pytest.raises(PlaceFullError, match=rf"no room left \({status} {code}\); free some, or raise the qu"):
                attempt()
        assert place.part(FOLDER, 0).size == 3


def test_the_folder_of_what_is_unfinished_is_made_with_those_above_it(s3: S3StandIn, tmp_path: Path) -> None:
    spool = tmp_path / "state" / "spool"
    place_at(spool, s3.environ, directory=f"s3://{s3.bucket()}/prefix").prepare()
    assert spool.is_dir()
    assert spool.parent.stat().st_mode & 0o777 == 0o700


def test_a_bucket_that_is_not_there_is_not_taken_for_a_file_that_is_not(s3: S3StandIn, spool: Path) -> None:
    place = place_at(spool, s3.environ, directory="s3://nobodys-bucket")
    for attempt in attempts(place):
        with pytest.raises(PlaceError, match=r"s3://nobodys-bucket.*: there is no such bucket; make it, or give"):
            attempt()


def test_a_container_that_is_not_there_is_not_taken_for_a_file_that_is_not(azure: AzureStandIn, spool: Path) -> None:
    place = place_at(spool, azure.environ, directory="az://nobodys")
    for attempt in attempts(place):
        with pytest.raises(PlaceError, match=r"az://nobodys.*: there is no such container; make it, or give"):
            attempt()


def test_wrong_credentials_are_said_and_not_shown(azure: AzureStandIn, spool: Path) -> None:
    """Azurite looks at signatures; moto does not."""
    environ = {**azure.environ, "AZURE_STORAGE_ACCOUNT_KEY": base64.b64encode(SECRET.encode()).decode()}
    place = place_at(spool, environ, directory=f"az://{azure.container()}")
    for attempt in attempts(place):
        text = said(attempt)
        assert "check AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY" in text
        assert "(403" in text
        assert holds_no_secret(text)


@pytest.mark.parametrize(
    ("directory", "environ", "expected"),
    [
        (
            "s3://b1",
            {"AWS_ACCESS_KEY_ID": KEY},
            "AWS_SECRET_ACCESS_KEY is missing beside AWS_ACCESS_KEY_ID; check AWS_A",
        ),
        ("s3://b1", {"AWS_SECRET_ACCESS_KEY": SECRET}, "AWS_ACCESS_KEY_ID is missing beside AWS_SECRET_ACCESS_KEY"),
        ("s3://b1", {"AWS_SECRET_ACCESS_KEY": f"{SECRET}\n"}, "AWS_SECRET_ACCESS_KEY has a blank, a line break or"),
        ("s3://b1", {"AWS_ENDPOINT_URL": "127.0.0.1:9000"}, "AWS_ENDPOINT_URL is no address that begins with https://"),
        ("s3://b1", {"AWS_ENDPOINT": "http://127.0.0.1"}, "AWS_ENDPOINT is plain http, and AWS_ALLOW_HTTP is not true"),
        ("az://b1", {}, "AZURE_STORAGE_ACCOUNT_NAME is missing; check AZURE_STORAGE_ACCOUNT_NAME and"),
        ("az://b1", {"AZURE_STORAGE_ACCOUNT_NAME": "a", "AZURE_STORAGE_ACCOUNT_KEY": "a,b"}, "_KEY is no key; check"),
        ("az://b1", {"AZURE_STORAGE_ACCOUNT_NAME": "a", "AZURE_STORAGE_SAS_TOKEN": SIGNATURE}, "_TOKEN is no token; c"),
        ("gs://b1", {"GOOGLE_APPLICATION_CREDENTIALS": "/no/where"}, "the file with the credentials cannot be opened"),
        ("gs://b1", {"GOOGLE_SERVICE_ACCOUNT_KEY": f'"{GOOGLE}'}, "the file with the credentials cannot be understood"),
    ],
)
def test_an_environment_that_cannot_be_is_said_and_not_shown(
    spool: Path, directory: str, environ: dict[str, str], expected: str
) -> None:
    for attempt in attempts(place_at(spool, environ, directory=directory)):
        text = said(attempt)
        assert expected in text
        assert holds_no_secret(text)


def test_nobody_who_gives_credentials_is_said(spool: Path, closed: int) -> None:
    """Without any, obstore asks the machine that it runs on, as in a cloud there is one."""
    environ = {"AWS_METADATA_ENDPOINT": f"http://127.0.0.1:{closed}"}
    with pytest.raises(
        PlaceError, match=r"no credentials could be had: nobody answers.*; set AWS_ACCESS_KEY_ID and AWS"
    ):
        place_at(spool, environ).prepare()


def test_credentials_that_may_not_list_are_refused_before_they_are_needed(spool: Path) -> None:
    """S3 forbids them what is missing: nothing could be told from a file that is not there."""

    def script(asked: Asked) -> Answer | None:
        return refused(403, "AccessDenied") if asked.method in ("GET", "HEAD") else None

    with StorageStandIn(script) as store, pytest.raises(PlaceError, match="must allow to read, write, list and delete"):
        place_at(spool, store.environ).prepare()


# --- no connection -----------------------------------------------------------------------------------------------


def test_nobody_there_is_said(spool: Path, closed: int) -> None:
    environ = {**keys(), "AWS_ENDPOINT_URL": f"http://127.0.0.1:{closed}"}
    for attempt in attempts(place_at(spool, environ)):
        text = said(attempt)
        assert "no connection; check AWS_ENDPOINT_URL and the network" in text
        assert holds_no_secret(text)


def test_no_such_host_is_said(spool: Path) -> None:
    environ = {**keys(), "AWS_ENDPOINT_URL": "http://nothing.invalid"}
    with pytest.raises(PlaceError, match="no such host; check AWS_ENDPOINT_URL and the network"):
        place_at(spool, environ).prepare()


def test_a_store_that_never_answers_holds_nobody_for_ever_and_no_other_thread_at_all(spool: Path) -> None:
    with StorageStandIn(hang=True) as store:
        place = place_at(spool, store.environ, Limits(connect=0.3, answer=0.3, transfer=0.3, retries=1, retry_for=2.0))
        for attempt in attempts(place):
            counted = 0
            start = time.monotonic()
            with ThreadPoolExecutor(1) as threads:
                held = threads.submit(said, attempt)
                while not wait([held], 0.01).done:
                    counted += 1
            assert time.monotonic() - start < 10
            assert counted > 10
            assert "no answer came in time; check AWS_ENDPOINT_URL and the network" in held.result()
            assert holds_no_secret(held.result())


def test_a_connection_that_breaks_is_said(spool: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ending = threading.Event()

        def hang_up() -> None:
            server.settimeout(0.05)
            while not ending.is_set():
                try:
                    server.accept()[0].close()
                except TimeoutError:
                    continue

        thread = threading.Thread(target=hang_up)
        thread.start()
        try:
            environ = {**keys(), "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.getsockname()[1]}"}
            with pytest.raises(PlaceError, match="the connection broke; check AWS_ENDPOINT_URL and the network"):
                place_at(spool, environ).prepare()
        finally:
            ending.set()
            thread.join()


def test_a_certificate_is_checked_and_its_authority_can_be_named(
    spool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    with StorageStandIn(tls=context) as store:
        with pytest.raises(
            PlaceError, match=r"certificate is not trusted; check AWS_ENDPOINT_URL, or .* SSL_CERT_FILE"
        ):
            place_at(spool, store.environ).prepare()
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        place_at(spool, store.environ).prepare()
    with StorageStandIn() as plain:
        environ = {**keys(), "AWS_ENDPOINT_URL": plain.url.replace("http://", "https://")}
        with pytest.raises(PlaceError, match="no TLS could be agreed on; check AWS_ENDPOINT_URL"):
            place_at(spool, environ).prepare()


# --- secrets -----------------------------------------------------------------------------------------------------


def echo(asked: Asked) -> Answer:
    """Everything that came, in every place where an answer has text."""
    came = f"{asked.target} {asked.headers} {SECRET}"
    return Answer(403, f"<Error><Code>{came}</Code><Message>{came}</Message></Error>".encode(), {"X-Echo": came[:500]})


@pytest.mark.parametrize(
    ("directory", "environ"),
    [
        ("s3://bucket/prefix", {"AWS_SESSION_TOKEN": GOOGLE}),
        ("gs://bucket/prefix", {"GOOGLE_BEARER_TOKEN": GOOGLE, "GOOGLE_BASE_URL": "", "GOOGLE_ALLOW_HTTP": "true"}),
        (
            "az://bucket/prefix",
            {
                "AZURE_STORAGE_ACCOUNT_NAME": "account",
                "AZURE_STORAGE_SAS_TOKEN": f"sv=2021-08-06&sig={SIGNATURE}",
                "AZURE_STORAGE_ENDPOINT": "",
                "AZURE_ALLOW_HTTP": "true",
            },
        ),
    ],
)
@pytest.mark.parametrize("answer", ["echo", "hang", "closed"])
def test_no_secret_is_in_any_error_or_log(
    spool: Path, directory: str, environ: dict[str, str], answer: str, closed: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with StorageStandIn(echo, hang=answer == "hang") as store:
        url = f"http://127.0.0.1:{closed}" if answer == "closed" else store.url
        place = place_at(
            spool, {**store.environ, "AWS_ENDPOINT_URL": url, **{k: v or url for k, v in environ.items()}},
            directory=directory, limits=Limits(1.0, 0.2, 0.2, 0, 1.0),
        )  # fmt: skip
        for attempt in attempts(place):
            assert holds_no_secret(said(attempt))
        if answer == "echo":
            assert not holds_no_secret(str([(asked.target, asked.headers) for asked in store.asked])), "none was sent"
    assert holds_no_secret(caplog.text)
    assert holds_no_secret(repr(place) + repr(vars(place)))


def test_google_is_asked_as_the_environment_says(spool: Path) -> None:
    with StorageStandIn() as store:
        environ = {"GOOGLE_BASE_URL": store.url, "GOOGLE_ALLOW_HTTP": "true", "GOOGLE_BEARER_TOKEN": GOOGLE}
        place = place_at(spool, environ, directory="gs://bucket/prefix")
        place.prepare()
        assert save(place, b"abc") == kept_of(b"abc")
        assert place.find(FOLDER, NAME) == kept_of(b"abc")
        place.delete(FOLDER, NAME)
        assert place.find(FOLDER, NAME) is None
        assert {asked.headers["authorization"] for asked in store.asked} == {f"Bearer {GOOGLE}"}
        assert place.address(FOLDER, NAME) == f"gs://bucket/prefix/cometapi/x1/{NAME}"


# --- uploads -----------------------------------------------------------------------------------------------------


def test_an_upload_that_makes_progress_may_last(spool: Path) -> None:
    """Each portion is in time; all of them together take longer than one request may."""
    content = os.urandom(PORTION * 6)
    with StorageStandIn(seconds=0.5) as store:
        place = place_at(spool, store.environ)
        start = time.monotonic()
        assert save(place, content) == kept_of(content)
        assert time.monotonic() - start > QUICK.transfer
        assert max(asked.size for asked in store.asked) == PORTION


def test_what_fails_for_a_moment_is_tried_again_at_once(spool: Path) -> None:
    failed: set[tuple[str, str]] = set()

    def once(asked: Asked) -> Answer | None:
        known = (asked.method, asked.target) in failed
        failed.add((asked.method, asked.target))
        return None if known else refused(503, "SlowDown")

    content = os.urandom(PORTION * 2)
    with StorageStandIn(once) as store:
        assert save(place_at(spool, store.environ), content) == kept_of(content)


def parts_fail(asked: Asked) -> Answer | None:
    return refused(503, "SlowDown") if "partNumber=2" in asked.target else None


def whole_fails(asked: Asked) -> Answer | None:
    return refused(403, "AccessDenied") if asked.method == "POST" and "uploads" not in asked.target else None


@pytest.mark.parametrize("script", [parts_fail, whole_fails])
def test_an_upload_that_fails_is_begun_anew_without_a_download(spool: Path, script: Script) -> None:
    content = os.urandom(PORTION * 2 + 1)
    with StorageStandIn(script) as store:
        place = place_at(spool, store.environ)
        with pytest.raises(PlaceError, match=rf"s3://bucket/prefix/cometapi/x1/{NAME}: "):
            save(place, content)
        assert place.find(FOLDER, NAME) is None
        # What was sent is not paid for any longer.
        assert [asked.method for asked in store.asked if "uploadId" in asked.target].count("DELETE") == 1
        store.script = lambda _: None
        with place.part(FOLDER, 0) as part:
            assert part.size == len(content)
            part.begin(NAME, offset=part.size)
            assert part.commit() == kept_of(content)
        assert place.find(FOLDER, NAME) == kept_of(content)
        assert list(spool.iterdir()) == []


def test_what_came_to_be_there_is_not_believed_to_be_whole(spool: Path) -> None:
    """A store that stops reading at some limit, and says that all is well."""
    written = False

    def short(asked: Asked) -> Answer | None:
        nonlocal written
        written = written or asked.method == "PUT"
        if asked.method == "HEAD" and written:
            return Answer(200, bytes(2), {"ETag": '"x"', "Last-Modified": "Tue, 24 Nov 2026 08:00:00 GMT"})
        return None

    with StorageStandIn(short) as store:
        place = place_at(spool, store.environ)
        with pytest.raises(PlaceError, match="2 bytes of 3 bytes came to be there; the store may have a limit"):
            save(place, b"abc")
        assert store.asked[-1].method == "DELETE"
        assert place.part(FOLDER, 0).size == 3


def test_a_file_without_a_note_is_read_through(s3: S3StandIn, spool: Path) -> None:
    place = remote(s3, spool)
    content = os.urandom(2**24 * 2 + 5)
    path = place.address(FOLDER, NAME).removeprefix("s3:/")
    s3.ask("PUT", path, content)
    assert place.find(FOLDER, NAME) == kept_of(content)
    assert save(place, content) == kept_of(content)
    with pytest.raises(PlaceError, match="another file is in its place"):
        save(place, content[:-1] + b"x")
    assert hashlib.sha256(s3.ask("GET", path)).hexdigest() == kept_of(content).sha256
    s3.ask("PUT", path, b"")
    assert place.find(FOLDER, NAME) == kept_of(b"")


def test_a_file_with_a_note_is_not_read_and_loses_it_with_its_content(s3: S3StandIn, spool: Path) -> None:
    place = remote(s3, spool)
    save(place, b"abc")
    path = place.address(FOLDER, NAME).removeprefix("s3:/")
    s3.ask("PUT", path, b"abd")
    assert place.find(FOLDER, NAME) == kept_of(b"abd")
    with StorageStandIn() as store:
        noted = place_at(spool, store.environ)
        content = os.urandom(1000)
        save(noted, content)
        before = len(store.asked)
        assert noted.find(FOLDER, NAME) == kept_of(content)
        assert [asked.method for asked in store.asked[before:]] == ["HEAD"]


def test_a_file_that_changes_while_it_is_read_is_not_taken_for_one(
    s3: S3StandIn, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = remote(s3, spool)
    path = place.address(FOLDER, NAME).removeprefix("s3:/")
    monkeypatch.setattr("notifier.outputs.objects._READ", 3)
    for method, expected in (("PUT", "412 PreconditionFailed"), ("DELETE", "it was deleted while it was read")):
        s3.ask("PUT", path, b"abcdef")

        class Digest:
            """Of the first portion; then the file changes."""

            def update(self, _: bytes, method: str = method) -> None:
                s3.ask(method, path, b"ABCDEF" if method == "PUT" else None)

        with monkeypatch.context() as patch:
            patch.setattr("notifier.outputs.remote.hashlib.sha256", Digest)
            with pytest.raises(PlaceError, match=expected):
                place.find(FOLDER, NAME)


def test_what_is_not_ours_stays_and_is_not_listed(s3: S3StandIn, spool: Path) -> None:
    place = remote(s3, spool)
    save(place, b"abc")
    prefix = place.address(FOLDER, NAME).removeprefix("s3:/").removesuffix(f"/cometapi/x1/{NAME}")
    others = ["file", "cometapi/file", "cometapi/no id/x", "lost+found/x1/y", "cometapi/x1/below/z", "cometapi/x1/"]
    for other in others:
        s3.ask("PUT", f"{prefix}/{other.replace(' ', '%20')}", b"")
    s3.ask("PUT", f"{prefix}-of-another/cometapi/x2/y", b"")
    assert list(place.folders()) == [FOLDER]
    assert place.files(FOLDER) == [NAME]
    s3.ask("PUT", f"{prefix}/cometapi/x1//z", b"")
    with pytest.raises(PlaceError, match=r"an empty part in it, as in a//b; move that away"):
        place.files(FOLDER)


def test_the_whole_bucket_can_be_the_place(s3: S3StandIn, spool: Path) -> None:
    bucket = s3.bucket()
    for directory in (f"s3://{bucket}", f"s3://{bucket}/"):
        place = place_at(spool, s3.environ, directory=directory)
        place.prepare()
        assert save(place, b"abc") == kept_of(b"abc")
        assert list(place.folders()) == [FOLDER]
        assert place.address(FOLDER, NAME) == f"s3://{bucket}/cometapi/x1/{NAME}"
    assert b"<Key>cometapi/x1/000-out.png</Key>" in s3.ask("GET", f"/{bucket}")


def test_more_than_one_page_of_names_is_listed(s3: S3StandIn, spool: Path) -> None:
    place = remote(s3, spool)
    path = place.address(FOLDER, NAME).removeprefix("s3:/").removesuffix(f"/{NAME}")
    for number in range(1001):
        s3.ask("PUT", f"{path}/{number:04d}-x", b"")
    assert place.files(FOLDER) == [f"{number:04d}-x" for number in range(1001)]


# --- the spool ---------------------------------------------------------------------------------------------------


def test_what_is_unfinished_is_found_wherever_it_is(s3: S3StandIn, spool: Path) -> None:
    place = remote(s3, spool)
    other = folder_of(Key("cometapi", "x2"))
    save(place, b"abc", folder=other)
    with place.part(FOLDER, 1) as part:
        part.begin("001-x")
        part.write(b"abcd")
    assert sorted(place.folders()) == [FOLDER, other]
    assert place.files(FOLDER) == ["001.part"]
    assert place.size_of(FOLDER, "001.part") == 4
    assert place.find(FOLDER, "001.part") == kept_of(b"abcd")
    assert place.read(FOLDER, "001.part", max_size=4) == b"abcd"
    place.delete(FOLDER, "001.part")
    assert list(place.folders()) == [other]


def test_a_full_disk_here_is_said_and_room_is_that_disks(s3: S3StandIn, tmp_path: Path) -> None:
    with SmallDisk(tmp_path / "disk", "1M") as disk:
        place = remote(s3, disk.inside / "spool")
        assert 500_000 < place.free() <= 2**20
        disk.fill()
        with place.part(FOLDER, 0) as part:
            part.begin(NAME)
            with pytest.raises(PlaceFullError, match="No space left on device; free some space on the disk"):
                part.write(bytes(10_000))


def test_a_disk_that_cannot_be_read_any_more_ends_the_upload(
    s3: S3StandIn, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = remote(s3, spool)
    with place.part(FOLDER, 0) as part:
        part.begin(NAME)
        part.write(os.urandom(PORTION * 3))
        pread = os.pread

        def failing(file: int, size: int, offset: int) -> bytes:
            if offset > PORTION * 2:
                raise OSError(5, "Input/output error")
            return pread(file, size, offset)

        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", failing)
            with pytest.raises(PlaceError, match=r"000\.part: Input/output error"):
                part.commit()
    assert place.find(FOLDER, NAME) is None


# --- the library -------------------------------------------------------------------------------------------------


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)


def test_nothing_is_imported_before_it_is_needed() -> None:
    code = "import sys, notifier.cli, notifier.outputs; print([name for name in sys.modules if 'obstore' in name])"
    assert run(code).stdout == "[]\n"


def test_a_library_that_is_missing_is_said_with_the_way_out(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['obstore'] = None\n"
        "from pathlib import Path; from notifier.outputs import place_of; from notifier.errors import PlaceError\n"
        "place = place_of('s3://bucket/prefix', spool=Path(sys.argv[1]), environ={})\n"
        "try: place.prepare()\n"
        "except PlaceError as error: print(error)\n"
    )
    assert run(code, str(tmp_path / "spool")).stdout == (
        "outputs cannot be kept: s3://bucket: obstore is not installed; pip install 'prediction-notifier[storage]'\n"
    )


def test_a_path_and_a_url_are_places(tmp_path: Path, spool: Path) -> None:
    assert isinstance(place_of(str(tmp_path), spool=spool, environ={}), LocalDirectory)
    for url in ("s3://bucket", "gs://bucket/prefix", "az://container/prefix"):
        place = place_of(url, spool=spool, environ={})
        assert isinstance(place, RemotePlace)
        assert place.address(FOLDER, NAME) == f"{url}/cometapi/x1/{NAME}"
    for wrong in ("relative", "http://bucket", "s3://", "s3:///x"):
        with pytest.raises(ValueError, match="not the URL of a bucket"):
            place_of(wrong, spool=spool, environ={})


def keys() -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ALLOW_HTTP": "true"}
