"""Another client's HTTP, written from docs/protocol.md alone."""

from __future__ import annotations

from http.client import HTTPConnection

MEDIA_TYPE = "application/octet-stream"


class StatusError(Exception):
    """The server did not take the message; ``status`` says why."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


class Door:
    """One path of a server. It repeats the name of its conversation, once it was told one."""

    def __init__(self, host: str, port: int, path: str) -> None:
        self.line, self.path, self.conversation = HTTPConnection(host, port, timeout=20), path, ""

    def exchange(self, message: bytes) -> bytes:
        """Post a message; the answer to it."""
        headers = {"Content-Type": MEDIA_TYPE}
        if self.conversation:
            headers["ZT-Conversation"] = self.conversation
        self.line.request("POST", self.path, message, headers)
        response = self.line.getresponse()
        answer = response.read()
        if response.status != 200 or response.headers["Content-Type"] != MEDIA_TYPE:
            raise StatusError(response.status)
        self.conversation = response.headers.get("ZT-Conversation", self.conversation)
        return answer

    def close(self) -> None:
        """Close the connection."""
        self.line.close()
