"""What must have happened between test and production."""

from __future__ import annotations

from typing import Any, Final

from ztsession.demo.developing import ARTIFACT
from ztsession.demo.findings import Expectation, told
from ztsession.demo.refusals import Facts, counted
from ztsession.demo.release_act import SOME
from ztsession.demo.release_manager_role import DEVICE, SUBJECT

__all__ = ["RELEASE"]

_NOTHING: Final[dict[str, str]] = {}


def _scene(name: str, facts: Facts) -> dict[str, Any]:
    scene: dict[str, Any] = facts["release"][name]
    return scene


def _only(scene: dict[str, Any], verdicts: dict[str, int], installations: dict[str, int]) -> bool:
    return bool(scene["verdicts"] == verdicts and scene["installations"] == installations)


def _in_production(facts: Facts) -> dict[str, str]:
    """What must lie there from the promotion on."""
    return {ARTIFACT: facts["release"]["tried"]["sha256"]}


# ---- In the lab


def _tried(facts: Facts) -> bool:
    tried = facts["release"]["tried"]
    run = tried["runs"][0]
    return bool(
        tried["verdicts"] == {"OK": 1}
        and (tried["granted"]["subject"], tried["granted"]["environment"]) == ("algo-1", "test")
        and {run["artifact"]: run["sha256"]} == _in_production(facts)
        and (run["environment"], run["faults"]) == ("test", 0)
        and run["states"] > 0
    )


def _tried_seen(facts: Facts) -> str:
    run, granted = facts["release"]["tried"]["runs"][0], facts["release"]["tried"]["granted"]
    return (
        f"a session of {granted['environment']}; {run['states']} recorded states, "
        f"{run['faults']} faults in its answers"
    )


# ---- At production's door


def _not_both(facts: Facts) -> bool:
    scene = _scene("both environments", facts)
    return len(scene["causes"]) == 1 and scene["causes"][0].startswith("a session is of one environment")


def _nobody(facts: Facts) -> bool:
    scene = _scene("test session", facts)
    return _only(scene, {"UNKNOWN_SESSION": 1}, {"REFUSED": 1}) and scene["prod"] == _NOTHING


def _nobody_seen(facts: Facts) -> str:
    scene = _scene("test session", facts)
    return f"installations: {counted(scene['installations'])}; promotions: {counted(scene['verdicts'])}"


def _denied(facts: Facts) -> bool:
    scene = _scene("asked outright", facts)
    denied = ["the policies allow algo-1 none of release.promote"]
    return bool(scene["causes"] == denied and scene["prod"] == _NOTHING)


def _by_key(facts: Facts) -> bool:
    scene = _scene("by key", facts)
    return bool(_only(scene, {"STEP_UP_REQUIRED": 1}, {}) and scene["prod"] == _NOTHING and not scene["log"])


# ---- Through it


def _promoted(facts: Facts) -> bool:
    scene = _scene("stepped up", facts)
    return _only(scene, {"OK": 1}, {"OK": 1}) and scene["prod"] == _in_production(facts)


def _promoted_seen(facts: Facts) -> str:
    lying = ", ".join(
        f"{name} {digest[:16]}..." for name, digest in _scene("stepped up", facts)["prod"].items()
    )
    return f"{counted(_scene('stepped up', facts)['verdicts'])}; in prod: {lying or 'nothing'}"


def _by_whom(facts: Facts) -> bool:
    """The gate's one entry names a session, and the Authority's says what that session was."""
    entry, granted = _promotion_logged(facts), facts["release"]["granted"][1]
    done = (entry["event"], {entry["artifact"]: entry["sha256"]}, entry["source"], entry["target"])
    return bool(
        len(_scene("stepped up", facts)["log"]) == 1
        and done == ("release.promoted", _in_production(facts), "test", "prod")
        and all(entry[name] == granted[name] for name in ("session", "subject", "device"))
        and (granted["subject"], granted["device"]) == (SUBJECT, DEVICE)
        and (granted["environment"], granted["assurance"], granted["factor"]) == ("prod", 2, "totp")
        and granted["version"] >= 1
    )


