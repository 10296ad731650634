import datetime
import io
import ipaddress
import json
import mmap
import multiprocessing
import os
import random
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from mmpretrain.__main__ import cli
from mmpretrain.core.errors import ConfigError, DataError
from mmpretrain.data.chunks import PAGE, ChunkCache
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.faults import BadSample
from mmpretrain.data.remote import _filesystem
from mmpretrain.data.samples import ShardReader
from mmpretrain.data.shard_bytes import RemoteShard, as_file, locate, open_bytes
from mmpretrain.data.shards import open_index
from mmpretrain.data.storage import Storage
from mmpretrain.recipes.datasets import index as data_commands
from mmpretrain.recipes.datasets.check import check
from tests.conftest import write_card
from tests.data.object_server import ObjectServer, Script, serving
from tests.data.test_loader import assert_same, steps

pytestmark = pytest.mark.timeout(60)

CHUNK = 65_536
CONTENT = random.Random(0).randbytes(5 * CHUNK + 777)
DEADLINE = 4.0


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    with serving() as server:
        server.objects["a.bin"] = CONTENT
        yield server


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(
        cache=str(tmp_path / "cache"),
        chunk_bytes=CHUNK,
        deadline_seconds=DEADLINE,
        stall_seconds=0.3,
        min_rate=10_000,
        tries=4,
        backoff_seconds=0.01,
    )


def remote(server: ObjectServer, storage: Storage, name: str = "a.bin") -> RemoteShard:
    shard = locate(server.url(name), Path("."), storage)
    assert isinstance(shard, RemoteShard)
    return shard


def whole(server: ObjectServer, storage: Storage) -> bytes:
    source = open_bytes(remote(server, storage))
    return source.read(0, source.size)


def refusal(server: ObjectServer, storage: Storage) -> str:
    """The one line that a reader gets, in time."""
    began = time.monotonic()
    with pytest.raises(DataError) as caught:
        whole(server, storage)
    assert time.monotonic() - began < DEADLINE + 1.5
    message = str(caught.value)
    assert server.url("a.bin") in message
    assert "\n" not in message
    return message


# -- scripts of servers: what they do to requests other than the probe ---------------------------------------


def once(script: Script) -> Script:
    """Misbehaves towards the first request for each chunk, then well."""
    seen: set[str] = set()

    def first_time(request) -> bool:
        end = request.headers["Range"].rpartition("-")[2]
        if request.is_probe or end in seen:
            return False
        seen.add(end)
        return script(request)

    return first_time


def always(script: Script) -> Script:
    return lambda request: not request.is_probe and script(request)


def stall(request) -> bool:
    first, end = request.range
    request.send_range(first, end)
    request.wfile.write(request.content[first : first + 1000])
    request.hang()
    return True


def say_nothing(request) -> bool:
    request.hang()
    return True


def drip(request) -> bool:
    first, end = request.range
    request.send_range(first, end)
    request.drip(request.content[first:end], 0.05)
    request.close_connection = True
    return True


def drip_headers(request) -> bool:
    request.drip(b"HTTP/1.1 206 Partial Content\r\nX-Filler: " + b"x" * 10_000, 0.05)
    request.close_connection = True
    return True


def cut(request) -> bool:
    first, end = request.range
    request.send_range(first, end)
    request.wfile.write(request.content[first : first + 30_000])
    request.cut()
    return True


def cut_before_the_answer(request) -> bool:
    request.cut()
    return True


def fail(request) -> bool:
    request.answer(500, b"ouch")
    return True


def too_busy(request) -> bool:
    request.answer(429, b"later")
    return True


def web_page(request) -> bool:
    request.answer(200, b"<html>please log in</html>", Content_Type="text/html")
    return True


def web_page_of_the_right_length(request) -> bool:
    first, end = request.range
    body = b"<html>".ljust(end - first)
    request.send_response(206)
    request.send_header("Content-Range", f"bytes {first}-{end - 1}/{len(request.content)}")
    request.send_header("Content-Length", str(len(body)))
    request.send_header("Content-Type", "text/html; charset=utf-8")
    request.end_headers()
    request.wfile.write(body)
    return True


