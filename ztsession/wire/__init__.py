"""Everything that has a form on the wire: canonical msgpack, message schemas, digests, signatures, frames."""

from ztsession.wire.canonical import decode, encode
from ztsession.wire.digest import digest
from ztsession.wire.framing import MAX_FRAME_BYTES, FrameReader, frame
from ztsession.wire.schema import Message

__all__ = ["MAX_FRAME_BYTES", "FrameReader", "Message", "decode", "digest", "encode", "frame"]
