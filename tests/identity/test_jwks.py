"""An issuer's keys are read in one way, fetched with restraint, and no stranger can hold that up."""

from __future__ import annotations

import asyncio
import gzip
import logging
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from joserfc import jwk
from oidc_makers import BINDING, FIRM, NOW, Issuer, as_json, b64, jwks, shown

from ztsession.errors import ConfigurationError, EvidenceError, TransportError
from ztsession.identity import jwks as module
from ztsession.identity import oidc_settings
from ztsession.identity.jose import from_base64url, strict_json
from ztsession.identity.jwks import AsyncJwksCache, FixedJwks, JwksCache, read_jwks
from ztsession.identity.jwks_fetch import (
    async_fetcher,
    fetch,
    fetch_async,
    fetcher,
    is_fetchable,
    open_client,
)
from ztsession.identity.oidc import OidcVerifier, ProofKey
from ztsession.identity.subjects import AllSubjects, FileSubjects
from ztsession.wire.operator_file import read_toml


@pytest.fixture(scope="module")
def old():
    return Issuer(kid="old")


@pytest.fixture(scope="module")
def new():
    return Issuer(kid="new", algorithm="Ed25519")


@pytest.fixture(scope="module")
def rsa():
    return Issuer(kid="rsa", algorithm="RS256")


# ---- Reading


def test_a_key_set_gives_its_signature_keys(old, new, rsa):
    """Each key is found by its id, with its kind and the algorithm that it is tied to."""
    keys = read_jwks(jwks(old, new, rsa))
    assert {kid: (key.kty, key.crv, key.alg) for kid, key in keys.items()} == {
        "old": ("EC", "P-256", "ES256"),
        "new": ("OKP", "Ed25519", "Ed25519"),
        "rsa": ("RSA", "", "RS256"),
    }


def test_what_is_meant_for_others_is_left_out(old):
    """Keys without an id, for encryption, of unknown kinds, curves or algorithms do not become ours."""
    point = old.jwk
    others = [
        {"kid": None},
        {"kid": 7},
        {"kid": ""},
        {"kid": "k" * 257},
        {"kid": "a", "use": "enc"},
        {"kid": "a", "key_ops": ["encrypt"]},
        {"kid": "a", "key_ops": "verify"},
        {"kid": "a", "alg": "ECDH-ES"},
        {"kid": "a", "alg": ["ES256"]},
        {"kid": "a", "crv": "secp256k1"},
        {"kid": "a", "crv": ["P-256"]},
        {"kid": "a", "kty": "AKP"},
    ]
    for other in others:
        assert set(read_jwks(as_json({"keys": [point, point | other]}))) == {"old"}
        with pytest.raises(EvidenceError, match="no key to verify"):
            read_jwks(as_json({"keys": [point | other]}))