def lie_about_length(request) -> bool:
    first, end = request.range
    request.serve(length=end - first + 100)
    request.close_connection = True
    return True


def lie_about_shorter_length(request) -> bool:
    first, end = request.range
    request.serve(length=end - first - 100)
    request.close_connection = True
    return True


def lie_about_range(request) -> bool:
    first, end = request.range
    request.serve(content_range=f"bytes {first + 1}-{end}/{len(request.content)}")
    return True


def no_content_range(request) -> bool:
    first, end = request.range
    request.answer(206, request.content[first:end])
    return True


def send_more_in_chunks(request) -> bool:
    first, end = request.range
    request.send_response(206)
    request.send_header("Content-Range", f"bytes {first}-{end - 1}/{len(request.content)}")
    request.send_header("Transfer-Encoding", "chunked")
    request.send_header("ETag", '"1"')
    request.end_headers()
    body = request.content[first:end] + b"and then some"
    request.wfile.write(f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n")
    return True


PASSING = {
    "stall": stall,
    "silence": say_nothing,
    "drip": drip,
    "cut": cut,
    "cut before the answer": cut_before_the_answer,
    "500": fail,
    "429": too_busy,
    "html": web_page,
    "html as 206": web_page_of_the_right_length,
    "long": lie_about_length,
    "short": lie_about_shorter_length,
    "other range": lie_about_range,
    "no range": no_content_range,
    "more": send_more_in_chunks,
}


@pytest.mark.parametrize("script", PASSING.values(), ids=PASSING)
def test_a_server_that_fails_for_once_gives_the_truth(server: ObjectServer, storage: Storage, script: Script):
    server.script = once(script)
    patient = replace(storage, deadline_seconds=20)
    assert whole(server, patient) == CONTENT


CAUSES = {
    "silence": (say_nothing, r"no answer within 0\.3 s"),
    "headers drip": (drip_headers, r"no answer within 0\.3 s"),
    "cut before the answer": (cut_before_the_answer, "check the network"),
    "500": (fail, "status 500"),
    "429": (too_busy, "status 429"),
    "html": (web_page, "web page"),
    "html as 206": (web_page_of_the_right_length, "web page"),
    "short": (lie_about_shorter_length, "Content-Length|no proper HTTP"),
    "other range": (lie_about_range, "Content-Range"),
    "no range": (no_content_range, "Content-Range None"),
}


@pytest.mark.parametrize(("script", "cause"), CAUSES.values(), ids=CAUSES)
def test_a_server_that_always_fails_is_named_within_the_deadline(
    server: ObjectServer, storage: Storage, script: Script, cause: str
):
    server.script = always(script)
    assert re.search(cause, refusal(server, storage))


def test_a_drip_is_cut_off_at_the_deadline_although_bytes_keep_coming(server: ObjectServer, storage: Storage):
    server.script = always(drip)
    assert "are under data.storage.min_rate" in refusal(server, storage)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_not_tried_again(server: ObjectServer, storage: Storage, status: int):
    server.script = lambda request: request.answer(status, b"no") or True
    assert f"status {status}" in refusal(server, storage)
    assert len(server.requests) == 1


def test_an_object_that_is_missing_names_the_card(server: ObjectServer, storage: Storage):
    with pytest.raises(DataError, match=r"nothing\.bin: status 404 .*; correct the URL in dataset\.yaml"):
        _ = open_bytes(remote(server, storage, "nothing.bin")).size


def test_a_server_that_ignores_range_is_refused(server: ObjectServer, storage: Storage):
    server.script = lambda request: request.answer(200, CONTENT) or True
    assert "ignores Range" in refusal(server, storage)


@pytest.mark.parametrize("change", ["etag", "size"])
def test_an_object_that_changes_in_between_is_named(server: ObjectServer, storage: Storage, change: str):
    source = open_bytes(remote(server, storage))
    assert source.read(0, 10) == CONTENT[:10]
    if change == "etag":
        server.etags["a.bin"] = '"2"'
    else:
        server.objects["a.bin"] = CONTENT + b"more"
    assert source.read(10, 10) == CONTENT[10:20], "what was fetched before is still right"
    with pytest.raises(DataError, match="changed while it was read"):
        source.read(2 * CHUNK, 10)


def test_a_broken_transfer_goes_on_from_its_last_good_byte(server: ObjectServer, storage: Storage):
    def cut_twice(request) -> bool:
        return not request.is_probe and request.number in (2, 3) and cut(request)

    server.script = cut_twice
    assert open_bytes(remote(server, storage)).read(0, CHUNK) == CONTENT[:CHUNK]
    starts = [int(wanted.removeprefix("bytes=").split("-")[0]) for _, wanted in server.requests]
    assert starts[:2] == [0, 0]
    assert starts[2:] == sorted(set(starts[2:]))
    assert starts[-1] >= 30_000


def test_nobody_listens(storage: Storage):
    with serving() as server:
        shard = remote(server, storage)
    with pytest.raises(DataError, match="check the network"):
        _ = open_bytes(shard).size


# -- redirects -----------------------------------------------------------------------------------------------


def test_a_redirect_is_followed(server: ObjectServer, storage: Storage):
    server.script = lambda request: request.path == "/old" and (request.answer(302, b"", Location="/a.bin") or True)
    source = open_bytes(remote(server, storage, "old"))
    assert source.read(0, source.size) == CONTENT


@pytest.mark.parametrize(
    ("target", "cause"),
    [
        ("file:///etc/passwd", "scheme 'file'"),
        ("http://example.org/a", "scheme 'http'"),
        ("gopher://example.org/", "scheme 'gopher'"),
        ("/a.bin", "more than 5"),
    ],
)
def test_a_redirect_out_of_what_is_allowed_is_refused(server: ObjectServer, storage: Storage, target: str, cause: str):
    # the last one leads to itself
    server.script = lambda request: request.answer(302, b"", Location=target) or True
    assert cause in refusal(server, storage)


# -- https ---------------------------------------------------------------------------------------------------

READ_AS_ANOTHER_PROCESS = """
import sys
from pathlib import Path
from mmpretrain.core.errors import DataError
from mmpretrain.data.shard_bytes import locate, open_bytes
from mmpretrain.data.storage import Storage
storage = Storage(cache=sys.argv[2], chunk_bytes=65536, tries=1, stall_seconds=10)
try:
    print(len(open_bytes(locate(sys.argv[1], Path("."), storage)).read(0, 10**9)))
except DataError as error:
    print(error)
"""


@pytest.mark.parametrize("trusted", [True, False])
def test_https_wants_a_certificate_that_this_machine_trusts(server: ObjectServer, tmp_path: Path, trusted: bool):
    write_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = server.url("a.bin").replace("http:", "https:")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    if trusted:
        environment["SSL_CERT_FILE"] = str(tmp_path / "cert.pem")
    command = [sys.executable, "-c", READ_AS_ANOTHER_PROCESS, url, str(tmp_path / "cache")]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60).stdout
    assert said.strip() == str(len(CONTENT)) if trusted else "certificate verify failed" in said


