"""The act of the clearing service: a name from the firm's CA, and a host whose TPM tells how it was booted.

Where no software TPM can be started the act is left out, and said to be.
"""

from __future__ import annotations

from typing import Any, Final

from ztsession.demo.cast import Cast
from ztsession.demo.children import Child
from ztsession.demo.clearing_role import DEVICE, SPIFFE_ID, SUBJECT

__all__ = ["SOME", "ClearingAct"]

#: Calls of each kind.
SOME: Final = 16
_WITHIN_S = 5.0

_SUBJECT = f'[subjects."{SUBJECT}"]\nkind = "service"\nroles = ["clearing"]\nspiffe_id = "{SPIFFE_ID}"\n'


class ClearingAct:
    """Has the service certified and its TPM enrolled, lets it work, and boots its host with something
    else.
    """

    def __init__(self, cast: Cast, clearing: Child) -> None:
        self._cast, self._clearing = cast, clearing

    def prepare(self) -> dict[str, Any]:
        """What is written into the registries before the Authority opens."""
        self._prepared: dict[str, Any] = self._clearing.ask("prepare", home=str(self._cast.stage.clearing))
        self._chain = self._cast.stage.certify(self._prepared["request"], SPIFFE_ID)
        # The device is not among them: its key is let in later, by what only its TPM can answer.
        return {**self._prepared, "subject": _SUBJECT}

    def play(self) -> None:
        """All of it; the facts go to ``facts["clearing"]`` and the gateway's counts by act."""
        cast = self._cast
        orders = cast.counted("orders to settle", cast.algorithm.ask, "rest", count=2 * SOME)
        cast.watch.act("A clearing service's TPM is enrolled; it connects by SPIFFE certificate and quote")
        self._enrol()
        connected = self._clearing.ask("connect", chain=self._chain, **cast.where)
        cast.counted("clearing", self._clearing.ask, "work", orders=orders[:SOME])
        cast.watch.act("Its host is booted with something else, and it attests again")
        _, modes = cast.modes_from(self._clearing.ask, "reboot_tampered")
        cast.counted("clearing, tampered", self._clearing.ask, "work", orders=orders[SOME:])
        cast.counted("clearing, as before", self._clearing.ask, "probe_old", seconds=_WITHIN_S)
        granted = cast.authority.ask("granted", subject=SUBJECT)
        cast.facts["clearing"] = {"connected": connected, "modes": modes, "granted": granted}

    def close(self) -> int:
        """Switch its TPM off; the exit status."""
        status: int = self._clearing.ask("close")
        return status

    def _enrol(self) -> None:
        authority, asked = self._cast.authority, self._prepared
        credential = authority.ask(
            "challenge_tpm", request=asked["tpm_request"], fingerprint=asked["ek_fingerprint"]
        )
        answer = self._clearing.ask("activate", credential=credential)
        authority.ask("enrol_tpm", device=DEVICE, answer=answer)