def test_unfit_key_sets_are_refused_whole(old, new, rsa):
    """Secret, symmetric, weak, invalid and doubled keys make the set unfit, whatever else is in it."""
    p256, ed, modulus = old.jwk, new.jwk, rsa.jwk
    weak = modulus | {"n": b64(b"\xff" * 128)}
    table = [
        (1, old.key.as_dict(private=True), "secret key"),
        (2, rsa.key.as_dict(private=True), "secret key"),
        (3, {"kty": "oct", "kid": "s", "k": b64(bytes(32))}, "secret key"),
        (4, {"kty": "oct", "kid": "s"}, "secret key"),
        (5, p256 | {"kid": "a", "k": "x"}, "secret key"),
        (6, p256 | {"use": "enc", "d": "x"}, "secret key"),
        (7, p256, "two keys of one id"),
        (8, ed | {"kid": "old"}, "two keys of one id"),
        (9, p256 | {"kid": "a", "x": p256["y"]}, "off its curve"),
        (10, p256 | {"kid": "a", "x": b64(bytes(32)), "y": b64(bytes(32))}, "off its curve"),
        (11, p256 | {"kid": "a", "x": b64(bytes(33))}, "wrong length"),
        (12, p256 | {"kid": "a", "x": ""}, "wrong length"),
        (13, p256 | {"kid": "a", "y": None}, "base64url"),
        (14, p256 | {"kid": "a", "x": p256["x"] + "="}, "base64url"),
        (15, p256 | {"kid": "a", "crv": "P-384"}, "wrong length"),
        (16, ed | {"kid": "a", "x": b64(bytes(32))}, "small order"),
        (17, ed | {"kid": "a", "x": b64(b"\xff" * 32)}, "canonical"),
        (18, ed | {"kid": "a", "x": b64(bytes(31))}, "32 bytes"),
        (19, weak | {"kid": "a"}, "2048"),
        (20, modulus | {"kid": "a", "n": b64(b"\xff" * 1025)}, "8192"),
        (21, modulus | {"kid": "a", "n": b64(b"\x00" + b"\xff" * 256)}, "2048"),
        (22, modulus | {"kid": "a", "n": ""}, "2048"),
        (23, modulus | {"kid": "a", "e": "Aw"}, "RSA"),
        (24, modulus | {"kid": "a", "e": modulus["n"]}, "RSA"),
        (25, "text", "no key"),
        (26, {"kid": "a"}, "no key"),
        (27, {"kty": ["EC"]}, "no key"),
    ]
    for number, bad, match in table:
        with pytest.raises(EvidenceError) as caught:
            read_jwks(as_json({"keys": [p256, bad]}))
        assert match in str(caught.value), (number, str(caught.value))
    assert set(read_jwks(as_json({"keys": [p256, ed, modulus]}))) == {"old", "new", "rsa"}


def test_D7_key_sets_are_bounded(old):
    """A set over 256 KiB or of more than 64 keys is refused, one at the limit is read."""
    many = [old.jwk | {"kid": str(number)} for number in range(65)]
    assert len(read_jwks(as_json({"keys": many[:64]}))) == 64
    with pytest.raises(EvidenceError, match="at most 64"):
        read_jwks(as_json({"keys": many}))
    padded = jwks(old).ljust(262144)
    assert set(read_jwks(padded)) == {"old"}
    with pytest.raises(EvidenceError, match="262144"):
        read_jwks(padded + b" ")
    for keys in (None, {}, "x", 1):
        with pytest.raises(EvidenceError, match="no list"):
            read_jwks(as_json({"keys": keys}))


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "Ed25519", "EdDSA", "RS384", "PS512"])
def test_a_key_verifies_what_it_signed_and_nothing_else(algorithm):
    """Another message, another signature, another length or another algorithm does not hold."""
    issuer = Issuer(algorithm=algorithm)
    key = read_jwks(jwks(issuer))["k1"]
    signed, _, signature = issuer.crafted({}, {}).rpartition(".")
    message, good = signed.encode(), from_base64url(signature, "it")
    key.verify(algorithm, message, good)
    bad = bytes([good[0] ^ 1]) + good[1:]
    for case in (
        (message + b"x", good),
        (message, bad),
        (message, good[:-1]),
        (message, b""),
        (message, good + b"\0"),
    ):
        with pytest.raises(EvidenceError, match="does not hold"):
            key.verify(algorithm, *case)
    for other in ("none", "HS256", "ES256K", "RS512", ""):
        with pytest.raises(EvidenceError, match="not one of its key"):
            key.verify(other, message, good)


def test_a_key_that_names_no_algorithm_takes_those_of_its_kind(rsa):
    """Without alg in the key set, an RSA key verifies RS256 and PS256 alike, and still nothing elliptic."""
    free = {name: value for name, value in rsa.jwk.items() if name != "alg"}
    key = read_jwks(as_json({"keys": [free]}))["rsa"]
    signed, _, signature = rsa.crafted({}, {}).rpartition(".")
    key.verify("RS256", signed.encode(), from_base64url(signature, "it"))
    with pytest.raises(EvidenceError, match="does not hold"):
        key.verify("PS256", signed.encode(), from_base64url(signature, "it"))
    with pytest.raises(EvidenceError, match="not one of its key"):
        key.verify("ES256", signed.encode(), from_base64url(signature, "it"))


