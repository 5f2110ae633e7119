"""JupyterHub for Breeze Lab: one private lab for each person of a desk (docs/hub.md).

The Hub and the proxy are two services, so that the Hub can be restarted while
people work. Each person gets a container and a volume of their own; the relay,
the vault and the practice market run in that container. Everything that
differs between desks comes from the environment, everything secret from files.
"""

import hashlib
import hmac
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

c = get_config()  # noqa: F821 - JupyterHub puts it there

HERE = Path(__file__).parent
DATA = Path(os.environ.get("HUB_DATA", "/srv/jupyterhub"))
SECRETS = Path(os.environ.get("HUB_SECRETS", "/run/secrets"))


def secret(name):
    """Return a mounted secret; a Hub with a missing or short one does not start."""
    text = (SECRETS / name).read_text().strip()
    if len(text) < 32:  # noqa: PLR2004 - what `openssl rand -hex 32` gives is twice as long
        sys.exit(f"{SECRETS / name} is too short. Make it with: openssl rand -hex 32")
    return text


def names(variable):
    """Return the names in a variable, separated by commas or blanks."""
    return set(os.environ.get(variable, "").replace(",", " ").split())


# -- the Hub, and the proxy beside it -----------------------------------------

c.JupyterHub.bind_url = os.environ.get("HUB_PUBLIC_URL", "http://:8000")
c.JupyterHub.hub_bind_url = os.environ.get("HUB_BIND_URL", "http://0.0.0.0:8081")
c.JupyterHub.hub_connect_url = os.environ.get("HUB_CONNECT_URL", "http://hub:8081")
c.JupyterHub.db_url = f"sqlite:///{DATA / 'jupyterhub.sqlite'}"
c.JupyterHub.cookie_secret = hashlib.sha256(secret("hub_cookie_secret").encode()).digest()
# As browsers know it, for links that people send each other.
if os.environ.get("HUB_ADDRESS"):
    c.JupyterHub.public_url = os.environ["HUB_ADDRESS"].rstrip("/") + "/"
# A user's page could otherwise act on another's server: one origin, one trust (docs/hub.md).
if os.environ.get("HUB_SUBDOMAIN_HOST"):
    c.JupyterHub.subdomain_host = os.environ["HUB_SUBDOMAIN_HOST"]
# Servers outlive a restart of the Hub, and the proxy goes on sending people to them.
c.JupyterHub.cleanup_servers = False
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = os.environ.get("HUB_PROXY_API", "http://proxy:8001")
c.ConfigurableHTTPProxy.auth_token = secret("hub_proxy_token")

# -- share links that outlive people's servers ---------------------------------

# A service beside the Hub (compose.hub.yaml). It has no token: who deposits a link shows it the
# token of their own server, and it asks the Hub whose that is. Empty: links stay at the servers.
LINKS = os.environ.get("HUB_LINKS_URL", "http://links:8010")
REACH_LINKS = "access:services!service=links"


def links_address():
    """Return what addresses of the service begin with, as browsers know it."""
    where = urlsplit(os.environ.get("HUB_SUBDOMAIN_HOST") or os.environ.get("HUB_ADDRESS", ""))
    host = (
        f"links--service.{where.netloc}" if os.environ.get("HUB_SUBDOMAIN_HOST") else where.netloc
    )
    return f"{where.scheme}://{host}/services/links" if host else ""


# -- who may come in ----------------------------------------------------------

# ``passwords`` is the file beside this one; any other name is one of oauthenticator's, which
# reads OAUTH_CLIENT_ID and its like by itself: generic-oauth, google, github, azuread.
authenticator = os.environ.get("HUB_AUTHENTICATOR", "passwords")
if authenticator == "passwords":
    sys.path.insert(0, str(HERE))
    from passwords import PasswordsAuthenticator

    c.JupyterHub.authenticator_class = PasswordsAuthenticator
    c.PasswordsAuthenticator.path = str(DATA / "passwords.json")
    c.Authenticator.allow_all = True  # who is in the file
else:
    c.JupyterHub.authenticator_class = authenticator
    c.Authenticator.allowed_users = names("HUB_USERS")
    if not names("HUB_USERS"):
        sys.exit("HUB_USERS is empty: name who may come in, or anybody with an account there may.")
    c.OAuthenticator.client_secret = (SECRETS / "hub_oauth_secret").read_text().strip()

