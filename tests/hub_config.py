"""The shipped Hub, on one machine: its own settings, with processes where containers would be.

Where that can be done (as root), each person's server gets a user id of its own,
so that the system refuses between people here what it refuses between containers.
"""

import os
from pathlib import Path

from jupyterhub.spawner import SimpleLocalProcessSpawner

HOMES = Path(os.environ["HUB_DATA"]).parent / "homes"
FIRST_UID = 20_001
PEOPLE = ["alice", "bob", "lead"]

load_subconfig(os.environ["HUB_SHIPPED_CONFIG"])  # noqa: F821 - JupyterHub puts both there


class OneUserIdEach(SimpleLocalProcessSpawner):
    """A process for each person."""

    def make_preexec_fn(self, name):
        home, uid = Path(self.home_dir), FIRST_UID + PEOPLE.index(name)

        def preexec():
            home.mkdir(parents=True, exist_ok=True)
            home.chmod(0o700)
            if os.environ.get("HUB_OWN_USER_IDS"):
                os.chown(home, uid, uid)
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            os.chdir(home)

        return preexec


def lab_home(spawner):
    return str(HOMES / spawner.user.name / ".breeze-lab")


c = get_config()  # noqa: F821
c.JupyterHub.spawner_class = OneUserIdEach
c.OneUserIdEach.home_dir_template = f"{HOMES}/{{username}}"
c.Spawner.notebook_dir = f"{HOMES}/{{username}}/notebooks"
c.Spawner.cmd = [os.environ["HUB_USER_PYTHON"], "-m", "breeze_lab_server.single_user"]
c.Spawner.env_keep = ["PATH", "LANG"]
c.Spawner.mem_limit = c.Spawner.cpu_limit = None  # a process has none
c.Spawner.environment.update(
    BREEZE_LAB_HOME=lab_home,
    BREEZE_LAB_BROKER="practice",
    PYTHONPATH=os.environ["HUB_USER_PYTHONPATH"],
    PYTHONDONTWRITEBYTECODE="1",
)
# Not shipped: what a test uses to open a door on purpose, to see that it is noticed.
c.JupyterHub.services.append({"name": "planter", "api_token": os.environ["HUB_PLANTER"]})
c.JupyterHub.load_roles.append(
    {"name": "planter", "scopes": ["shares", "list:users", "read:servers"], "services": ["planter"]}
)
