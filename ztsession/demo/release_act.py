"""The act of the release gate: how a package comes from test into production, and how it does not.

Written down is what the gate counted and logged, what the Authority granted and refused, and what lies in
production's directory; of what the others say, only the times, and the digest and evidence that are put
into the form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ztsession.demo.cast import Cast, less
from ztsession.demo.developing import ARTIFACT
from ztsession.demo.release_manager_role import DEVICE, SUBJECT
from ztsession.hazmat import sha256

__all__ = ["SCENES", "SOME", "ReleaseAct"]

#: Orders to cancel while the promotion is refused.
SOME: Final = 16
#: All in which the release gate is spoken to.
SCENES: Final = (
    *("both environments", "test session", "asked outright"),
    *("by key", "stepped up", "replayed", "changed", "at risk", "put right"),
)
_WITHIN_S: Final = 5.0
_SOURCE, _TARGET = "test", "prod"


class ReleaseAct:
    """Has a package tried in the lab, and leads everybody to the gate with it."""

    def __init__(self, cast: Cast) -> None:
        self._cast, self._algorithm, self._manager = cast, cast.algorithm, cast.release_manager
        self._facts: dict[str, Any] = {}
        self._packages = cast.stage.environments / _SOURCE

    def prepare(self) -> dict[str, Any]:
        """What is written into the registries before the Authority opens."""
        party: dict[str, Any] = self._manager.ask("prepare")
        return party

    def open(self, authority: dict[str, Any], quotes: str | None, seed: int) -> None:
        """Open the lab in test and the gate in production; the gate is told whose test runs to believe."""
        stage = self._cast.stage
        lab = self._cast.lab.ask(
            "open",
            packages=str(self._packages),
            quotes=quotes,
            seed=seed,
            environment=_SOURCE,
            **stage.service("lab", authority),
        )
        gate = self._cast.release_gate.ask(
            "open",
            environments=str(stage.environments),
            audit=str(stage.release_log),
            lab=lab["public_key"],
            environment=_TARGET,
            **stage.service("release", authority),
        )
        self._lab, self._gate = lab["address"], gate["address"]

    def play(self) -> None:
        """All of it; the facts go to ``facts["release"]``, and the gateway's counts by act."""
        cast = self._cast
        cast.facts["release"] = self._facts
        orders = cast.counted("orders to cancel", self._algorithm.ask, "rest", count=SOME)
        cast.watch.act("The algorithm has its next version tried in the lab, by a session of test")
        form = self._try_out()
        cast.watch.act("It reaches for production: for both at once, with what it has of test, and outright")
        self._watched("both environments", self._algorithm.ask, "ask_both")
        self._watched("test session", self._algorithm.ask, "knock_with_test", release=self._gate, form=form)
        self._watched("asked outright", self._algorithm.ask, "ask_outright")
        cast.watch.act("A release manager is asked for a second factor, and then promotes it; it is replayed")
        self._connect()
        self._watched("by key", self._manager.ask, "promote", form=form)
        self._watched("stepped up", self._step_up_and_promote, form)
        self._watched("replayed", self._manager.ask, "replay")
        cast.watch.act("The package is changed after its test, and then put back")
        self._watched("changed", self._promote_changed, form)
        cast.watch.act("The manager's desktop is reported; what lowers risk still passes")
        self._watched("at risk", self._promote_at_risk, form)
        cast.counted("release manager at risk", self._manager.ask, "cancel", orders=orders)
        self._facts["standing"] = cast.authority.ask("standing", subject=SUBJECT)
        cast.watch.act("The desktop is put right, and its management takes back what it said")
        self._watched("put right", self._promote_again, form)
        self._facts["granted"] = cast.authority.ask("granted", subject=SUBJECT)

    def close(self) -> None:
        """Close gate and lab."""
        self._facts["core"] = self._cast.release_gate.ask("counts")["core"]
        self._cast.release_gate.ask("close")
        self._cast.lab.ask("close")

    # ---- Scenes

    def _try_out(self) -> dict[str, str]:
        digest = self._algorithm.ask("write_package", packages=str(self._packages))
        tried = self._algorithm.ask("try_package", digest=digest, lab=self._lab, **self._cast.where)
        lab = self._cast.lab.ask("counts")
        self._facts["tried"] = {
            **tried,
            "sha256": digest,
            "verdicts": lab["verdicts"],
            "runs": lab["runs"],
            "granted": self._cast.authority.ask("granted", subject="algo-1")[-1],
        }
        return {
            "artifact": ARTIFACT,
            "sha256": digest,
            "source": _SOURCE,
            "target": _TARGET,
            "evidence": tried["evidence"],
        }

    def _connect(self) -> None:
        authority = self._cast.authority
        uri = authority.ask("offer_totp", subject=SUBJECT)
        self._manager.ask("connect", release=self._gate, **self._cast.where)
        authority.ask("confirm_totp", subject=SUBJECT, code=self._manager.ask("scan", uri=uri))

    def _step_up_and_promote(self, form: dict[str, str]) -> None:
        self._manager.ask("step_up")
        self._facts["promotion"] = self._manager.ask("promote", form=form)

    def _promote_changed(self, form: dict[str, str]) -> None:
        digest = self._algorithm.ask("write_package", packages=str(self._packages), changed=True)
        self._manager.ask("promote", form=form)
        # As if it had been tested: with its own digest, and the other's evidence.
        self._manager.ask("promote", form={**form, "sha256": digest})
        self._algorithm.ask("write_package", packages=str(self._packages))

    def _promote_at_risk(self, form: dict[str, str]) -> None:
        self._facts["modes"] = self._pushed(compliant=False)
        self._manager.ask("promote_until", accepted=False, form=form, seconds=_WITHIN_S)

    def _promote_again(self, form: dict[str, str]) -> None:
        self._facts["modes_put_right"] = self._pushed(compliant=True)
        self._manager.ask("promote_until", accepted=True, form=form, seconds=_WITHIN_S)

    def _pushed(self, *, compliant: bool) -> list[str]:
        push = self._cast.device_management.ask
        _, modes = self._cast.modes_from(push, "push", device=DEVICE, compliant=compliant)
        return modes

    # ---- What is written down

    def _watched(self, scene: str, play: Callable[..., Any], *arguments: Any, **more: Any) -> None:
        """Play, and write down what gate and Authority say afterwards that they did not say before."""
        gate, authority = self._cast.release_gate, self._cast.authority
        before, refusals = gate.ask("counts"), len(authority.ask("refusals"))
        play(*arguments, **more)
        after = gate.ask("counts")
        self._facts[scene] = {
            "verdicts": less(after["verdicts"], before["verdicts"]),
            "installations": less(after["installations"], before["installations"]),
            "log": after["log"][len(before["log"]) :],
            "causes": authority.ask("refusals")[refusals:],
            "prod": self._in_production(),
        }

    def _in_production(self) -> dict[str, str]:
        lying = (self._cast.stage.environments / _TARGET).iterdir()
        return {path.name: sha256(path.read_bytes()).hex() for path in lying}
