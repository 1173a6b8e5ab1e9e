"""The data of a run, where it is now."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from capsule_inspection.config.schema import FromRun
from capsule_inspection.types import ConfigurationError
from capsule_inspection.workflows.dataset import from_run

STORED = {"name": "manifest", "path": "a.csv", "root": None, "cache_folder": "c", "workers": 4}


def test_what_has_moved_is_taken_from_where_it_is_now_where_the_data_set_has_such_a_setting() -> (
    None
):
    now = OmegaConf.structured(FromRun("from_run", path="b.csv", cache_folder="d", workers=1))
    found = from_run(OmegaConf.create(STORED), now)
    assert found == {**STORED, "path": "b.csv", "cache_folder": "d", "workers": 1}
    now = OmegaConf.structured(FromRun("from_run", masks="masks"))
    with pytest.raises(ConfigurationError, match=r"data\.masks=masks: .*which has no such"):
        from_run(OmegaConf.create(STORED), now)
