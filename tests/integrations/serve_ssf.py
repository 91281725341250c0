"""A process with an Authority and the door for security events, that can be killed at any time.

serve_ssf.py STATE POLICY
"""

from __future__ import annotations

import socket
import sys

import uvicorn

import ztsession as zts
from ztsession.integrations.asgi import AuthorityApp
from ztsession.integrations.ssf import signal_receiver
from ztsession.integrations.ssf_push import EventPush


def main(state: str, rules: str) -> None:
    with zts.Authority.open(state, policy=rules) as authority:
        app = AuthorityApp(authority, doors=[EventPush(signal_receiver(authority, rules))])
        listening = socket.create_server(("127.0.0.1", 0))
        print("http://127.0.0.1:{1}".format(*listening.getsockname()), flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])


if __name__ == "__main__":
    main(*sys.argv[1:])
