"""The login widget: keys are typed into fields, never into a cell.

`Login` is what the notebook shows. Its page talks to the server extension and
to nobody else: what is typed there passes no kernel, and the widget has no
property that could hold it. Where there is no such server (VS Code, a bare
kernel) it shows `LoginForm` instead, whose fields are emptied the moment the
button is pressed, before anything else happens.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import anywidget
import ipywidgets as widgets
import traitlets

from breeze_lab import accounts, session, settings, vault
from breeze_lab.errors import BreezeLabError, VaultError
from breeze_lab.signin import find_api_session
from breeze_lab.widgets import bundles

if TYPE_CHECKING:
    from breeze_lab.accounts import Credentials
    from breeze_lab.settings import Endpoints

__all__ = ["Login", "LoginForm"]


class Login(anywidget.AnyWidget):
    """The way in: keys once, then one button a day; shown when it is the last line of a cell.

    Parameters
    ----------
    endpoints
        The broker of the form that stands in where there is no server
        extension; the server extension knows its own.
    rehearse
        Go the way of a real login at the practice market's login page.

    Notes
    -----
    The page element carries ``data-state``: ``keys``, ``ready``, ``pending``,
    ``good`` or ``ended``.
    """

    _esm = bundles.script("login")
    _css = bundles.styles("login")

    form = traitlets.Unicode("").tag(sync=True)
    broker = traitlets.Unicode("").tag(sync=True)

    def __init__(self, endpoints: Endpoints = settings.ICICI, *, rehearse: bool = False) -> None:
        """Ask nothing yet; the page does."""
        self.endpoints = endpoints
        self._form: LoginForm | None = None
        super().__init__(broker="practice" if rehearse else "")
        self.on_msg(self._on_message)

    def __repr__(self) -> str:
        """Name it, for front ends that show no widgets."""
        return "Login()"

    def _on_message(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        if content.get("op") == "form":
            if self._form is None:
                self._form = LoginForm(self.endpoints)
            self.form = f"IPY_MODEL_{self._form.model_id}"


class LoginForm(widgets.VBox):  # type: ignore[misc]  # ipywidgets is untyped
    """A form for app key, secret and api session of an ICICI Direct account.

    The keys of a good login go into the vault; from then on the fields may
    stay empty, and only the api session is asked for.

    Parameters
    ----------
    endpoints
        The broker to log in to.
    """

    def __init__(self, endpoints: Endpoints = settings.ICICI) -> None:
        self.endpoints = endpoints
        wide = widgets.Layout(width="32em")
        style = {"description_width": "8em"}
        self.app_key = widgets.Password(description="App key", layout=wide, style=style)
        self.secret = widgets.Password(description="Secret", layout=wide, style=style)
        self.api_session = widgets.Password(
            description="API session", layout=wide, style=style,
            placeholder="digits, or the whole address you were sent to",
        )  # fmt: skip
        self.link = widgets.HTML("Type the app key to get the link to the login page.")
        self.button = widgets.Button(description="Log in", button_style="primary")
        self.message = widgets.HTML()
        self.app_key.observe(self._show_link, "value")
        self.button.on_click(self._submit)
        if self._kept() is not None:
            self.app_key.placeholder = self.secret.placeholder = "kept in the vault"
            self.link.value = (
                f"Keys are kept. {html.escape(vault.open().describe())} For the link to the login "
                "page type the app key; or run <code>breeze-lab login</code> in a terminal, which "
                "asks for no key and needs no pasting."
            )
        super().__init__(
            [self.app_key, self.secret, self.link, self.api_session, self.button, self.message]
        )

    def _show_link(self, change: dict[str, Any]) -> None:
        key = change["new"].strip()
        if key:
            address = html.escape(session.login_url(key, self.endpoints), quote=True)
            self.link.value = (
                f"1. <a href='{address}' target='_blank' rel='noreferrer'>Open the broker's login "
                "page</a> &nbsp; 2. log in there &nbsp; 3. paste what comes back:"
            )

    def _kept(self) -> Credentials | None:
        try:
            return accounts.credentials(self.endpoints.name)
        except VaultError:
            return None  # a good login mends it, or says why not

    def _submit(self, _button: object) -> None:
        key, secret = self.app_key.value.strip(), self.secret.value.strip()
        pasted = self.api_session.value
        for box in (self.app_key, self.secret, self.api_session):
            box.value = ""
        self.link.value = ""
        self.button.disabled = True
        try:
            token = find_api_session(pasted)
            kept = None if key or secret else self._kept()
            if kept is not None:
                key, secret = kept.app_key, kept.secret
            now = session.login(key, secret, token, endpoints=self.endpoints)
            if kept is None:
                accounts.save_credentials(self.endpoints.name, key, secret)
        except BreezeLabError as exc:
            self.message.value = f"<b style='color:#c62828'>{html.escape(str(exc))}</b>"
        else:
            self.message.value = (
                f"<b style='color:#2e7d32'>Logged in as {html.escape(now.identity.name)} until "
                f"{now.until:%d-%m-%Y %H:%M} IST.</b>"
            )
        finally:
            self.button.disabled = False