def _by_whom_seen(facts: Facts) -> str:
    entry, granted = _promotion_logged(facts), facts["release"]["granted"][1]
    return (
        f"{entry['event']} by {entry['subject']} on {entry['device']}; its session: "
        f"{granted['environment']}, assurance {granted['assurance']} by {granted['factor']}, "
        f"version {granted['version']} of the rules"
    )


def _promotion_logged(facts: Facts) -> dict[str, Any]:
    entry: dict[str, Any] = _scene("stepped up", facts)["log"][0]
    return entry


def _replayed(facts: Facts) -> bool:
    scene = _scene("replayed", facts)
    return _only(scene, {"REPLAYED": 1}, {}) and not scene["log"] and scene["prod"] == _in_production(facts)


def _changed(facts: Facts) -> bool:
    scene = _scene("changed", facts)
    # The calls are good, and what they ask for is not.
    return bool(
        _only(scene, {"OK": 2}, {})
        and [entry["event"] for entry in scene["log"]] == ["release.refused"] * 2
        and "is not the package that was tested" in scene["log"][0]["cause"]
        and "another package's" in scene["log"][1]["cause"]
        and scene["prod"] == _in_production(facts)
    )


def _at_risk(facts: Facts) -> bool:
    release, verdicts = facts["release"], dict(_scene("at risk", facts)["verdicts"])
    # Until the gate has heard of it a few may pass.
    verdicts.pop("OK", 0)
    return bool(
        set(release["modes"]) == {"RESTRICTED"}
        and [mode for _, _, mode in release["standing"]] == ["RESTRICTED"]
        and verdicts == {"STEP_UP_REQUIRED": 1}
        and _cancelled(facts) == {"orders.cancel": {"OK": SOME}}
    )


def _put_right(facts: Facts) -> bool:
    scene = _scene("put right", facts)
    verdicts = dict(scene["verdicts"])
    # Until the gate has heard of it a few may be refused.
    verdicts.pop("STEP_UP_REQUIRED", 0)
    return bool(
        set(facts["release"]["modes_put_right"]) == {"NORMAL"}
        and verdicts == {"OK": 1}
        and not scene["installations"]
        and scene["prod"] == _in_production(facts)
    )


def _cancelled(facts: Facts) -> dict[str, dict[str, int]]:
    by_operation = facts["gateway"]["release manager at risk"]
    return {operation: counts for operation, counts in by_operation.items() if counts}


def _causes(scene: str, facts: Facts) -> str:
    return "; ".join(_scene(scene, facts)["causes"])


RELEASE: Final = (
    Expectation(
        "a new package is tried in the lab, by a session of test, and the lab signs for what it saw",
        _tried,
        _tried_seen,
    ),
    Expectation(
        "no session is of test and of prod", _not_both, lambda facts: _causes("both environments", facts)
    ),
    Expectation("with ticket and token of test it is nobody at the release gate", _nobody, _nobody_seen),
    Expectation(
        "asked for outright, promotion is denied to the algorithm",
        _denied,
        lambda facts: _causes("asked outright", facts),
    ),
    Expectation(
        "the release manager, by key alone, is asked to step up, and nothing comes into prod",
        _by_key,
        lambda facts: counted(_scene("by key", facts)["verdicts"]),
    ),
    Expectation(
        "after the step-up the package is promoted, and lies in prod with the digest that was tested",
        _promoted,
        _promoted_seen,
    ),
    Expectation(
        "the logs tell who promoted it, how sure that was, and by which rules", _by_whom, _by_whom_seen
    ),
    Expectation(
        "the same promotion, sent once more, is refused",
        _replayed,
        lambda facts: counted(_scene("replayed", facts)["verdicts"]),
    ),
    Expectation(
        "a package that was changed after its test is refused, by its digest and by its test run",
        _changed,
        lambda facts: "; ".join(entry["cause"] for entry in _scene("changed", facts)["log"]),
    ),
    Expectation(
        "after a signal against the manager's desktop promotion is refused, and cancels still pass",
        _at_risk,
        lambda facts: (
            f"release.promote: {counted(_scene('at risk', facts)['verdicts'])}; {told(_cancelled(facts))}"
        ),
    ),
    Expectation(
        "once the device management has taken that back, the same session promotes again",
        _put_right,
        lambda facts: counted(_scene("put right", facts)["verdicts"]),
    ),
)
