"""Nothing is written of a run that left out a scene."""

import pytest

from tests.integration.continuity.page import chapter


def test_nothing_is_written_of_a_run_that_left_out_a_scene(tmp_path):
    with pytest.raises(OSError, match="killed"):
        chapter(tmp_path)
