"""Killed at any moment, an Authority has in force every event that it had acknowledged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("joserfc", reason="SETs need ztsession[authority]")
pytest.importorskip("httpx", reason="the door is knocked at by httpx")
pytest.importorskip("uvicorn", reason="the door is behind uvicorn")

import httpx
from ssf_makers import CAEP, Issuer, write_settings

import ztsession as zts
from ztsession.integrations.ssf import signal_receiver
from ztsession.integrations.ssf_push import PATH

HERE = Path(__file__).parent
ISSUER = Issuer()
RISKY = {"principal": "SESSION", "current_level": "HIGH"}
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(zts.__file__).parents[1])}


def against(session: bytes) -> bytes:
    subject = {"format": "opaque", "id": session.hex()}
    return ISSUER.set(CAEP + "risk-level-change", RISKY, sub_id=subject, iat=int(time.time()))


def suspended(authority: zts.Authority) -> set[bytes]:
    return {each.id for each in authority.sessions() if each.mode == zts.Mode.SUSPENDED}


def test_kill_9_loses_no_event_that_was_acknowledged(house: Any):
    """Events are pushed by several at once, the server is killed, and what had its 202 is in force; the rest
    is delivered again, and then all is.
    """
    write_settings(house.rules, ISSUER)
    authority = house.authority()
    sets = {session.id: against(session.id) for session in (house.connect(authority) for _ in range(24))}
    authority.close()
    acknowledged = set[bytes]()
    for round_ in range(4):
        killed_after = len(acknowledged) + 3 + round_
        serving = subprocess.Popen(
            [sys.executable, str(HERE / "serve_ssf.py"), str(house.state), str(house.rules)],
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        with serving, httpx.Client(timeout=20) as http:
            assert serving.stdout is not None
            url = serving.stdout.readline().strip() + PATH + "idp"

            def push(session: bytes, url: str = url, http: httpx.Client = http) -> None:
                try:
                    headers = {"content-type": "application/secevent+jwt"}
                    answer = http.post(url, content=sets[session], headers=headers)
                except httpx.HTTPError:
                    return
                assert answer.status_code == 202
                acknowledged.add(session)

            with ThreadPoolExecutor(4) as pushing:
                pushes = [pushing.submit(push, each) for each in sets if each not in acknowledged]
                while len(acknowledged) < killed_after and not all(each.done() for each in pushes):
                    time.sleep(0.001)
                serving.kill()
            for each in pushes:
                each.result()
        authority = house.authority()
        assert acknowledged <= suspended(authority)
        authority.close()
    assert acknowledged
    authority = house.authority()
    receiver = signal_receiver(authority, house.rules)
    for data in sets.values():
        assert receiver.receive("idp", data) == "applied"
    assert suspended(authority) == set(sets)


def test_killed_at_each_step_nothing_is_acknowledged_and_not_in_force(house: Any, tmp_path: Path):
    """Before every system call and every statement from the SET to its answer; after that it is in force, and
    before that it can be delivered again.
    """
    write_settings(house.rules, ISSUER)
    authority = house.authority()
    session = house.connect(authority).id
    authority.close()
    data, where = tmp_path / "set.jwt", tmp_path / "killed"
    data.write_bytes(against(session))
    done = subprocess.run(
        [sys.executable, str(HERE / "ssf_killed.py"), *map(str, (house.state, where, house.rules, data))],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    steps, before = int(done.stdout), 0
    assert (done.returncode, steps > 5) == (0, True), done.stderr
    for number in range(steps):
        state = where / str(number)
        with zts.Authority.open(state, policy=house.rules) as after:
            if state.with_suffix(".acknowledged").exists():
                assert suspended(after) == {session}, number
            else:
                before += 1
                signal_receiver(after, house.rules).receive("idp", data.read_bytes())
                assert suspended(after) == {session}, number
        shutil.rmtree(state)
    assert before == steps - 1