def write_certificate(folder: Path) -> None:
    """cert.pem and key.pem of a server at 127.0.0.1 that vouches for itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    plain = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))


# -- the cache -----------------------------------------------------------------------------------------------


def entries(storage: Storage) -> list[Path]:
    return [path for path in Path(str(storage.cache)).iterdir() if not path.name.startswith("lock-")]


def test_what_was_fetched_is_not_fetched_again_by_another_reader(server: ObjectServer, storage: Storage):
    assert whole(server, storage) == CONTENT
    asked = len(server.requests)
    assert whole(server, storage) == CONTENT
    assert len(server.requests) == asked


def test_reads_at_any_place_give_the_bytes_of_that_place(server: ObjectServer, storage: Storage):
    source = open_bytes(remote(server, storage))
    draw = random.Random(1)
    for _ in range(200):
        start, size = draw.randrange(len(CONTENT) + 100), draw.randrange(3 * CHUNK)
        assert source.read(start, size) == CONTENT[start : start + size]


def test_a_torn_or_changed_entry_is_fetched_again_and_never_believed(server: ObjectServer, storage: Storage):
    draw = random.Random(2)
    for _ in range(40):
        assert whole(server, storage) == CONTENT
        file = draw.choice(entries(storage))
        content = bytearray(file.read_bytes())
        if draw.random() < 0.5:
            content = content[: draw.randrange(len(content))]
        else:
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        file.write_bytes(content)
        assert whole(server, storage) == CONTENT


def test_the_cache_stays_within_its_bytes_and_drops_what_was_unused_for_longest(tmp_path: Path):
    cache = ChunkCache(tmp_path / "cache", capacity=4 * (PAGE + 100))
    for number in range(4):
        cache.write(str(number), bytes([number]) * PAGE)
        time.sleep(0.01)
    assert cache.read("0", 0, 1, PAGE) == b"\0"
    cache.write("4", b"4" * PAGE)
    assert [cache.read(str(n), 0, 1, PAGE) is not None for n in range(5)] == [True, False, True, True, True]
    assert sum(path.stat().st_size for path in (tmp_path / "cache").iterdir()) <= cache.capacity


def test_a_temporary_file_of_a_process_that_died_goes_after_an_hour(tmp_path: Path):
    cache = ChunkCache(tmp_path, capacity=10 * PAGE)
    old, new = tmp_path / "x.1.1.tmp", tmp_path / "y.1.1.tmp"
    for path in (old, new):
        path.write_bytes(b"torn")
    os.utime(old, (0, 0))
    cache.write("a", b"a")
    assert (old.exists(), new.exists()) == (False, True)


def test_without_a_cache_only_what_is_asked_for_is_fetched(server: ObjectServer, storage: Storage):
    source = open_bytes(remote(server, replace(storage, cache_bytes=0)))
    assert source.read(1000, 10) == CONTENT[1000:1010]
    assert server.requests[-1][1] == "bytes=1000-1009"


def test_a_cache_that_cannot_be_written_names_the_key(server: ObjectServer, storage: Storage, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"set data\.storage\.cache"):
        open_bytes(remote(server, replace(storage, cache=str(tmp_path / "file" / "cache"))))


def test_a_disk_that_fills_up_ends_the_cache_and_not_the_run(server: ObjectServer, storage: Storage):
    source = open_bytes(remote(server, storage))
    assert source.read(0, 10) == CONTENT[:10]
    folder = Path(str(storage.cache))
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    with pytest.warns(UserWarning, match="going on without the cache"):
        assert source.read(CHUNK, 10) == CONTENT[CHUNK : CHUNK + 10]
    assert source.read(5, 10) == CONTENT[5:15]


def _read_all(url: str, storage: Storage, answers) -> None:
    source = open_bytes(locate(url, Path("."), storage))
    answers.put(source.read(0, source.size) == CONTENT)


@pytest.mark.processes
def test_processes_that_want_the_same_chunks_fetch_them_once(server: ObjectServer, storage: Storage):
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    patient = replace(storage, deadline_seconds=30, stall_seconds=10)
    readers = [context.Process(target=_read_all, args=(server.url("a.bin"), patient, answers)) for _ in range(4)]
    for reader in readers:
        reader.start()
    assert [answers.get(timeout=30) for _ in readers] == [True] * 4
    for reader in readers:
        reader.join(10)
    ranges = [wanted for _, wanted in server.requests if wanted != "bytes=0-0"]
    assert sorted(ranges) == sorted(set(ranges))


# -- datasets over a network ---------------------------------------------------------------------------------


@pytest.fixture
def far_shapes(shapes: Path, server: ObjectServer, tmp_path: Path) -> Path:
    """The toy dataset with its shards behind URLs."""
    for path in shapes.glob("*.tar"):
        server.objects[f"shapes/{path.name}"] = path.read_bytes()
    folder = tmp_path / "far"
    folder.mkdir()
    urls = [server.url("shapes/train-{00000..00002}.tar")]
    write_card(folder, {"train": (urls, 48), "val": ([server.url("shapes/val-00000.tar")], 13)})
    return folder


@pytest.mark.parametrize("workers", [0, 2])
def test_training_over_http_sees_what_training_from_disk_sees(
    shapes: Path, far_shapes: Path, storage: Storage, workers: int
):
    patient = replace(storage, deadline_seconds=30, stall_seconds=10)
    near, far = steps(shapes, 6), steps(far_shapes, 6, workers=workers, storage=patient)
    assert_same(near, far)


def test_the_index_of_a_remote_shard_lives_beside_the_card_and_the_digest_is_that_of_the_disk(
    shapes: Path, far_shapes: Path, storage: Storage
):
    far = Dataset(str(far_shapes), "train", storage=storage)
    assert far.digest == Dataset(str(shapes), "train").digest
    names = sorted(path.name for path in far_shapes.glob("*.index"))
    assert len(names) == 3
    assert all(
        name.startswith("127.0.0.1-") and name.endswith(f"train-0000{n}.tar.index")
        for n, name in enumerate(sorted(names, key=lambda name: name[-16:]))
    )


def test_a_shard_is_downloaded_once_for_index_digest_and_training(
    far_shapes: Path, server: ObjectServer, storage: Storage
):
    list(Dataset(str(far_shapes), "train", verify=True, storage=storage).samples())
    ranges = [request for request in server.requests if request[1] != "bytes=0-0"]
    assert len(ranges) == len(set(ranges)) > 0


def test_the_index_and_check_commands_take_remote_shards(far_shapes: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    said = Console(file=io.StringIO(), width=300)
    data_commands.index(str(far_shapes), said)
    facts = check(str(far_shapes), {"distance": 4}, 0, said)
    assert {problem["kind"] for problem in facts["problems"]} >= {"leak_text"}, "as toys do; all were read to know it"
    assert "61 samples in 4 shards" in said.file.getvalue()
    assert list((tmp_path / "xdg" / "mmpretrain" / "chunks").iterdir())


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["data", *map(str, arguments)])


def test_commands_read_remote_shards_as_they_are_told(far_shapes: Path, server: ObjectServer, tmp_path: Path):
    cache = tmp_path / "its cache"
    storage = ("--storage", f"cache={cache}", "--storage", "chunk_bytes=65536")
    assert "61 samples in 4 shards" in " ".join(invoke("index", far_shapes, *storage).output.split())
    assert any(cache.iterdir())
    server.script = lambda request: request.answer(404, b"gone") or True
    checked = json.loads(invoke("check", far_shapes, *storage, "--json").stdout)
    assert checked["samples"] == {"train": 48, "val": 13}, "from that cache alone"
    chosen = ("dedup", "--out", tmp_path / "a"), ("stats", "--page", tmp_path / "b"), ("order",)
    for verb, *more in (*chosen, ("show", "--batch", 4, "--size", 32, "--out", tmp_path / "c")):
        answer = invoke(verb, far_shapes, *more, *storage)
        assert answer.exception is None, answer.output


def test_commands_are_told_which_schemes_a_card_may_use(tmp_path: Path):
    write_card(tmp_path, {"train": (["http://192.0.2.1/a.tar"], 1)})  # an address kept for documents
    assert "scheme 'http'" in str(invoke("index", tmp_path).exception)
    quick = ("--storage", "tries=1", "--storage", "deadline_seconds=0.2")
    answer = invoke("index", tmp_path, "--storage", "schemes=[http]", *quick)
    assert isinstance(answer.exception, DataError), "allowed, and nobody is there"
    assert "http://192.0.2.1/a.tar: " in str(answer.exception)


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("s3_endpont=x", "--storage s3_endpont: unknown key; did you mean 's3_endpoint'?"),
        ("chunk_bytes=70000", "--storage chunk_bytes: 70000 is no multiple of 65536"),
        ("tries=0", "--storage tries: input should be greater than 0, found 0"),
        ("cache", "--storage 'cache': an override reads key.sub=value"),
    ],
)
def test_mistakes_in_what_a_command_is_told_are_named(pair: str, said: str):
    for verb in (("index", "emoji"), ("contamination", "emoji:train", "emoji:val")):
        answer = invoke(*verb, "--storage", pair)
        assert isinstance(answer.exception, ConfigError)
        assert str(answer.exception) == said


def test_a_remote_shard_that_is_another_one_now_is_refused(far_shapes: Path, server: ObjectServer, storage: Storage):
    Dataset(str(far_shapes), "val", storage=storage)
    server.objects["shapes/val-00000.tar"] += b"\0" * 512
    other = replace(storage, tries=3)  # as another process would: nothing remembered
    with pytest.raises(DataError, match="is not the file that was indexed"):
        Dataset(str(far_shapes), "val", storage=other)


def test_bytes_that_were_damaged_on_the_way_are_asked_for_again(
    far_shapes: Path, server: ObjectServer, storage: Storage
):
    dataset = Dataset(str(far_shapes), "val", storage=storage)
    for path in entries(storage):
        path.unlink()

    def garble(request) -> bool:
        if request.is_probe:
            return False
        first, end = request.range
        request.send_range(first, end)
        request.wfile.write(bytes(end - first))
        return True

    server.script = once(garble)
    assert len(list(dataset.samples())) == 13
    server.script = always(garble)
    for path in entries(storage):
        path.unlink()
    with pytest.raises(BadSample, match="checksum"):
        ShardReader().read(dataset.shards[0], 0)


def test_a_shard_that_vanishes_is_named_with_its_cause(far_shapes: Path, server: ObjectServer, storage: Storage):
    dataset = Dataset(str(far_shapes), "val", storage=replace(storage, cache_bytes=0))
    del server.objects["shapes/val-00000.tar"]
    with pytest.raises(DataError, match=r"val-00000\.tar: status 404"):
        list(dataset.samples())


def test_a_remote_shard_can_be_mapped_as_a_local_one_is(server: ObjectServer, storage: Storage, tmp_path: Path):
    (tmp_path / "a.bin").write_bytes(CONTENT)
    for shard in (remote(server, storage), tmp_path / "a.bin"):
        with as_file(shard) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            assert content[:] == CONTENT


def test_a_remote_tar_that_is_cut_off_is_named(server: ObjectServer, storage: Storage, shapes: Path, tmp_path: Path):
    content = (shapes / "val-00000.tar").read_bytes()
    server.objects["cut.tar"] = content[: len(content) // 2 // 512 * 512 + 100]
    with pytest.raises(DataError, match=r"cut\.tar"):
        open_index(locate(server.url("cut.tar"), tmp_path, storage))


def test_passwords_and_signatures_stay_out_of_messages(server: ObjectServer, storage: Storage):
    url = server.url("none.tar?X-Amz-Signature=secret").replace("//", "//user:password@")
    with pytest.raises(DataError) as caught:
        _ = open_bytes(locate(url, Path("."), storage)).size
    assert "secret" not in str(caught.value)
    assert "password" not in str(caught.value)


# -- s3 ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The endpoint of a server that speaks S3, with shards of toys in the bucket `toys`."""
    moto = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    server = moto.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "y"), ("DEFAULT_REGION", "us-east-1")):
            patch.setenv(f"AWS_{name}", value)
        boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="toys")
        yield endpoint
    server.stop()


