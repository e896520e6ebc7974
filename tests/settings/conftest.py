"""Settings from a file, and the messages for those that are invalid."""

import pytest

from spoe_guard.settings import ConfigError, Loaded, load


@pytest.fixture
def from_yaml(tmp_path):
    def read(text: str, environ: dict[str, str] | None = None, flags: dict[str, object] | None = None) -> Loaded:
        file = tmp_path / "guard.yaml"
        file.write_text(text)
        return load(file, environ, flags)

    return read


@pytest.fixture
def problems(tmp_path):
    """What a person is told of a file, line by line, with the file's own name left out."""

    def read(text: str | bytes, environ: dict[str, str] | None = None, flags: dict[str, object] | None = None) -> list[str]:
        file = tmp_path / "guard.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ConfigError) as error:
            load(file, environ, flags)
        return [str(problem).replace(str(file), "FILE") for problem in error.value.problems]

    return read
