"""The plugin in conftest.py: what it runs, and what it does not let pass."""

from __future__ import annotations

from pathlib import Path

import pytest

SETTINGS = """
[pytest]
filterwarnings =
    error
    ignore:assertions not in test modules:pytest.PytestConfigWarning
markers =
    deadline(seconds): as in pyproject.toml
"""


def _outcome(pytester: pytest.Pytester, test: str) -> tuple[dict[str, int], str]:
    """Run a module with one test under the plugin; return the counts and what was printed."""
    plugin = Path(__file__).with_name("conftest.py").read_text()
    plugin = plugin.replace('pytest_plugins = ["peers.fixtures", "pytester"]', "")
    pytester.makeini(SETTINGS)
    pytester.makeconftest(plugin)
    pytester.makepyfile(f"import asyncio, socket, pytest, hypothesis\n{test}")
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:asyncio")
    return result.parseoutcomes(), result.stdout.str()


class TestRuns:
    """What is run."""

    def test_async_function(self, pytester: pytest.Pytester) -> None:
        """An ``async def`` test is run to its end, with its fixtures."""
        test = """
async def test_it(tmp_path):
    await asyncio.sleep(0)
    assert not tmp_path.is_dir()
"""
        counts, printed = _outcome(pytester, test)
        assert counts == {"failed": 1}
        assert "not True" in printed

    def test_loop_kind(self, pytester: pytest.Pytester) -> None:
        """A test that asks for it runs on both kinds of loop."""
        pytest.importorskip("uvloop")
        test = """
async def test_it(loop_kind):
    kind = type(asyncio.get_running_loop()).__module__
    assert kind.startswith("uvloop") == (loop_kind == "uvloop")
"""
        assert _outcome(pytester, test)[0] == {"passed": 2}

    def test_hypothesis(self, pytester: pytest.Pytester) -> None:
        """Each example of a property is run."""
        test = """
@hypothesis.given(hypothesis.strategies.integers())
async def test_it(number):
    await asyncio.sleep(0)
    assert number < 1000
"""
        counts, printed = _outcome(pytester, test)
        assert counts == {"failed": 1}
        assert "number=1000" in printed


class TestFails:
    """What is not let pass."""

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ("global task; task = asyncio.create_task(asyncio.sleep(100))", "task left pending"),
            ("asyncio.create_task(fail())", "exception was never retrieved"),
            ("asyncio.get_running_loop().call_soon(lambda: 1 / 0)", "ZeroDivisionError"),
            ("socket.socket()", "ResourceWarning: unclosed"),
            ("fail()", "was never awaited"),
        ],
    )
    def test_leaks(self, pytester: pytest.Pytester, body: str, said: str) -> None:
        """Tasks, failures that only the loop saw, and what warns when it is collected."""
        test = f"async def fail(): 1 / 0\nasync def test_it(): {body}\n"
        counts, printed = _outcome(pytester, test)
        assert counts.get("failed", 0) == 1
        assert said in printed

    def test_deadline(self, pytester: pytest.Pytester) -> None:
        """A test that hangs."""
        test = """
@pytest.mark.deadline(0.01)
async def test_it():
    await asyncio.Event().wait()
"""
        counts, printed = _outcome(pytester, test)
        assert counts == {"failed": 1}
        assert "still running after 0.01 seconds" in printed


class TestPeers:
    """`require_peer`."""

    TEST = "def test_it(require_peer): require_peer('no-such-program')\n"

    @pytest.mark.parametrize("kind", ["", "module:", "npm:"])
    def test_missing_skips(
        self, kind: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A missing peer skips the test."""
        monkeypatch.delenv("ANGELIA_REQUIRE_PEERS", raising=False)
        test = self.TEST.replace("no-such", f"{kind}no-such")
        assert _outcome(pytester, test)[0] == {"skipped": 1}

    def test_required_fails(
        self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A missing peer fails the test where all have to be there."""
        monkeypatch.setenv("ANGELIA_REQUIRE_PEERS", "1")
        assert "passed" not in _outcome(pytester, self.TEST)[0]