# A lead adds, removes, starts and stops. Nobody opens another's server, where broker sessions
# are: that is why nobody is an ``admin``, whose right to do so cannot be taken away.
c.JupyterHub.load_roles = [
    {
        "name": "desk-lead",
        "description": "Adds and removes people, starts and stops their servers",
        "scopes": [
            "admin-ui", "list:users", "admin:users", "admin:servers", "read:metrics", "read:hub",
        ],
        "users": sorted(names("HUB_LEADS")),
    },
    {
        "name": "idle-culler",
        "description": "Stops servers that nobody uses",
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
        "services": ["idle-culler"],
    },
]  # fmt: skip
if LINKS:
    # What everybody has by default, and the way to the service; it lets nobody into a server.
    c.JupyterHub.load_roles.append(
        {"name": "user", "description": "Everybody", "scopes": ["self", REACH_LINKS]}
    )

# -- each person's server -----------------------------------------------------

# Derived, so that the Hub keeps none of them and each person has another.
_master = secret("hub_vault_secret").encode()


def vault_key(spawner):
    """Return the key of a person's vault; it never lies on the volume that it locks."""
    words = f"breeze-lab vault of {spawner.user.name}".encode()
    return hmac.new(_master, words, hashlib.sha256).hexdigest()


c.JupyterHub.spawner_class = "docker"
c.Spawner.cmd = ["python3", "-m", "breeze_lab_server.single_user"]
c.Spawner.notebook_dir = "/home/lab/notebooks"
c.Spawner.default_url = "/lab/tree/00_start_here.ipynb"
# A file in somebody's home must not switch off what protects the server.
c.Spawner.disable_user_config = True
c.Spawner.environment = {
    "BREEZE_LAB_HOME": "/home/lab/.breeze-lab",
    "BREEZE_LAB_SESSION": os.environ.get("HUB_SESSION", "practice"),
    "BREEZE_LAB_HUB_VAULT_KEY": vault_key,
    "JUPYTERHUB_ACTIVITY_INTERVAL": os.environ.get("HUB_ACTIVITY_INTERVAL", "300"),
}
if LINKS:
    c.Spawner.environment["BREEZE_LAB_SHARE_SERVICE"] = f"{LINKS}/services/links"
    c.Spawner.environment["BREEZE_LAB_SHARE_SERVICE_URL"] = links_address()
    # A server's token does what it does by default, and shares.
    c.Spawner.server_token_scopes = ["users:activity!user", "access:servers!server", REACH_LINKS]
c.Spawner.mem_limit = os.environ.get("HUB_MEM_LIMIT", "2G")
c.Spawner.cpu_limit = float(os.environ.get("HUB_CPU_LIMIT", "2"))
c.Spawner.start_timeout = c.Spawner.http_timeout = 120

c.DockerSpawner.image = os.environ.get("HUB_USER_IMAGE", "breeze-lab-user:local")
c.DockerSpawner.pull_policy = "never"  # built beside this Hub
c.DockerSpawner.allowed_images = []
c.DockerSpawner.network_name = os.environ.get("HUB_NETWORK", "breeze-lab-users")
c.DockerSpawner.use_internal_ip = True
c.DockerSpawner.name_template = "breeze-lab-{username}"
c.DockerSpawner.remove = True
c.DockerSpawner.volumes = {"breeze-lab-home-{username}": "/home/lab"}
c.DockerSpawner.extra_host_config = {
    "init": True,  # collects what relays and jobs leave behind
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "pids_limit": 512,
    "read_only": True,
    "tmpfs": {"/tmp": "size=512m,mode=1777", "/run": "size=16m,mode=1777"},  # noqa: S108 - of the container
    "log_config": {"type": "json-file", "config": {"max-size": "10m", "max-file": "3"}},
}

# -- stopping what nobody uses ------------------------------------------------

# A server is in use while a browser, a kernel or a recording of market hours is at work:
# breeze_lab_server.activity tells the last.
c.JupyterHub.services = [
    {
        "name": "idle-culler",
        "command": [
            sys.executable, "-m", "jupyterhub_idle_culler",
            f"--timeout={int(os.environ.get('HUB_IDLE_TIMEOUT', '3600'))}",
            f"--cull-every={int(os.environ.get('HUB_CULL_EVERY', '300'))}",
        ],
    }
]  # fmt: skip
if LINKS:
    # For people with a link and for servers; there is no page to choose from a menu.
    c.JupyterHub.services.append({"name": "links", "url": LINKS, "display": False})

# -- what a desk adds: services, limits, another spawner ------------------------

if os.environ.get("HUB_EXTRA_CONFIG"):
    load_subconfig(os.environ["HUB_EXTRA_CONFIG"])  # noqa: F821 - JupyterHub puts it there