def test_training_from_s3_sees_what_training_from_disk_sees(shapes: Path, s3: str, storage: Storage, tmp_path: Path):
    import boto3

    client = boto3.client("s3", endpoint_url=s3)
    for path in shapes.glob("train-*.tar"):
        client.upload_file(str(path), "toys", f"shapes+more/{path.name}")
    write_card(tmp_path, {"train": (["s3://toys/shapes+more/train-{00000..00002}.tar"], 48)})
    patient = replace(storage, s3_endpoint=s3, deadline_seconds=30, stall_seconds=10)
    assert_same(steps(shapes, 6), steps(tmp_path, 6, storage=patient))


def test_commands_look_at_a_bucket_of_another_endpoint(shapes: Path, s3: str, tmp_path: Path):
    import boto3

    client = boto3.client("s3", endpoint_url=s3)
    for path in shapes.glob("*.tar"):
        client.upload_file(str(path), "toys", f"looked-at/{path.name}")
    folder, cache = tmp_path / "far", tmp_path / "cache"
    folder.mkdir()
    urls = [f"s3://toys/looked-at/{name}" for name in ("train-{00000..00002}.tar", "val-00000.tar")]
    write_card(folder, {"train": (urls[:1], 48), "val": (urls[1:], 13)})
    storage = ("--storage", f"s3_endpoint={s3}", "--storage", f"cache={cache}")
    assert "61 samples in 4 shards" in " ".join(invoke("index", folder, *storage).output.split())
    checked = json.loads(invoke("check", folder, *storage, "--json").stdout)
    assert all(problem["kind"].startswith(("leak", "near")) for problem in checked["problems"]), "as toys do"
    stats = json.loads(invoke("stats", folder, *storage, "--page", tmp_path / "page.html", "--json").stdout)
    assert (stats["samples"], stats["damage"]) == (61, {})
    words = ("--keep", "text_based", "--out", tmp_path / "kept")
    assert invoke("filter", folder, *storage, *words).exception is None
    assert len(Dataset(str(tmp_path / "kept"), "val")) == 13
    parts = ("--out", tmp_path / "new", "--test", 0, "--val", 0.3, "--without", "caption", "--without", "text_group")
    answer = invoke("split", folder, *storage, *parts, "--without", "near")
    assert answer.exception is None, answer.output
    named = f"{folder}:train", f"{folder}:val", "--out", tmp_path / "found.jsonl"
    assert invoke("contamination", *named, *storage).exception is None
    assert "s3://toys/looked-at/val-00000.tar" in (tmp_path / "found.jsonl").read_text()


