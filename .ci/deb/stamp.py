"""Says in debian/ what is known only when a package is built: ``stamp.py SOURCE RELEASE SECONDS NUMBER``.

SOURCE is the unpacked source distribution, RELEASE and NUMBER the Debian release (``bookworm``, ``12``), SECONDS the time of the
build since 1970. The version comes from the package, who maintains it from pyproject.toml's addresses. What lintian is told to
overlook is only what the release's lintian knows.
"""

import re
import sys
import tomllib
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import urlsplit

CHANGELOG = """\
spoe-guard ({version}-1~deb{number}) {release}; urgency=medium

  * What is new in {version}: /usr/share/doc/spoe-guard/changelog.gz

 -- {maintainer}  {date}
"""

# Tags that are overridden, by the number of the first release whose lintian has them no more: it calls that an error.
GONE = {"package-supports-alternative-init-but-no-init.d-script": 13}


def main(source: Path, release: str, seconds: int, number: str) -> None:
    """Write debian/changelog, and who maintains the package into the files that say so."""
    [version] = re.findall(r'^__version__ = "(.+)"$', (source / "spoe_guard/__init__.py").read_text(), re.MULTILINE)
    home = tomllib.loads((source / "pyproject.toml").read_text())["project"]["urls"]["Source"]
    owner = urlsplit(home).path.split("/")[1]
    maintainer = f"The spoe-guard project <{owner}@users.noreply.github.com>"
    for name in ("control", "copyright"):
        file = source / "debian" / name
        file.write_text(file.read_text().replace("@MAINTAINER@", maintainer).replace("@HOMEPAGE@", home))
    overrides = source / "debian/spoe-guard.lintian-overrides"
    gone = [tag for tag, first in GONE.items() if int(number) >= first]
    kept = [line for line in overrides.read_text().splitlines() if not any(tag in line for tag in gone)]
    overrides.write_text("\n".join([*kept, ""]))
    date = format_datetime(datetime.fromtimestamp(seconds, UTC))
    told = CHANGELOG.format(version=version, number=number, release=release, maintainer=maintainer, date=date)
    (source / "debian/changelog").write_text(told)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
