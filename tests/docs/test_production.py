"""docs/operating: the unit is one that systemd takes."""

import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
UNIT = PROJECT / "docs" / "operating" / "baton.service"


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="MISSING HERE: systemd-analyze, which verifies the unit"
)
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    here = tmp_path / UNIT.name
    here.write_text(UNIT.read_text().replace("/opt/baton", str(PROJECT)))
    verified = subprocess.run(
        ["systemd-analyze", "verify", here], capture_output=True, text=True, check=False, timeout=60
    )
    assert (verified.returncode, verified.stderr) == (0, "")
