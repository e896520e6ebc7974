"""A guard with a hosts file of its own, in a mount namespace: a name resolves as soon as a test says so, and no DNS is asked."""

import subprocess
from pathlib import Path

from tests.peers import missing, need

_SCRIPT = 'mount --bind "$1/hosts" /etc/hosts && mount --bind "$1/nsswitch.conf" /etc/nsswitch.conf && shift && exec "$@"'


class Hosts:
    """``by`` is the command before the guard's own; ``folder`` keeps the files."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "hosts"
        (folder / "nsswitch.conf").write_text("hosts: files\npasswd: files\ngroup: files\n")
        self.know()
        self.by = (need("unshare", "util-linux"), "--map-root-user", "--mount", "sh", "-c", _SCRIPT, "sh", str(folder))
        done = subprocess.run([*self.by, "true"], capture_output=True, text=True, timeout=20, check=False)
        if done.returncode:
            missing(f"no mount namespaces here ({done.stderr.strip()})", "run as root, or allow user namespaces")

    def know(self, *names: str) -> None:
        """Let these names, and no others but localhost, resolve to 127.0.0.1 from now on."""
        self._file.write_text(f"127.0.0.1 localhost {' '.join(names)}\n")