def test_fixed_keys_are_found_by_id(old):
    """A file's keys are there, others are not."""
    fixed = FixedJwks(read_jwks(jwks(old)))
    assert fixed.key("old").kid == "old"
    with pytest.raises(EvidenceError, match="no key"):
        fixed.key("new")


# ---- Keeping


class Source:
    """An issuer's address: what it answers, how often it was asked, and whether it hangs."""

    def __init__(self, answer: bytes | Exception) -> None:
        self.answer, self.asked, self.at = answer, 0, 1000.0
        self.go = threading.Event()
        self.go.set()

    def clock(self) -> float:
        return self.at

    def __call__(self) -> bytes:
        self.asked += 1
        answer = self.answer
        assert self.go.wait(20)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def later(self) -> bytes:
        self.asked += 1
        answer = self.answer
        while not self.go.is_set():
            await asyncio.sleep(0.001)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Asked:
    """A cache and its source, asked through one face whether it is the plain or the async one."""

    def __init__(self, kind: str, source: Source) -> None:
        self.source, self._loop = source, asyncio.new_event_loop()
        self._cache = (
            JwksCache(source, name=FIRM, clock=source.clock)
            if kind == "plain"
            else AsyncJwksCache(source.later, name=FIRM, clock=source.clock)
        )

    def key(self, kid):
        found = self._cache.key(kid)
        return found if isinstance(self._cache, JwksCache) else self._loop.run_until_complete(found)

    def misses(self, kid):
        with pytest.raises(EvidenceError, match="no key"):
            self.key(kid)

    def close(self):
        self._loop.close()


@pytest.fixture(params=["plain", "async"])
def cache(request, old):
    asked = Asked(request.param, Source(jwks(old)))
    yield asked
    asked.source.go.set()
    asked.close()


def test_keys_are_fetched_when_first_needed_and_kept(cache):
    """Nothing is fetched before a key is wanted, and then once for an hour."""
    assert cache.source.asked == 0
    for _ in range(100):
        assert cache.key("old").kid == "old"
    cache.source.at += 3599
    cache.key("old")
    assert cache.source.asked == 1
    cache.source.at += 1
    cache.key("old")
    assert cache.source.asked == 2


def test_D7_unknown_ids_cause_one_question_in_ten_seconds(cache, new):
    """A flood of unknown key ids asks the issuer once in ten seconds, and known keys go on."""
    for second in range(25):
        for number in range(40):
            cache.misses(f"{second}-{number}")
        cache.key("old")
        cache.source.at += 1
    assert cache.source.asked == 3
    cache.source.answer = jwks(new)
    cache.source.at += 10
    cache.misses("still nobody's")
    assert cache.key("new").kid == "new"  # the flood itself fetched it
    assert cache.source.asked == 4


def test_failing_fetches_are_rate_limited_too(cache):
    """An issuer that is down is asked once in ten seconds, not once for each handshake."""
    cache.source.answer = TransportError("down")
    for _ in range(21):
        cache.misses("old")
        cache.source.at += 1
    assert cache.source.asked == 3


def test_a_new_key_is_learned_and_a_withdrawn_one_forgotten(cache, old, new):
    """A token with a new key's id makes the set be fetched again, which ends the key that is not in it."""
    cache.key("old")
    cache.source.answer = jwks(new)
    cache.misses("new")  # within ten seconds of the last question
    cache.source.at += 10
    assert cache.key("new").kid == "new"
    cache.misses("old")
    cache.source.answer = jwks(old, new)
    cache.source.at += 10
    assert cache.key("old").kid == "old"


