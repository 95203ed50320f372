"""How people get in and keep their accounts: passwords, email addresses, one-time links and letters.

    link:   open --used once--> used     open --its time is over, or a newer one of its purpose and subject--> over
    letter: waiting --30 days--> gone

Guarantees: a link is 256 random bits, kept as a digest, bound to one purpose and good once, also of two uses at the
same moment. Its token stands in the sealed part of a letter and nowhere else. A letter is written in the transaction of
what it tells, its words are plain text, and nothing that somebody chose themselves becomes a header or a link in it.

Tables: letters, one_time_links.
"""

from mainstay.accounts import letters, links
from mainstay.accounts.letters import write_letter
from mainstay.accounts.link_errors import LinkOver

__all__ = ["LinkOver", "letters", "links", "write_letter"]
