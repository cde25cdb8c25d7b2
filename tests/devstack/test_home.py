from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.errors import DevstackError
from devstack.home import PROJECT, Home, lasting_secret, read_secret, write_secret


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_default_stands_beside_manage_py(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RUNYARD_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert Home.from_environment().path == PROJECT / ".runyard"
    assert (PROJECT / "manage.py").exists()
    monkeypatch.setenv("RUNYARD_HOME", "some where")
    assert Home.from_environment().path == tmp_path / "some where"


def test_a_socket_path_is_short_and_of_one_home_only(home: Home, tmp_path: Path) -> None:
    assert len(str(home.path)) > 80
    assert len(str(home.sockets / ".s.PGSQL.5432")) < 60
    assert home.sockets == Home(home.path).sockets
    assert home.sockets != Home(tmp_path).sockets


def test_only_the_owner_reads_a_home_and_its_secrets(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    write_secret(home.api_key, "first")
    write_secret(home.api_key, "second")
    assert read_secret(home.api_key) == "second"
    assert (mode(home.path), mode(home.logs), mode(home.api_key)) == (0o700, 0o700, 0o600)


def test_a_lasting_secret_is_made_once(tmp_path: Path) -> None:
    made = lasting_secret(tmp_path / "secret-key")
    assert len(made) >= 50
    assert lasting_secret(tmp_path / "secret-key") == made


def test_a_home_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DevstackError, match="RUNYARD_HOME"):
        Home(tmp_path / "file" / "home").create()


def test_one_home_has_one_runner(tmp_path: Path) -> None:
    home = Home(tmp_path)
    again = "import sys; from devstack.home import Home; from pathlib import Path\n"
    again += "with Home(Path(sys.argv[1])).locked(): print('mine')"

    def try_it() -> str:
        done = subprocess.run(
            [sys.executable, "-c", again, str(tmp_path)], cwd=PROJECT, text=True, capture_output=True, check=False
        )
        return done.stdout + done.stderr

    with home.locked():
        assert "already runs on" in try_it()
    assert try_it() == "mine\n"
    with pytest.raises(ZeroDivisionError), home.locked():
        raise ZeroDivisionError
    assert try_it() == "mine\n"