def test_H14_a_withdrawn_key_is_forgotten_within_the_hour(cache, new):
    """Without any new key's id being seen, a withdrawn key is refused once an hour has passed."""
    cache.key("old")
    cache.source.answer = jwks(new)
    cache.source.at += 3599
    cache.key("old")
    cache.source.at += 1
    cache.misses("old")


def test_stale_keys_serve_for_four_hours_and_no_longer(cache, old):
    """While the issuer is down its last keys hold until they are four hours old; then nothing does."""
    cache.key("old")
    cache.source.answer = TransportError("down")
    cache.source.at += 4 * 3600 - 1
    cache.key("old")
    cache.source.at += 1
    cache.misses("old")
    cache.source.answer = jwks(old)
    cache.source.at += 10
    cache.key("old")


@pytest.mark.parametrize("answer", [b"", b"{}", b"<html>", b" " * 262145, ValueError("x"), RecursionError()])
def test_an_unfit_answer_changes_nothing(cache, old, answer, caplog):
    """An answer that is no key set, or a fetch that fails however, leaves the keys as they were."""
    cache.key("old")
    cache.source.answer = answer
    cache.source.at += 10
    with caplog.at_level(logging.WARNING):
        cache.misses("new")
    assert f"keys of {FIRM} could not be fetched" in caplog.text
    cache.key("old")
    cache.source.answer = as_json({"keys": [old.key.as_dict(private=True)]})
    cache.source.at += 10
    cache.misses("new")
    cache.key("old")


def test_keys_are_as_old_as_the_question(old):
    """An answer that was long on its way is not fresh when it comes."""
    source = Source(jwks(old))
    cache = JwksCache(source, clock=source.clock)
    source.go.clear()
    waiting = threading.Thread(target=lambda: cache.key("old"))
    waiting.start()
    while source.asked == 0:
        time.sleep(0.001)
    source.at += 1800
    source.go.set()
    waiting.join()
    source.at += 1801
    cache.key("old")
    assert source.asked == 2


