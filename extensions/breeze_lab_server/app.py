"""The extension: its routes and its life."""

from __future__ import annotations

from typing import Any

from jupyter_server.extension.application import ExtensionApp

from breeze_lab_server import (
    activity,
    callback,
    dashboards,
    handlers,
    indicators,
    jobs,
    login,
    openapi,
    passing,
    prices,
    scheduling,
    search,
    shares,
    subscriptions,
    truth,
)
from breeze_lab_server.supervisor import Supervisor

__all__ = ["BreezeLabServer"]


class BreezeLabServer(ExtensionApp):
    """The routes below ``{base_url}breeze-lab/``, one supervisor of the relay, one login desk."""

    name = "breeze_lab_server"
    supervisor: Supervisor
    leases: subscriptions.Leases
    keeper: jobs.Keeper
    worker: indicators.Worker
    recording: activity.Recording
    passage: passing.Passage
    dashboards: dashboards.Dashboards

    def initialize_settings(self) -> None:
        """Make the supervisor; the relay itself is started by the first browser."""
        self.supervisor = Supervisor(self.log)
        self.leases = subscriptions.Leases(self.supervisor, self.log)
        self.keeper = jobs.Keeper(self.log)
        assert self.serverapp is not None
        self.serverapp.io_loop.add_callback(self.keeper.start)
        self.worker = indicators.Worker(self.log)
        times = self.settings["last_activity_times"]
        self.recording = activity.Recording(self.supervisor, times, self.log)
        self.serverapp.io_loop.add_callback(self.recording.start)
        self.passage = passing.Passage(self.log)
        self.dashboards = dashboards.Dashboards(self.log)
        # A page that was refused may still be named as the referrer of another request.
        known = self.settings.get("extra_log_scrub_param_keys") or []
        self.settings["extra_log_scrub_param_keys"] = [*known, *callback.SECRET_PARAMETERS]

    def initialize_handlers(self) -> None:
        """Add the routes; the server puts its base URL in front."""
        shared: dict[str, Any] = {"supervisor": self.supervisor}
        self.handlers.extend(
            [
                (r"/breeze-lab/api/status/?", handlers.StatusHandler, shared),
                (r"/breeze-lab/api/feed/?", handlers.FeedHandler, shared),
                (
                    r"/breeze-lab/api/truth/?",
                    truth.TruthHandler,
                    {"truths": truth.Truths(self.supervisor)},
                ),
                (r"/breeze-lab/api/metrics/?", handlers.MetricsHandler, shared),
                (r"/breeze-lab/api/quotes/?", prices.QuotesHandler, shared),
                (r"/breeze-lab/api/candles/?", prices.CandlesHandler, shared),
                (
                    r"/breeze-lab/api/subscriptions/?",
                    subscriptions.SubscriptionsHandler,
                    {"leases": self.leases},
                ),
                (r"/breeze-lab/api/openapi\.json", openapi.OpenApiHandler),
                (r"/breeze-lab/api/instruments/?", search.InstrumentsHandler),
                (r"/breeze-lab/api/watchlist/?", search.WatchlistHandler),
                (r"/breeze-lab/static/([\w.-]+)", handlers.StaticHandler),
                *indicators.routes(self.worker),
                *login.routes(),
                *jobs.routes(),
                *shares.routes(self.passage),
                *passing.routes(self.passage),
                *dashboards.routes(self.dashboards),
            ]
        )
        assert self.serverapp is not None
        if self.serverapp.jpserver_extensions.get("jupyter_scheduler"):
            self.log.warning(
                "jupyter_scheduler's own server extension is enabled: JupyterLab's form makes its "
                "jobs, not Breeze Lab's. See docs/jobs.md."
            )
        else:
            self.handlers.extend(scheduling.routes())

    async def stop_extension(self) -> None:
        """Close what is open; the relay lives on, kernels may need it."""
        self.leases.close()
        self.keeper.stop()
        self.worker.stop()
        self.recording.stop()
        self.passage.stop()
        self.dashboards.stop()
        self.supervisor.stop()
