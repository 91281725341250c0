"""The outside parts that how-to pages speak to, real ones on this machine: an identity provider, an agent."""

from __future__ import annotations

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from joserfc import jwk, jws
from spiffe._proto import workload_pb2, workload_pb2_grpc

sys.path.append(str(Path(__file__).parents[1] / "identity"))
from oidc_makers import Issuer, jwks


class Provider:
    """An OpenID provider that gives everybody who shows a DPoP proof a token for the key of that proof."""

    def __init__(self) -> None:
        issuer = Issuer()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(jwks(issuer))

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                now, proven = int(time.time()), SimpleNamespace(jkt=_proven(self.headers["DPoP"]))
                token = issuer.token(proven, iat=now, exp=now + 300, acr="urn:firm:hardware-key")
                self._answer(json.dumps({"access_token": token, "token_type": "DPoP"}).encode())

            def _answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _proven(proof: str) -> str:
    """The thumbprint of the key that really signed a DPoP proof."""
    header = jws.extract_compact(proof.encode()).headers()
    assert header["typ"] == "dpop+jwt"
    key: Any = jwk.import_key(header["jwk"])
    claims = json.loads(jws.deserialize_compact(proof, key, ["ES256"]).payload)
    assert (claims["htm"], claims["htu"].rpartition("/")[2]) == ("POST", "token")
    return str(key.thumbprint())


class Agent(workload_pb2_grpc.SpiffeWorkloadAPIServicer):
    """A SPIFFE agent whose workload is the one of the page's files: ``algo-8.pem`` and its key."""

    def __init__(self, socket: Path, page: Path) -> None:
        self._page, self.address = page, f"unix://{socket}"
        self._server = grpc.server(ThreadPoolExecutor(4))
        workload_pb2_grpc.add_SpiffeWorkloadAPIServicer_to_server(self, self._server)
        assert self._server.add_insecure_port(self.address)
        self._server.start()

    def FetchX509SVID(self, request: Any, context: Any) -> Any:
        key = serialization.load_pem_private_key((self._page / "algo-8.key").read_bytes(), None)
        given = workload_pb2.X509SVID(
            spiffe_id="spiffe://firm.example/algo-8",
            x509_svid=_der(self._page / "algo-8.pem"),
            x509_svid_key=key.private_bytes(
                serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            bundle=b"",
        )
        yield workload_pb2.X509SVIDResponse(svids=[given])

    def FetchX509Bundles(self, request: Any, context: Any) -> Any:
        roots = {"spiffe://firm.example": _der(self._page / "policy/roots.pem")}
        yield workload_pb2.X509BundlesResponse(bundles=roots)

    def close(self) -> None:
        self._server.stop(0.5).wait()


def _der(path: Path) -> bytes:
    found = x509.load_pem_x509_certificates(path.read_bytes())
    return b"".join(each.public_bytes(serialization.Encoding.DER) for each in found)