def test_many_threads_make_one_question(old):
    """Threads that need the keys at once wait for one fetch and all get them."""
    source = Source(jwks(old))
    cache = JwksCache(source, clock=source.clock)
    source.go.clear()
    found = []
    threads = [threading.Thread(target=lambda: found.append(cache.key("old").kid)) for _ in range(16)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    source.go.set()
    for thread in threads:
        thread.join()
    assert found == ["old"] * 16
    assert source.asked == 1


def test_known_keys_wait_for_nobody(old, new):
    """While a fetch hangs, a fresh key and a stale one are found at once; only the asker waits."""
    source = Source(jwks(old))
    cache = JwksCache(source, clock=source.clock)
    cache.key("old")
    source.go.clear()
    source.at += 3600
    ended = []
    asker = threading.Thread(target=lambda: ended.append(cache.key("old").kid))
    asker.start()
    while source.asked == 1:
        time.sleep(0.001)
    for _ in range(100):
        before = time.monotonic()
        assert cache.key("old").kid == "old"
        assert time.monotonic() - before < module.WAIT_S / 2
    asker.join(0.1)
    assert ended == []
    source.go.set()
    asker.join()
    assert ended == ["old"]


def test_a_hanging_issuer_holds_up_a_handshake_for_two_seconds_at_most(old, monkeypatch):
    """Who needs an unknown key gives up after the wait, and those who come later do not wait at all."""
    assert module.WAIT_S == 2.0
    monkeypatch.setattr(module, "WAIT_S", 0.4)
    source = Source(jwks(old))
    source.go.clear()
    cache = JwksCache(source, clock=source.clock)
    for longest in (10.0, 0.35, 0.35):
        before = time.monotonic()
        with pytest.raises(EvidenceError, match="no key"):
            cache.key("old")
        assert time.monotonic() - before < longest
    source.at += 100
    with pytest.raises(EvidenceError):
        cache.key("old")
    assert source.asked == 1  # a question that hangs is not asked a second time
    source.go.set()
    before = time.monotonic()
    while True:
        try:
            assert cache.key("old").kid == "old"
            break
        except EvidenceError:
            assert time.monotonic() - before < 20


def test_a_cancelled_caller_leaves_the_fetch_to_the_others(old):
    """Of two tasks that wait for one fetch, cancelling the one that began it takes nothing from the other."""

    async def both():
        source = Source(jwks(old))
        source.go.clear()
        cache = AsyncJwksCache(source.later, clock=source.clock)
        first, second = (asyncio.create_task(cache.key("old")) for _ in range(2))
        await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.sleep(0.01)
        source.go.set()
        found = await asyncio.gather(first, second, return_exceptions=True)
        return found, source.asked

    (first, second), asked = asyncio.run(both())
    assert isinstance(first, asyncio.CancelledError)
    assert second.kid == "old"
    assert asked == 1


# ---- Fetching


class Server(ThreadingHTTPServer):
    """An issuer on this machine; ``answers`` says by path what it does."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers, self.asked, self.stopped = {}, [], threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.path, dict(self.headers)))
        self.server.answers[self.path](self)

    def log_message(self, *_):
        pass

    def reply(self, body, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def dribble(self, data):
        """A byte now and then, until the other side has gone."""
        try:
            for _ in range(10000):
                self.wfile.write(data)
                self.wfile.flush()
                if self.server.stopped.wait(0.02):
                    return
        except OSError:
            pass


@pytest.fixture(scope="module")
def server(old):
    running = Server()
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    keys = jwks(old)
    running.answers = {
        "/jwks": lambda to: to.reply(keys, Content_Type="application/json"),
        "/large": lambda to: to.reply(b" " * 262145),
        "/limit": lambda to: to.reply(keys.ljust(262144)),
        "/missing": lambda to: to.reply(b"", 404),
        "/error": lambda to: to.reply(keys, 500),
        "/empty": lambda to: to.reply(b"", 204),
        "/moved": lambda to: to.reply(b"", 302, Location="/jwks"),
        "/elsewhere": lambda to: to.reply(b"", 301, Location="http://login.evil.example/jwks"),
        "/gzip": lambda to: to.reply(gzip.compress(keys), Content_Encoding="gzip"),
        "/bomb": lambda to: to.reply(gzip.compress(bytes(10_000_000)), Content_Encoding="gzip"),
        "/slow-head": lambda to: to.dribble(b"H"),
        "/slow-body": lambda to: (to.reply(b""), to.dribble(b" ")),
        "/garbage": lambda to: to.wfile.write(b"\x00\xff garbage\r\n\r\n"),
        "/nothing": lambda to: None,
    }
    yield running
    running.stopped.set()
    running.shutdown()
    running.server_close()


def both_ways(url, **options):
    """The plain and the async fetch, one after the other."""
    return [lambda: fetch(url, **options), lambda: asyncio.run(fetch_async(url, **options))]


def test_the_body_is_fetched_unread(server, old):
    """A good answer comes back byte by byte, up to the size limit."""
    for ask in both_ways(server.url("/jwks")):
        assert ask() == jwks(old)
    for ask in both_ways(server.url("/limit")):
        assert len(ask()) == 262144
    assert server.asked[-1][1]["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("path", "match"),
    [
        ("/large", "over 262144"),
        ("/missing", "404"),
        ("/error", "500"),
        ("/empty", "204"),
        ("/moved", "302"),
        ("/elsewhere", "301"),
        ("/gzip", "compressed"),
        ("/bomb", "compressed"),
        ("/garbage", "could not be asked"),
        ("/nothing", "could not be asked"),
    ],
)
def test_D7_anything_but_a_plain_answer_is_refused(server, path, match):
    """Too much, another status, a redirect, compression and garbage are refused, with nothing read."""
    for ask in both_ways(server.url(path)):
        with pytest.raises(TransportError, match=match):
            ask()
    assert [asked[0] for asked in server.asked[-2:]] == [path, path]  # no redirect was followed
    assert fetch(server.url("/jwks"))


@pytest.mark.parametrize("path", ["/slow-head", "/slow-body"])
def test_D7_a_dribbling_answer_ends_in_time(server, path):
    """A server that sends a byte now and then, in head or body, is left when the time is over."""
    for ask in both_ways(server.url(path), timeout_s=0.3):
        before = time.monotonic()
        with pytest.raises(TransportError, match=r"within 0\.3 s"):
            ask()
        assert 0.25 < time.monotonic() - before < 10


def test_what_is_in_the_open_goes_through_no_proxy(server, old, monkeypatch):
    """A proxy of the environment could answer for the issuer; where TLS is spoken it only carries."""
    with Server() as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url(""))
        monkeypatch.setenv("no_proxy", "")
        for ask in both_ways(server.url("/jwks")):
            assert ask() == jwks(old)
        assert proxy.asked == []
        assert open_client("https://login.firm.example", timeout_s=1.0)._trust_env is True


def test_an_address_where_nobody_listens_is_an_error():
    """A refused connection and a wrong address are transport errors."""
    with Server() as gone:
        url = gone.url("/jwks")
    for address in (url, "https://127.0.0.1:1/jwks"):
        for ask in both_ways(address):
            with pytest.raises(TransportError, match="could not be asked"):
                ask()
    for ask in both_ways("http://login.firm.example/jwks"):
        with pytest.raises(TransportError, match="https only"):
            ask()


def test_plain_http_is_not_spoken_as_https(server):
    """A server without a certificate is refused where https is configured."""
    with pytest.raises(TransportError, match="could not be asked"):
        fetch(server.url("/jwks").replace("http://", "https://"))


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("https://login.firm.example/jwks", True),
        ("https://login.firm.example:8443/jwks?x=1", True),
        ("http://127.0.0.1:8080/jwks", True),
        ("http://localhost/jwks", True),
        ("http://[::1]:80/jwks", True),
        ("http://login.firm.example/jwks", False),
        ("http://127.0.0.1.evil.example/jwks", False),
        ("http://localhost@evil.example/jwks", False),
        ("https://user:pass@login.firm.example/", False),
        ("https://login.firm.example/#x", False),
        ("https://login.firm.example/a b", False),
        ("https://login.firm.example/\n", False),
        ("https://login.firm.example:port/", False),
        ("https://lögin.example/", False),
        ("https:///jwks", False),
        ("https:login", False),
        ("ftp://login.firm.example/", False),
        ("file:///etc/passwd", False),
        ("", False),
    ],
)
def test_keys_are_asked_for_over_https_only(url, may):
    """Plain HTTP is for this machine, and an address has no room for tricks."""
    assert is_fetchable(url) is may


def test_without_httpx_the_error_says_what_to_install(monkeypatch, tmp_path):
    """A missing package is the operator's to install, and the error says how."""
    fetcher("https://x.example")
    monkeypatch.setitem(sys.modules, "httpx", None)
    for make in (fetcher, async_fetcher):
        with pytest.raises(ConfigurationError, match=r"pip install ztsession\[http\]"):
            make("https://x.example")
    (tmp_path / "identity.toml").write_text(
        f'[oidc."{FIRM}"]\naudience = "a"\njwks_url = "https://x.example"\n'
    )
    with pytest.raises(ConfigurationError, match="pip install") as caught:
        OidcVerifier.from_table(read_toml(tmp_path / "identity.toml").table("oidc"), tmp_path, AllSubjects())
    assert caught.value.line == 3


def test_a_client_needs_neither_httpx_nor_joserfc():
    """The module of the identity loads no HTTP client, no event loop and no JOSE library."""
    script = (
        "import sys, ztsession.identity.oidc\n"
        "print([name for name in ('httpx', 'joserfc', 'asyncio') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


@pytest.fixture
def learning(server, tmp_path):
    """A verifier that has yet to fetch its issuer's keys."""
    (tmp_path / "subjects.toml").write_text(
        f'[subjects.a]\nkind = "service"\noidc_issuer = "{FIRM}"\noidc_subject = "00u1x8"\n'
    )
    (tmp_path / "identity.toml").write_text(
        f'[oidc."{FIRM}"]\naudience = "ztsession"\njwks_url = "{server.url("/jwks")}"\n'
    )
    server.asked.clear()
    oidc_settings._in_use.clear()
    table = read_toml(tmp_path / "identity.toml").table("oidc")
    subjects = FileSubjects(tmp_path / "subjects.toml")
    return OidcVerifier.from_table(table, tmp_path, subjects, clock=lambda: NOW)


def test_a_verifier_learns_the_keys_of_its_issuer(server, old, learning):
    """With jwks_url nothing is fetched until a token comes; then tokens of the issuer's keys are taken."""
    assert server.asked == []
    key, stranger = ProofKey.generate(), Issuer(kid="unknown")
    assert learning.verify(shown(old.token(key), key), BINDING).subject == "a"
    for number in range(50):
        stranger.kid = f"unknown-{number}"
        with pytest.raises(EvidenceError, match="no key"):
            learning.verify(shown(stranger.token(key), key), BINDING)
    assert len(server.asked) == 1
    assert learning.verify(shown(old.token(key), key), BINDING).subject == "a"


def test_settings_read_again_ask_again_and_keep_what_is_known(server, old, learning, tmp_path):
    """A reload while the issuer is silent shuts nobody out; once it answers, its new word counts at once."""
    key, boot, newer = ProofKey.generate(), {"s": 1000.0}, Issuer(kid="newer")
    cache = learning._issuers[FIRM].keys
    cache._shelf._clock = lambda: boot["s"]
    assert learning.verify(shown(old.token(key), key), BINDING).subject == "a"
    table = read_toml(tmp_path / "identity.toml").table("oidc")
    subjects = FileSubjects(tmp_path / "subjects.toml")
    again = OidcVerifier.from_table(table, tmp_path, subjects, clock=lambda: NOW)
    assert again._issuers[FIRM].keys is cache
    kept, server.answers["/jwks"] = server.answers["/jwks"], server.answers["/error"]
    try:
        boot["s"] += 10
        assert again.verify(shown(old.token(key), key), BINDING).subject == "a"
        assert len(server.asked) == 2
        server.answers["/jwks"] = lambda to: to.reply(jwks(newer))
        boot["s"] += 10
        with pytest.raises(EvidenceError, match="no key"):
            again.verify(shown(old.token(key), key), BINDING)
        assert again.verify(shown(newer.token(key), key), BINDING).subject == "a"
        assert len(server.asked) == 3
    finally:
        server.answers["/jwks"] = kept


def test_a_proof_comes_before_any_question(server, old, learning):
    """Evidence without its proof, or of another issuer, causes no fetch; good evidence then does."""
    key = ProofKey.generate()
    unfit = (
        shown(old.token(key), key, bytes(32)),
        shown(old.token(key, iss="https://x.example"), key),
        shown(old.crafted(old.header(alg="none"), old.claims(key)), key),
    )
    for evidence in unfit:
        with pytest.raises(EvidenceError):
            learning.verify(evidence, BINDING)
    assert server.asked == []
    learning.verify(shown(old.token(key), key), BINDING)
    assert len(server.asked) == 1


def test_the_makers_make_what_joserfc_makes(old):
    """A token crafted by hand is, but for the signature's chance, the one that joserfc makes."""
    key = ProofKey.generate()
    by_hand = old.crafted(old.header(), old.claims(key)).rpartition(".")[0]
    assert jwk.import_key(old.jwk).kid == "old"
    parts = [strict_json(from_base64url(part, "it"), "it") for part in by_hand.split(".")]
    made = [strict_json(from_base64url(part, "it"), "it") for part in old.token(key).split(".")[:2]]
    assert parts == made
