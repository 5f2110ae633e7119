"""Names and passwords in one file, for a desk without an identity provider.

Nobody signs up: the lead adds a name and hands over the password that is
printed once. ``python passwords.py add|remove|list NAME`` in the Hub's container.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import secrets
import sys
from pathlib import Path

from jupyterhub.auth import Authenticator
from traitlets import Unicode

# About 80 ms and 32 MB a guess.
COST = {"n": 2**15, "r": 8, "p": 1, "maxmem": 64 * 1024 * 1024}
NOBODY = {"salt": "", "hash": ""}


def digest(password, salt):
    """Return the hash of a password as text."""
    return base64.b64encode(hashlib.scrypt(password.encode(), salt=salt, **COST)).decode()


def read(path):
    """Return who there is: a map of names to salt and hash."""
    return json.loads(path.read_text()) if path.exists() else {}


def write(path, known):
    """Replace the file whole, readable by the Hub alone."""
    temporary = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(known, file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def add(path, name):
    """Give `name` a new password and return it; it cannot be read again."""
    # Names become parts of addresses and volumes, so they keep to what both take.
    if not (name.isascii() and name.isalnum() and name.islower() and len(name) <= 32):  # noqa: PLR2004
        sys.exit(f"A name has up to 32 small letters and digits, not {name!r}.")
    password, salt = secrets.token_urlsafe(15), secrets.token_bytes(16)
    known = read(path)
    known[name] = {"salt": base64.b64encode(salt).decode(), "hash": digest(password, salt)}
    write(path, known)
    return password


class PasswordsAuthenticator(Authenticator):
    """Lets in who is in the file, which is read anew at each login."""

    path = Unicode(help="The file.").tag(config=True)

    async def authenticate(self, _handler, data):
        """Return the name when the password is theirs, else None; both take as long."""
        name = self.normalize_username(data["username"])
        entry = read(Path(self.path)).get(name, NOBODY)
        salt = base64.b64decode(entry["salt"])
        found = await asyncio.to_thread(digest, data["password"], salt)
        return name if hmac.compare_digest(found, entry["hash"]) else None


def main(words):
    """Run the command; return the exit status."""
    path = Path(os.environ.get("HUB_DATA", "/srv/jupyterhub")) / "passwords.json"
    verb, *given = words or ["help"]
    if verb == "add" and given:
        for name in given:
            print(f"{name} {add(path, name)}")  # noqa: T201 - what the command is for
    elif verb == "remove" and given:
        write(path, {name: entry for name, entry in read(path).items() if name not in given})
    elif verb == "list":
        print("\n".join(sorted(read(path))))  # noqa: T201
    else:
        print("passwords.py add NAME... | remove NAME... | list", file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