def test_what_s3_does_not_have_is_named(s3: str, storage: Storage):
    patient = replace(storage, s3_endpoint=s3, stall_seconds=10)
    for url in ("s3://toys/nothing.tar", "s3://no-such-bucket/a.tar"):
        with pytest.raises(DataError, match=f"{url}: status 404"):
            _ = open_bytes(locate(url, Path("."), patient)).size


def test_an_s3_object_that_changes_in_between_is_named(s3: str, storage: Storage):
    import boto3

    client = boto3.client("s3", endpoint_url=s3)
    client.put_object(Bucket="toys", Key="a.bin", Body=CONTENT)
    source = open_bytes(locate("s3://toys/a.bin", Path("."), replace(storage, s3_endpoint=s3, stall_seconds=10)))
    assert source.read(0, CHUNK) == CONTENT[:CHUNK]
    client.put_object(Bucket="toys", Key="a.bin", Body=bytes(len(CONTENT)))
    with pytest.raises(DataError, match="changed while it was read"):
        source.read(CHUNK, 10)


def test_s3_without_credentials_says_so(s3: str, storage: Storage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    url = "s3://toys/a.bin"
    alone = replace(storage, s3_endpoint=s3, stall_seconds=9)
    _filesystem.cache_clear()
    with pytest.raises(DataError, match="give credentials"):
        _ = open_bytes(locate(url, Path("."), alone)).size
    _filesystem.cache_clear()
