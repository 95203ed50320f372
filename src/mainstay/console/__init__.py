"""The console: pages for people, in front of the same verbs as the API.

    request --no session, or over--> sign-in (with the way back)      session --POST sign-out--> over
       | session: guard reads it, checks role, operator, and for a POST the CSRF token
       |--proof is old, where one is needed--> prove (a form that was sent waits there) --> on, in a new session
       |--second factor demanded and not set up--> setting it up, and nothing else but one's account
       v
    page: base.html and one block, or only the block that htmx asked for; errors are pages too

A module an area, with `AREA` and `routes(ground)`, listed in `routes.AREAS`; its templates lie in `pages/` and are
made of the macros of `pieces.html`. The ways in and one's own account are in `routes.UNLISTED`. Guards stand in
signatures: `PageMay` an act of `web.roles`, `AnyPage`, `OperatorPage`. Live parts go through `ground.live`: one loop
reads for all readers of a subject.

Guarantees: pages read and forms work without JavaScript; no script or style stands in a page, and the policy allows
none; nothing is changed without the token of the session; a company's pages show its own things alone; a session that
is over ends its live parts within 10 s. Every file that a page brings along is served from here.
Refuses: forms over 64 KiB, more than 500 live readers a process or 8 a session, what only operators may do (403).
"""

from mainstay.console.frame import Action, Area, Frame
from mainstay.console.ground import Ground
from mainstay.console.live import Live
from mainstay.console.routes import frame, router

__all__ = ["Action", "Area", "Frame", "Ground", "Live", "frame", "router"]
