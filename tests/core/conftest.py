"""The helpers' own asserts explain themselves too."""

import pytest

pytest.register_assert_rewrite("tests.core.script")
